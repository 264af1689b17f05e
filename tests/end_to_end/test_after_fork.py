"""The watchdog is stopped around a fork and comes back in time, in the parent and in the child."""
import pytest

import harness

pytestmark = pytest.mark.alone
PROGRAM = harness.PROGRAMS / "after_fork.py"


def after_fork(case, python=None, guarded=True):
    argv = [python or harness.main_python(), "-W", "error", PROGRAM, case]
    return harness.run(argv, harness.SMALL_LIMIT, guarded, 60)


def test_bare_parent_is_killed():
    run = after_fork("fill_parent", guarded=False)
    assert run.oom_kills == 1, run


@pytest.mark.parametrize("python", harness.pythons(), ids=harness.python_label)
def test_a_parent_that_only_fills_memory_after_its_fork_is_ended_and_not_killed(python):
    run = after_fork("fill_parent", python)
    # From 3.12 on a thread that is there right after the fork would be warned of.
    assert run.finished.stdout == "begins\n", run
    assert run.finished.status == 137 and run.oom_kills == 0, run
    assert "oomguard ended this program" in run.finished.stderr, run


def test_a_child_that_copies_what_it_shares_in_one_call_is_ended_and_the_parent_lives_on():
    run = after_fork("copy_child")
    assert run.finished.stdout == "begins\nchild 137 1 1\nsurvives\n", run
    assert run.finished.status == 0 and run.oom_kills == 0, run
