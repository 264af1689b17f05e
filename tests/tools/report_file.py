"""A flight file as a long notebook session would leave it (tests/tools/report/write_flight.cc)."""

import os
import subprocess

import pytest

SOURCE = """\
import json
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123"  # line 2 is masked
def load(path):
    return [json.loads(line) for line in open(path)]
""" + "".join(f"rows_{number} = features(rows_{number - 1})\n" for number in range(5, 41))


def write(build, folder, stacks=400, samples=600, *more, name="notebook"):
    """The path of a new flight file in `folder`, of a session whose own code is a file beside it."""
    program = build / "tests/programs/write_flight"
    if not program.exists():
        pytest.skip("write_flight is not built (GoogleTest was not found)")
    source = folder / "train.py"
    source.write_text(SOURCE)
    os.utime(source, (1_000_000_000, 1_000_000_000))  # long before the session
    path = folder / (name + ".flight")
    subprocess.run([program, path, str(stacks), str(samples), source, *more], check=True, timeout=60)
    return path
