"""19.1 billion parameters into 6 GiB: conversions raise, mapped weights and skeletons load."""
import pytest

import harness


def summarize(name, run):
    harness.figures.append(
        f"load {name}: {run.finished.seconds:.1f} s, reached {run.reached:.1%} of the limit, "
        f"oom_kill {run.oom_kills}, refusals {run.refusals}")


# float32: test_holders.py. float16: tests/repeat.sh --only load.
def test_guarded_conversion_raises_and_the_script_lives(checkpoint):
    run = harness.load(harness.main_python(), checkpoint, "device_map", guarded=True)
    summarize("device_map, guarded", run)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert not run.result["loaded"] and run.result["intact"], run
    assert run.refusals > 0 and run.reached >= 0.90, run


def test_bare_conversion_does_not_survive(checkpoint):
    run = harness.load(harness.main_python(), checkpoint, "float16", guarded=False)
    summarize("float16, bare", run)
    # Killed, or stuck for good: at the limit every page of the checkpoint that one thread reads
    # pushes out another thread's, and the kernel sees progress that never ends.
    assert run.finished.killed or run.finished.timed_out, run
    assert not run.result, run


@pytest.mark.parametrize("way", ("bfloat16", "default"))
def test_mapped_weights_load_without_a_refusal(checkpoint, way):
    for guarded in (False, True):
        run = harness.load(harness.main_python(), checkpoint, way, guarded)
        summarize(f"{way}, {'guarded' if guarded else 'bare'}", run)
        assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals == 0, run
        assert run.result["loaded"] and run.result["dtype"] == "torch.bfloat16", run
        assert run.result["billions"] == 19.1, run


def test_untouched_skeleton_of_transformers_4_loads_without_a_refusal(checkpoint):
    python = harness.transformers4_python()
    if python is None:
        pytest.skip("no environment with transformers 4")
    for guarded in (False, True):
        run = harness.load(python, checkpoint, "v4_bfloat16", guarded)
        summarize(f"transformers 4 bfloat16, {'guarded' if guarded else 'bare'}", run)
        assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals == 0, run
        assert run.result["loaded"] and run.disk_bytes == 0, run


def test_skeleton_of_transformers_4_that_is_filled_raises_and_the_script_lives(checkpoint):
    """torch's load_state_dict swallows one exception for each parameter and goes on filling."""
    python = harness.transformers4_python()
    if python is None:
        pytest.skip("no environment with transformers 4")
    bare = harness.load(python, checkpoint, "v4_default", guarded=False)
    assert bare.finished.killed or bare.finished.timed_out, bare
    run = harness.load(python, checkpoint, "v4_default", guarded=True)
    summarize("transformers 4 float32, guarded", run)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert not run.result["loaded"] and run.result["intact"], run
    assert run.result["exception"] in ("MemoryError", "RuntimeError", "MemoryLimit"), run
    assert run.refusals > 0 and run.reached >= 0.90, run
    assert 0 < run.disk_bytes <= 2 * harness.cgroup.GIB, run
    harness.figures.append(
        f"load transformers 4 float32: {run.disk_bytes >> 20} MiB of disk, exception after "
        f"{run.seconds_to_exception / bare.finished.seconds:.2f} of the bare run's time to its death")
