"""Thousands of cycles of allocate, be refused, free: nothing of the guard's own grows.

The figures of a million are printed by `tests/repeat.sh --only cycles`.
"""
import harness

CYCLES = 20_000


def check_nothing_grew(run):
    assert run.finished.status == 0 and run.oom_kills == 0, run
    early, late = run.result["early"], run.result["late"]
    for what in ("descriptors", "threads", "tasks"):
        assert late[what] <= early[what], run
    # A heap's own shape changes a little; something that grew with every cycle would be far beyond.
    assert late["mappings"] <= early["mappings"] + 20, run
    assert late["address_space_kib"] <= early["address_space_kib"] + 64 * 1024, run
    assert late["resident_kib"] <= early["resident_kib"] + 8 * 1024, run
    session, = run.sessions
    assert session.refusal_count >= run.result["refused"] and session.fault_count == 0, run
    # What is recorded at the last refusal is what is there, not what was once there.
    assert session.refusals[-1].recorded_blocks <= 16, run


def test_twenty_thousand_refusals_leave_nothing_behind():
    run = harness.cycles(CYCLES, timeout_s=150)
    harness.figures.append(f"cycles: {harness.cycles_line(run)}")
    check_nothing_grew(run)
