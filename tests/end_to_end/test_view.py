"""What libraries that size themselves take for the machine's memory, guarded: what they may use. So
device_map="auto" offloads what does not fit, where bare it is killed."""
import shutil
import sys

import pytest

import cgroup
import harness

BUDGET = 800 * cgroup.MIB  # below the group's limit, which some know themselves
LIMIT = cgroup.GIB
LOAD_LIMIT = 800 * cgroup.MIB


def read(python, names):
    run = harness.run([python, harness.PROGRAMS / "readers.py", *names], LIMIT, True, 120,
                      OOMGUARD_BUDGET=str(BUDGET))
    assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals == 0, run
    return run.result


def is_told_the_budget(seen):
    total, available = seen
    is_total = total is None or abs(total - BUDGET) < cgroup.MIB  # DuckDB's has one decimal
    return is_total and (available is None or BUDGET // 10 < available < BUDGET)


def test_libraries_for_models_see_the_budget():
    seen = read(harness.main_python(),
                ["psutil", "child", "forked", "sysconf", "accelerate", "transformers", "limited", "host"])
    total, available = seen.pop("host")
    assert total > BUDGET and available > 0, seen
    assert {name: numbers for name, numbers in seen.items() if not is_told_the_budget(numbers)} == {}


@pytest.mark.parametrize("name, package", [("loky", "joblib"), ("polars", "polars"), ("duckdb", "duckdb"),
                                           ("distributed", "distributed")])
def test_other_libraries_see_the_budget(name, package):
    python = harness.foreign_python()
    if python is None or not harness.has_package(python, package):
        pytest.skip(f"not installed: pip install {package}")
    seen = read(python, [name])
    assert is_told_the_budget(seen[name]), seen


@pytest.mark.parametrize("program", [["free", "-b", "-s", "0.2", "-c", "2"], ["vmstat", "-s", "-S", "B"]])
def test_programs_under_run_see_the_budget(program, disk):
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} (procps) is not installed")
    run = harness.run([harness.command(), "run", "--budget", "300MiB", "--dir", disk, "--", *program],
                      harness.SMALL_LIMIT, False, 60)
    assert run.finished.status == 0, run
    lines = [line.split() for line in run.finished.stdout.splitlines()]
    if program[0] == "free":
        memory = [[int(word) for word in line[1:]] for line in lines if line and line[0] == "Mem:"]
        assert len(memory) == 2, run
    else:
        words = {" ".join(line[2 if line[1] == "B" else 1:]): int(line[0]) for line in lines if line}
        memory = [[words["total memory"], words["used memory"], words["free memory"]]]
    for total, used, free, *_ in memory:
        assert total == 300 * cgroup.MIB and 0 < used < total and 0 < free < total, run


@pytest.fixture
def smaller_checkpoint(disk):
    """1.7 B parameters, which take 6.6 GB as float32."""
    sys.path.insert(0, str(harness.ROOT / "examples/load_19b"))
    import make_checkpoint
    layers = make_checkpoint.CONFIG["num_hidden_layers"]
    try:
        make_checkpoint.CONFIG["num_hidden_layers"] = 4
        make_checkpoint.make(disk)
    finally:
        make_checkpoint.CONFIG["num_hidden_layers"] = layers
        sys.path.pop(0)
    return disk


def test_device_map_offloads_what_does_not_fit(smaller_checkpoint):
    run = harness.load(harness.main_python(), smaller_checkpoint, "offload", guarded=True)
    assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals == 0, run
    assert run.result["loaded"] and run.result["devices"] == ["cpu", "disk"], run


@pytest.fixture(scope="module")
def small_model():
    """(folder, tokens and logits of the whole model)."""
    folder = harness.disk_folder()
    try:
        yield folder, offload("make", folder, False, 3 * cgroup.GIB).result
    finally:
        shutil.rmtree(folder)


def offload(way, folder, guarded=True, limit=LOAD_LIMIT):
    harness.warm(harness.main_python())
    return harness.run([harness.main_python(), harness.PROGRAMS / "offload.py", way, folder], limit, guarded, 120)


def test_an_offloaded_model_says_what_the_whole_one_says(small_model):
    folder, whole = small_model
    run = offload("auto", folder)
    assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals == 0, run
    assert run.result["devices"] == ["cpu", "disk"], run
    assert run.result["tokens"] == whole["tokens"], (run, whole)
    assert run.result["logits"] == pytest.approx(whole["logits"], abs=1e-3), (run, whole)


def test_without_a_folder_for_what_is_offloaded_the_loader_says_so(small_model):
    run = offload("bin", small_model[0])
    assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals == 0, run
    assert run.result["exception"] == "ValueError", run
    assert "Please provide an `offload_folder`" in run.result["text"], run
