"""Which lines hold the memory: estimates beside the truth, and what a refusal's report names."""
import json
import math
import pathlib
import resource
import subprocess
import time

import pytest

import harness

MIB = harness.cgroup.MIB
MEAN = 1 << 20  # twice --sample: on a busy machine the distance between samples grows


def report_of(run_dir, *arguments):
    done = subprocess.run([harness.command(), "report", "--dir", run_dir, "--format", "json", *arguments],
                          capture_output=True, text=True, timeout=200, check=True)
    return json.loads(done.stdout)


def live_by_function(report, file):
    """{function: live bytes} by the innermost frame of each stack that lies in the file."""
    tree, frames, live = report["stacks"]["python"], report["frames"], {}
    for node, bytes_ in zip(report["sites"]["python"], report["sites"]["live_bytes"]):
        while node and not frames[tree["frame"][node]]["file"].endswith(file):
            node = tree["parent"][node]
        while node and frames[tree["frame"][node]]["function"].startswith("<"):  # <listcomp> before 3.11
            node = tree["parent"][node]
        if node:
            name = frames[tree["frame"][node]]["function"].split(".")[0]
            live[name] = live.get(name, 0) + bytes_
    return live


@pytest.mark.parametrize("python", harness.pythons(), ids=harness.python_label)
def test_estimates_agree_with_the_truth(python, disk):
    program = harness.PROGRAMS / "holders.py"
    limit = 3 * harness.cgroup.GIB
    process = subprocess.Popen([harness.command(), "run", "--dir", disk, "--", python, program], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    try:
        truth = json.loads(process.stdout.readline())
        sessions = list((pathlib.Path(disk) / "sessions").iterdir())
        assert len(sessions) == 1, sessions
        live = live_by_function(report_of(disk, sessions[0].stem), "holders.py")
    finally:
        process.communicate("\n", timeout=30)
    total, known = sum(truth.values()), sum(live.get(name, 0) for name in truth)
    harness.figures.append(f"holders CPython {harness.python_label(python):16} {known / total - 1:+.1%} of 1 GiB")
    assert abs(known / total - 1) <= 0.05, (truth, live)
    for name, bytes_ in truth.items():
        if bytes_ < total / 10:
            continue
        # Each sample stands for about the mean: three standard deviations of a sum of such.
        assert abs(live[name] - bytes_) <= 3 * math.sqrt(MEAN * bytes_), (name, truth, live)


FILLS_LATER = """
import sys, numpy
def ask(): return numpy.empty(96 << 20, numpy.uint8)
def fill(): return bytearray(b"x" * (40 << 20))
later, now = ask(), fill()
print(flush=True)
sys.stdin.readline()
later.fill(1)
print(flush=True)
sys.stdin.readline()
"""


def test_what_was_asked_for_and_not_filled_is_not_held(disk):
    program = pathlib.Path(disk) / "later.py"
    program.write_text(FILLS_LATER)
    process = subprocess.Popen([harness.command(), "run", "--dir", disk, "--", harness.main_python(), program],
                               text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def wait_for(holds):
        process.stdout.readline()
        session = next((pathlib.Path(disk) / "sessions").iterdir()).stem
        end = time.monotonic() + 30
        while True:
            live = live_by_function(report_of(disk, session), "later.py")
            if holds(live.get("ask", 0) / MIB, live.get("fill", 0) / MIB):
                return
            assert time.monotonic() < end, live
            time.sleep(0.3)

    try:
        wait_for(lambda later, now: later < 4 and 39 < now < 41)
        process.stdin.write("\n")
        process.stdin.flush()
        wait_for(lambda later, now: 95 < later < 97 and 39 < now < 41)
    finally:
        process.communicate("\n", timeout=30)


GROWS = """
def load(n):
    return [bytearray(b'x') * (1 << 20) for _ in range(n)]

def keep():
    global kept
    kept = load(200)

keep()
rest = []
while True:
    rest.append(bytes(1000))
"""


def test_a_refusal_names_the_lines_that_hold_most(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(GROWS)
    run = harness.run([harness.main_python(), script], harness.SMALL_LIMIT, guarded=True, timeout_s=60)
    assert run.finished.status == 1 and run.oom_kills == 0, run
    lines = run.finished.stderr.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("Lines: "))
    assert lines[first].startswith("Lines: train.py:12 \N{EM DASH} 3"), run
    assert lines[first + 1].startswith("       train.py:3 load"), run
    assert " \N{EM DASH} 20" in lines[first + 1] and lines[first + 1].endswith(" MiB"), run


def test_without_samples_nothing_is_named(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(GROWS)
    run = harness.run([harness.main_python(), script], harness.SMALL_LIMIT, guarded=True, timeout_s=60,
                      OOMGUARD_SAMPLE="0")
    assert run.finished.status == 1 and "oomguard stopped this" in run.finished.stderr, run
    assert "Lines: " not in run.finished.stderr, run


def test_a_refused_load_is_attributed_to_its_lines(checkpoint, disk):
    argv = [harness.main_python(), harness.PROGRAMS / "load_19b.py", checkpoint, "float32"]
    with harness.cgroup.MemoryGroup(harness.MODEL_LIMIT) as group:
        finished = group.run([str(part) for part in argv], 120, env=harness.guarded_environment(disk))
        assert finished.status == 0 and group.oom_kills() == 0, finished
        assert group.peak_bytes() >= 0.9 * harness.MODEL_LIMIT, finished
    result = json.loads(finished.stdout.splitlines()[-1])
    assert not result["loaded"] and result["intact"], finished
    report = report_of(disk)
    for refusal in report["refusals"]:
        assert refusal["attributed_bytes"] >= 0.95 * refusal["anonymous_bytes"], refusal
    files = [file for file in report["model_files"] if file["path"].startswith(checkpoint)]
    assert 38.1e9 < sum(file["size_bytes"] for file in files) < 38.4e9, files
    lines = [line for line in report["summary"] if "core_model_loading.py" in line]
    assert lines and " 5." in lines[0] and "GiB" in lines[0], report["summary"]
    share = report["refusals"][-1]["attributed_bytes"] / report["refusals"][-1]["anonymous_bytes"]
    harness.figures.append(f"holders of a refused load: {share:.1%} of its anonymous memory has a call stack")
