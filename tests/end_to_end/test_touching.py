"""Memory that was granted earlier is filled, in 600 MiB: nobody is asked while it runs out.

Killed when bare. Guarded: an exception and a living program with all contents right where pages can
be lent or the interpreter comes to a bytecode, the end with a report where neither holds, and nothing
at all where it fits. `tests/repeat.sh --only touching` runs each many times.
"""
import os

import pytest

import cgroup
import harness

pytestmark = pytest.mark.alone
RAISES = ("two_empty", "two_read_first", "ten_threads", "random_fancy", "random_loop", "map_fill",
          "slow", "cow_child", "cow_parent", "private_file")
FITS = ("exact_fit", "skeletons")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with holes, on a disk: its private pages are what counts."""
    folder = harness.disk_folder()
    path = os.path.join(folder, "weights")
    with open(path, "wb") as file:
        file.truncate(900 << 20)
    yield path
    os.remove(path)
    os.rmdir(folder)


def check_raises(case, weights):
    run = harness.touching(case, True, weights)
    harness.figures.append(f"touching {case:15} peak {run.peak_bytes >> 20} MiB, "
                           f"{run.result.get('written', 0) >> 20} MiB written, "
                           f"{run.finished.seconds:.1f} s")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] == "MemoryError", run
    assert run.result["intact"] and run.result["alive"], run


@pytest.mark.parametrize("case", ("two_empty", "ten_threads", "c_loop", "private_file"))
def test_bare_is_killed(case, weights):
    run = harness.touching(case, False, weights)
    assert run.finished.killed and run.oom_kills == 1, run


@pytest.mark.parametrize("case", RAISES)
def test_guarded_raises_and_lives_on_with_all_contents_right(case, weights):
    check_raises(case, weights)


def test_deep_recursion_on_a_big_stack_raises(weights):
    """A stack cannot be lent, so the exception and the end are a race on a busy machine: about one run
    in thirty ends with its report. None is killed, and of three one raises."""
    for _ in range(3):
        run = harness.touching("recursion", True, weights)
        assert run.finished.status in (0, 137) and run.oom_kills == 0, run
        if run.finished.status == 0:
            break
    assert run.result["exception"] == "MemoryError" and run.result["alive"], run


@pytest.mark.parametrize("case", FITS)
def test_what_fits_gets_no_exception_and_no_refusal(case, weights):
    run = harness.touching(case, True, weights)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] is None and run.result["intact"], run
    assert run.refusals == 0, run
    if case == "skeletons":
        # Pages of the session itself count again whenever the kernel has written them back.
        assert run.result["written"] < cgroup.MIB, run


def test_a_call_into_c_that_never_returns_is_ended_with_its_report(weights):
    run = harness.touching("c_loop", True, weights)
    assert run.finished.status == 137 and run.oom_kills == 0, run
    assert run.finished.stderr.count("oomguard ended this program") == 1, run
    assert "Why:   no exception could be raised in time" in run.finished.stderr, run
    assert run.finished.stderr.endswith("OOMGUARD=0\n"), run
    (session,) = run.sessions
    assert session.refusals[-1].outcome == 4, run


def test_a_file_that_is_full_ends_the_program(weights):
    run = harness.touching("two_empty", True, weights, OOMGUARD_SPILL_LIMIT="64M")
    assert run.finished.status == 137 and run.oom_kills == 0, run
    assert "--spill-limit, or the free disk space, was used up" in run.finished.stderr, run


def test_without_lending_a_fill_in_c_is_ended_and_huge_pages_leave_no_time_for_more(weights):
    run = harness.touching("two_empty", True, weights, OOMGUARD_SPILL_LIMIT="0")
    assert run.finished.status == 137 and run.oom_kills == 0, run
    assert "--spill-limit" in run.finished.stderr, run
    # Two MiB a touch: the exception and the end are a race.
    run = harness.touching("random_loop", True, weights, OOMGUARD_SPILL_LIMIT="0")
    assert run.finished.status in (0, 137) and run.oom_kills == 0, run
    assert run.refusals > 0, run


def test_overcommit_refuse_counts_every_unfilled_byte_at_the_request(weights):
    run = harness.touching("two_empty", True, weights, OOMGUARD_OVERCOMMIT="refuse")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] in ("MemoryError", "_ArrayMemoryError"), run
    assert "Unable to allocate 400" in run.result["text"], run
