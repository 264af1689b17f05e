"""What the tests demand of a run in a guest."""
import os
import signal

LIMIT_S = 540  # of a guest; it takes about 80 where nothing else runs
# How often the guest of the verdicts has each case, and how long it may take.
VERDICTS = int(os.environ.get("OOMGUARD_TEST_VERDICTS", "1"))
VERDICTS_LIMIT_S = max(LIMIT_S, 180 * VERDICTS)
ENDED = 137  # by the guard, with its report


def was_killed(run):
    assert run["status"] == -signal.SIGKILL and not run["timed_out"], run


def nobody_was_killed(run):
    assert not run["timed_out"] and run.get("machine_kills", 0) == 0, run
    for name in ("oom", "oom_kill", "oom_group_kill"):
        assert run.get("events", {}).get(name, 0) == 0, run


def raised(run):
    """Ended with an exception that it handled, alive and with nobody killed."""
    assert run["status"] == 0 and run["sessions"] == 1, run
    assert run["result"].get("exception") and run["result"].get("alive"), run
    nobody_was_killed(run)


def raised_or_ended(run):
    """As `raised`, or ended by the guard with its report."""
    if run["status"] == ENDED:
        assert "oomguard" in run["said"] and run["sessions"] == 1, run
        nobody_was_killed(run)
    else:
        raised(run)


def raised_ended_or_carried(run):
    """As `raised_or_ended`, or what did not fit was carried by a file to the end of the program."""
    if run["status"] == 0 and run["result"].get("exception") is None:
        assert run["result"].get("alive"), run
        nobody_was_killed(run)
    else:
        raised_or_ended(run)
