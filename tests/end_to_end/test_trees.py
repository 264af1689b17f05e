"""One budget for a tree of processes, and workers before the program that started them."""
import cgroup
import harness
import pytest

GROUP = 960 * cgroup.MIB


def trees(case, guarded=True, limit=GROUP, timeout_s=120, **extra):
    return harness.run([harness.main_python(), harness.PROGRAMS / "trees.py", case], limit, guarded,
                       timeout_s, **extra)


def test_pages_that_fork_shares_count_once():
    run = trees("shared_by_fork", OOMGUARD_BUDGET="600M")
    assert run.result == {"held": [50, 50, 50], "parent": 350}, run
    assert run.refusals == 0, run


def test_a_child_that_writes_to_shared_pages_holds_the_copies():
    run = trees("copied_after_fork", OOMGUARD_BUDGET="600M")
    assert run.result == {"beside_the_copy": 0, "after_it": 150}, run


def test_a_session_of_its_own_does_not_leave_the_tree():
    run = trees("other_sessions", OOMGUARD_BUDGET="350M")
    assert run.result == {"held": [200, 0, 0]}, run


def test_a_killed_member_gives_its_share_back_before_anybody_waited_for_it():
    run = trees("killed_member", OOMGUARD_BUDGET="350M")
    assert run.result == {"held": [200, 0, 200]}, run
