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


def test_children_are_taken_before_the_program_that_started_them():
    run = trees("scores")
    step = min(500, 1000 - int(open("/proc/self/oom_score_adj").read()))
    assert set(run.result.values()) == {step}, run


def test_bare_children_stay_as_they_were():
    run = trees("scores", guarded=False)
    assert set(run.result.values()) == {0}, run


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_greedy_worker_gets_its_exception_and_the_parent_lives(method):
    run = trees(f"greedy_{method}_worker", limit=harness.SMALL_LIMIT)
    assert run.result == {"end": "MemoryError", "sums": [3, 7], "kept": 100}, run
    assert run.oom_kills == 0, run


def test_a_workers_error_that_ends_the_parent_has_the_workers_report():
    run = trees("uncaught_in_worker", limit=harness.SMALL_LIMIT)
    assert run.finished.status == 1 and run.oom_kills == 0, run
    assert "Held:  child process " in run.finished.stderr, run
    assert "pool.apply_async(eat).get(60)" in run.finished.stderr.split("At:")[1], run


def test_what_a_neighbour_asks_for_and_frees_again_is_not_held_against_the_next_request():
    run = trees("results_by_pipe", limit=harness.SMALL_LIMIT)
    assert run.finished.status == 0 and run.oom_kills == 0 and run.refusals > 0, run
    assert run.result["kept"] >= 400, run


def test_the_kernel_takes_the_bare_parent_of_a_greedy_child():
    run = trees("greedy_stranger", guarded=False, limit=harness.SMALL_LIMIT)
    assert run.finished.killed, run


def test_the_kernel_takes_a_greedy_child_that_is_not_guarded():
    for _ in range(3):
        run = trees("greedy_stranger", limit=harness.SMALL_LIMIT, OOMGUARD_CHILDREN="none")
        assert run.result == {"child": -9, "kept": 330}, run
        assert run.oom_kills == 1, run
