"""Lent pages come back where there is room again, in 600 MiB."""
import cgroup
import harness
import pytest

pytestmark = pytest.mark.alone


def test_what_was_lent_comes_back_once_the_large_arrays_are_gone():
    run = harness.room("comes_back")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] == "MemoryError" and run.result["intact"], run
    assert run.result["lent"] > cgroup.MIB, run
    assert run.result["rest"] == 0, "the file is closed"
    assert run.result["again"] == 0, "the rest of the array is memory"
    harness.figures.append(f"room: {run.result['filled'] >> 20} MiB came back in "
                           f"{run.result['took']:.1f} s, longest wait of a thread "
                           f"{run.result['longest'] * 1e3:.0f} ms")


def test_a_file_that_is_full_ends_nobody_while_memory_has_room():
    run = harness.room("full_file")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] == "MemoryError" and run.result["intact"], run
    assert run.result["lent"] > 64 * cgroup.MIB, run
