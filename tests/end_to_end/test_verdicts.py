"""Why a program is gone, for real deaths: what `oomguard run` says, and `oomguard report` later."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

import cgroup
import harness
import pytest

TIMES = int(os.environ.get("OOMGUARD_TEST_VERDICTS", "1"))
LIMIT = 200 * cgroup.MIB
TIMEOUT_S = 60

every_time = pytest.mark.parametrize("_time", range(TIMES))
# The kernel's log is read where that is allowed; it names who was killed.
with_log = pytest.mark.parametrize("log", [True, False], ids=["log", "counters"])


def program(way):
    python = harness.main_python()
    if way == "rust_abort":
        python = harness.foreign_python()
        if python is None or not harness.has_package(python, "polars"):
            pytest.skip("no environment with polars")
    return [python, harness.PROGRAMS / "dies.py", way]


def without_log():
    """What to start a program with that may not read the kernel's log, as no ordinary user may."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is missing")
    return ["setpriv", "--bounding-set", "-syslog,-sys_admin", "--"]


def command(disk, way, *options, log=True):
    words = [harness.command(), "run", "--dir", disk, *options, "--", *program(way)]
    return ([] if log else without_log()) + [str(word) for word in words]


def report(disk, *arguments, log=True):
    words = [str(harness.command()), "report", "--dir", str(disk), *arguments]
    return subprocess.run(([] if log else without_log()) + words, env=harness.bare_environment(),
                          capture_output=True, text=True, timeout=60)


def death(disk, log=True):
    """What the report says of the end of the newest session that has one to explain."""
    told = report(disk, "--format", "json", log=log)
    assert told.returncode == 0, told
    return json.loads(told.stdout)["death"]


def run(disk, way, *options, limit=LIMIT, parents_limit=None, log=True):
    """(how `oomguard run` ended, the folder of the outer group). `parents_limit`: in two groups."""
    with contextlib.ExitStack() as stack:
        parent = parents_limit and stack.enter_context(cgroup.MemoryGroup(parents_limit))
        group = stack.enter_context(cgroup.MemoryGroup(limit, parent))
        done = group.run(command(disk, way, *options, log=log), TIMEOUT_S,
                         env=harness.bare_environment())
        # The groups are gone when the report is made: their counters have to be in the file by now.
        return done, parent.folder if parent else group.folder


def is_out_of_memory(done, told, folder, log):
    assert done.status == 137, done
    assert told["kind"] == "group_limit", (done, told)
    assert told["confidence"] in (("very_likely", "certain") if log else ("very_likely",)), told
    assert told["or_kind"] is None and f"({folder})" in told["cause"], told
    assert " was killed at " in done.stderr and told["cause"] in done.stderr, done
    assert "\nMore: oomguard report " in done.stderr, done


@every_time
@with_log
def test_the_limit_of_its_own_group(disk, log, _time):
    done, folder = run(disk, "grow", "--on-limit", "warn", log=log)
    told = death(disk, log)
    is_out_of_memory(done, told, folder, log)
    assert "Not prevented because only reports were asked for (--on-limit warn)." in told["more"]
    assert any(line.startswith("Memory ") and " MiB in " in line for line in told["more"]), told
    assert any("dies.py:" in line for line in told["more"] if line.startswith("Largest: ")), told


@every_time
@with_log
def test_the_limit_of_a_group_above(disk, log, _time):
    done, folder = run(disk, "grow", "--on-limit", "warn", limit=2 * LIMIT, parents_limit=LIMIT,
                       log=log)
    is_out_of_memory(done, death(disk, log), folder, log)


@every_time
def test_a_kill_by_a_third_process(disk, _time):
    with cgroup.MemoryGroup(LIMIT) as group:
        process = group.start(command(disk, "wait"), env=harness.bare_environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n"
        (file,) = pathlib.Path(disk).glob("sessions/*.flight")
        subprocess.run(["kill", "-9", file.stem.split("-")[1]], check=True)
        _, stderr = process.communicate(timeout=TIMEOUT_S)
    told = death(disk)
    assert process.returncode == 137 and told["kind"] == "somebody", (stderr, told)
    assert told["cause"].startswith("Killed (SIGKILL) by somebody, not by the kernel"), told
    assert told["cause"] in stderr


@every_time
@pytest.mark.parametrize("way, number", [("segmentation_fault", signal.SIGSEGV),
                                         ("abort", signal.SIGABRT),
                                         ("rust_abort", signal.SIGABRT)])
def test_a_crash(disk, way, number, _time):
    done, _ = run(disk, way)
    told = death(disk)
    assert done.status == 128 + number and told["kind"] == "crashed", (done, told)
    assert f"It crashed with {number.name} (" in told["cause"] and told["cause"] in done.stderr


@every_time
@pytest.mark.parametrize("way, status", [("sys_exit", 3), ("os_exit", 4), ("exec", 5)])
def test_an_end_of_its_own_is_nothing_to_explain(disk, way, status, _time):
    done, _ = run(disk, way)
    assert (done.status, done.stderr) == (status, ""), done
    assert report(disk).returncode == 1


@every_time
def test_an_uncaught_refusal_has_its_own_report(disk, _time):
    done, _ = run(disk, "refused")
    assert done.status == 137 and "oomguard stopped this program" in done.stderr, done
    assert " was killed at " not in done.stderr, done
    told = death(disk)
    assert told["kind"] == "refused" and not told["explained"], told


@every_time
def test_an_end_by_oomguard_has_its_own_report(disk, _time):
    done, _ = run(disk, "refused", "--on-limit", "exit")
    assert done.status == 137 and " was killed at " not in done.stderr, done
    told = death(disk)
    assert told["kind"] == "ended_by_oomguard" and not told["explained"], told
    assert told["cause"].endswith(", as --on-limit exit asks for."), told


@every_time
def test_a_session_that_lost_its_end_says_so(disk, _time):
    run(disk, "segmentation_fault")
    (file,) = pathlib.Path(disk).glob("sessions/*.flight")
    os.truncate(file, 100_000)
    told = report(disk, str(file))
    assert told.returncode == 1 and "damaged: it ends before its last record" in told.stderr, told


@every_time
def test_what_nobody_saw_end_is_not_told_for_sure(disk, _time):
    """Without `oomguard run`: killed by somebody, and looked at later."""
    with cgroup.MemoryGroup(LIMIT) as group:
        process = group.start([str(word) for word in program("wait")], stdout=subprocess.PIPE,
                              env=harness.guarded_environment(disk))
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        process.communicate()
        told = death(disk)
    assert (told["kind"], told["or_kind"]) == ("somebody", "crashed"), told
    assert told["cause"].startswith("It crashed, or somebody killed it"), told
    assert death(disk) == told, "the first look after the end stays"


@every_time
def test_a_kill_that_nobody_saw_is_told_by_the_counters(disk, _time):
    with cgroup.MemoryGroup(LIMIT) as group:
        done = group.run([str(word) for word in program("grow")], TIMEOUT_S,
                         env=harness.guarded_environment(disk, OOMGUARD_ON_LIMIT="warn"))
        told = death(disk, log=False)
    assert done.killed and told["kind"] == "group_limit", (done, told)
    assert told["confidence"] == "very_likely" and told["or_kind"] is None, told
    assert f"({group.folder})" in told["cause"], told
