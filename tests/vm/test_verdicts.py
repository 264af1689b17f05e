"""Why a program is gone, in memory groups of version 2 and on a full machine: guest/verdicts.py
has the cases."""
import signal

import pytest

import judge

pytestmark = pytest.mark.timeout(judge.VERDICTS_LIMIT_S + 100)  # the first test waits for all cases
# Of what guest/bench.py adds to a case.
OTHERS = ("case", "took")


def runs(verdicts, name):
    """(way, what it did) of each time that the case was run."""
    return [one for one in verdicts.case(name).items() if one[0] not in OTHERS]


def told(verdicts, name, kind, where, by_run=True):
    """Each run of a case has that cause; the log makes it certain, counters very likely."""
    for way, done in runs(verdicts, name):
        death = done["death"]
        assert death and (death["kind"], death["or_kind"]) == (kind, None), (way, done)
        assert where in death["cause"], (way, done)
        if by_run:
            assert done["status"] == 128 + signal.SIGKILL, (way, done)
            assert death["cause"] in done["said"], (way, done)
        sure = "certain" if way.startswith("log") else "very_likely"
        assert death["confidence"] == sure, (way, done)


def test_the_limit_of_its_own_group(verdicts):
    told(verdicts, "own_limit", "group_limit", "container limit 96 MiB (/sys/fs/cgroup/case)")


def test_the_limit_of_a_group_above(verdicts):
    told(verdicts, "limit_above", "group_limit", "container limit 96 MiB (/sys/fs/cgroup/parent)")


def test_a_group_that_dies_together_is_told_by_the_report_alone(verdicts):
    told(verdicts, "whole_group", "group_limit", "container limit 96 MiB (/sys/fs/cgroup/case)",
         by_run=False)
    assert verdicts.case("whole_group")["log"]["status"] == -signal.SIGKILL


def test_the_whole_machine(verdicts):
    told(verdicts, "whole_machine", "machine", "this machine's memory, ")


def test_a_kill_by_somebody(verdicts):
    for way, done in runs(verdicts, "somebody"):
        assert done["status"] == 128 + signal.SIGKILL, (way, done)
        assert "Killed (SIGKILL) by somebody, not by the kernel" in done["said"], (way, done)


def test_a_pod_is_told_in_one_line_without_paths(verdicts):
    for _, line in runs(verdicts, "in_a_pod"):
        assert line.startswith("oomguard: python") and line.count("\n") == 1, line
        assert "out of memory: container limit 96 MiB, last seen" in line and "/sys" not in line, line
