"""A flight file as a long notebook session would leave it (tests/tools/report/write_flight.cc)."""

import json
import os
import struct
import subprocess

import pytest

SOURCE = """\
import json
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123"  # line 2 is masked
def load(path):
    return [json.loads(line) for line in open(path)]
""" + "".join(f"rows_{number} = features(rows_{number - 1})\n" for number in range(5, 41))


def write_checkpoint(folder):
    """36 GiB of bfloat16 that transformers loads, in four sparse files."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    shards = {}
    for number in range(1, 5):
        names = [f"model.layers.{3 * number + i}.mlp.weight" for i in range(3)]
        size = 3 << 30
        header = {name: {"dtype": "BF16", "shape": [size // 2048, 1024], "data_offsets": [size * i, size * (i + 1)]}
                  for i, name in enumerate(names)}
        text = json.dumps(header).encode()
        shard = f"model-0000{number}-of-00004.safetensors"
        with open(folder / shard, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + 3 * size)
        shards.update({name: shard for name in names})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def write(build, folder, stacks=400, samples=600, *more, name="notebook"):
    """The path of a new flight file in `folder`, of a session whose own code is a file beside it."""
    program = build / "tests/programs/write_flight"
    if not program.exists():
        pytest.skip("write_flight is not built (GoogleTest was not found)")
    source = folder / "train.py"
    source.write_text(SOURCE)
    os.utime(source, (1_000_000_000, 1_000_000_000))  # long before the session
    write_checkpoint(folder / "llama-19b")
    path = folder / (name + ".flight")
    subprocess.run([program, path, str(stacks), str(samples), source, *more], check=True, timeout=60)
    return path
