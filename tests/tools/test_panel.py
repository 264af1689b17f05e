"""What a kernel shows of the one that it replaces (`oomguard report --replaced-by`), from a file of a
kernel that was killed while it loaded a checkpoint."""

import json
import os
import time

import pytest
import report_file

CONNECTION = "/home/ada/kernel-1.json"


@pytest.fixture
def sessions(environment):
    folder = os.path.join(environment["OOMGUARD_DIR"], "sessions")
    os.makedirs(folder, mode=0o700)
    return folder


def told(tool):
    done = tool("report", "--replaced-by", CONNECTION)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_it_names_the_cell_the_line_and_what_would_fit(build, tool, sessions, tmp_path):
    path = report_file.write(build, tmp_path, 400, 600, "died", name="%d-4711" % time.time())
    os.chmod(path, 0o600)
    os.rename(path, os.path.join(sessions, path.name))
    panel = told(tool)
    lines = panel["text"].splitlines()
    assert lines[0].startswith("The previous kernel of <b>train.ipynb died at "), lines
    assert lines[0].endswith(" in cell [2], line 5."), lines
    assert lines[1].startswith("Very likely out of memory: container limit 6.0 GiB (/sys/fs/cgroup)")
    assert lines[2:7] == [
        "      1  from transformers import AutoModelForCausalLM",
        "      2  ",
        "      3  path = '/data/llama-19b'",
        "    ...",
        "-->   5      model = AutoModelForCausalLM.from_pretrained(path)  # <i>",
    ], lines
    assert lines[7].startswith("At: train.py:"), lines
    fits = [line for line in lines if line.startswith(("Checkpoint", "Fits", "Not:"))]
    assert fits[0].startswith("Checkpoint llama-19b: 36.0 GiB, and room for "), lines
    assert fits[-1].startswith("Not: ~72.0 GiB twice the bytes of the file (float32"), lines
    assert any(line.startswith("Memory ") for line in lines) and lines[-1].startswith("More: "), lines
    assert any(line.startswith("Largest: train.py:") for line in lines), lines
    # Nothing of a name or of source is markup, and the page around it decides on the colours.
    page = panel["html"]
    assert "&lt;b&gt;train" in page and "<b>" not in page and "# <i>" not in page
    assert "<strong>--&gt;   5" in page and "<svg " in page and "black" not in page
    assert tool("report", "--replaced-by", CONNECTION).returncode == 1, "it is told once"
