"""A program that an uncaught refusal ended: exit status, session and report."""

import json

import pytest

GROW = "x = []\nwhile True: x.append(bytearray(8 << 20))"
HANDLE = "try:\n    bytearray(64 << 30)\nexcept MemoryError:\n    print('handled')"
BUDGET = ("--budget", "256MiB")


@pytest.fixture
def refused(tool, python):
    """A run that a budget ended; skips where the library of the build does not refuse yet."""
    result = tool("run", *BUDGET, "--exit-code", "keep", python, "-c", GROW, preexec_fn=_limit_data)
    if "MemoryError" not in result.stderr:
        pytest.skip(f"the program was not refused: {result.stderr[-200:]}")
    return result


def _limit_data():
    import resource

    # Should the guard fail, the kernel's own refusal ends the program long before the machine.
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))


def test_an_uncaught_refusal_ends_a_run_with_137(tool, python, refused):
    assert tool("run", *BUDGET, python, "-c", GROW, preexec_fn=_limit_data).returncode == 137


def test_keep_leaves_the_programs_own_status(refused):
    assert refused.returncode == 1


def test_a_handled_refusal_changes_no_status(tool, python, refused):
    result = tool("run", *BUDGET, python, "-c", HANDLE, preexec_fn=_limit_data)
    assert (result.returncode, result.stdout) == (0, "handled\n")


def test_the_report_of_the_last_refusal(tool, refused):
    result = tool("report", "--last")
    assert (result.returncode, result.stderr) == (0, "")
    assert "oomguard stopped this program at the memory budget that was set for it" in result.stdout
    assert "limit 256 MiB (budget)" in result.stdout
    for label in ("request", "headroom", "reserve", "in flight", "pending"):
        assert label in result.stdout


def test_the_report_as_json(tool, refused):
    report = json.loads(tool("report", "--format", "json").stdout)
    assert report["schema"] == "oomguard.report/6"
    assert report["session"]["state"] == "ended by a refusal"
    last = report["refusals"][-1]
    binding = [level for level in last["levels"] if level["binds"]]
    assert [level["limit_bytes"] for level in binding] == [256 << 20]


def test_a_session_without_a_refusal_leaves_no_file(tool, python, refused):
    before = tool("report", "--list").stdout
    assert tool("run", python, "-c", "print(1)").returncode == 0
    assert tool("report", "--list").stdout == before


def test_without_a_folder_for_sessions_no_report_is_promised(tool, python, refused):
    result = tool("run", *BUDGET, python, "-c", GROW, preexec_fn=_limit_data,
                  env={"OOMGUARD_DIR": "/proc/nowhere"})
    assert "oomguard stopped this program" in result.stderr
    assert "cannot be used" in result.stderr and "oomguard report" not in result.stderr
