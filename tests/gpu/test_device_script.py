"""tests/gpu/run.sh, as far as it goes without a GPU: on the fake driver and the fake NVML."""
import json
import os
import pathlib
import subprocess
import sys
import types

import fake_driver
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "device"))

import cases  # noqa: E402
import filling  # noqa: E402

GIB = 1 << 30


def script(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("FAKE_CUDA", "LD_"))}
    environment.update(variables, PYTHON=sys.executable)
    return subprocess.run([HERE / "run.sh", *arguments], env=environment, capture_output=True,
                          text=True, timeout=120)


def on_the_fake(folder, **variables):
    return script("--only", "driver", FAKE_CUDA_STATE=str(folder / "cards"),
                  FAKE_CUDA_CONTEXT="400M", OOMGUARD_BUILD=str(fake_driver.build()),
                  LD_LIBRARY_PATH=str(fake_driver.gpu_build() / "fake"), **variables)


def test_says_why_it_skips():
    ended = script()
    if ended.returncode != 77:
        pytest.skip("there is a GPU here: the script did run")
    assert ended.stdout.startswith("skipped: there is no NVIDIA card here")


def test_all_is_as_it_should_be_on_the_fake(tmp_path):
    ended = on_the_fake(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split("  ")[0] for line in ended.stdout.splitlines()[1:4]] == [
        "driver, bare", "driver, 20G", "driver, auto beside 40 GB"]
    assert ended.stdout.endswith("all as it should be\n")


def test_a_budget_that_does_not_hold_is_a_miss(tmp_path):
    ended = on_the_fake(tmp_path, OOMGUARD="0")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "MISSED: over the budget" in ended.stdout


@pytest.mark.parametrize("part", sorted(path.name for path in (HERE / "device").glob("*.py")))
def test_every_part_compiles(part):
    compile((HERE / "device" / part).read_text(), part, "exec")


def test_every_case_has_its_part():
    for case in cases.all_cases("checkpoint"):
        assert (HERE / "device" / case.part).exists(), case.name


FILLED = {"exception": "torch.OutOfMemoryError", "own": True, "taken": 19 * GIB, "reused": True}


@pytest.mark.parametrize("budget, result, most_used, least_free, wrong", [
    ("20G", FILLED, 20.1 * GIB, 60 * GIB, []),
    ("20G", FILLED, 20.3 * GIB, 60 * GIB, ["over the budget"]),
    ("20G", FILLED, 10.0 * GIB, 60 * GIB, ["refused long before the budget"]),
    ("20G", None, 20.0 * GIB, 60 * GIB, ["did not live to tell"]),
    ("20G", {**FILLED, "own": False}, 20.0 * GIB, 60 * GIB,
     ["ended with torch.OutOfMemoryError, not the framework's own"]),
    ("20G", {**FILLED, "reused": False}, 20.0 * GIB, 60 * GIB,
     ["its memory was of no use afterwards"]),
    ("auto", FILLED, 79.5 * GIB, GIB // 2, []),
    ("auto", FILLED, 80.0 * GIB, 0, ["nothing was left of the card"]),
    ("auto", FILLED, 40.0 * GIB, 40 * GIB, ["refused long before the card was full"]),
    ("", FILLED, 80.0 * GIB, 0, []),
])
def test_runs_are_judged(budget, result, most_used, least_free, wrong):
    case = cases.Case("a framework", "fill_torch.py", budget=budget)
    peak = types.SimpleNamespace(before=0, most_used=most_used, least_free=least_free)
    assert cases.complaints(case, result, peak, 80 * GIB) == wrong


def test_the_filling_loop_says_what_happened(capsys):
    class Full(Exception):
        pass

    room = [10 * GIB]

    def allocate(size):
        if size > room[0]:
            raise Full
        room[0] -= size
        return size

    def let_go():
        room[0] = 10 * GIB

    filling.fill(allocate, lambda error: isinstance(error, Full), let_go, sum)
    assert json.loads(capsys.readouterr().out) == {
        "exception": "test_device_script.Full", "own": True, "taken": 10 * GIB, "reused": True}
