"""`oomguard sessions`: list, remove, prune."""

import os
import re
import signal
import subprocess
import time

import pytest


@pytest.fixture
def sessions(environment):
    folder = os.path.join(environment["OOMGUARD_DIR"], "sessions")
    os.makedirs(folder, mode=0o700)
    return folder


def killed(tool, python, sessions):
    """The name of a new session whose process was ended by SIGKILL."""
    before = set(os.listdir(sessions))
    tool("run", "--", python, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    new = [name for name in set(os.listdir(sessions)) - before if name.endswith(".flight")]
    assert len(new) == 1
    return new[0].removesuffix(".flight")


class Running:
    """A guarded process that waits for its standard input to end."""

    def __init__(self, tool, library, python):
        self.process = subprocess.Popen(
            [python, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"],
            env={**tool.environment, "LD_PRELOAD": library},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self):
        return self.process.pid

    def __exit__(self, *_):
        self.process.communicate(timeout=60)


def named(sessions, pid):
    name, = (name for name in os.listdir(sessions) if name.endswith(f"-{pid}.flight"))
    return name.removesuffix(".flight")


def test_nothing_recorded_is_a_clear_word(tool, environment):
    for arguments in ((), ("list",)):
        result = tool("sessions", *arguments)
        assert result.returncode == 1
        assert f"no session is recorded in {environment['OOMGUARD_DIR']}\n" in result.stderr


def test_the_list_says_what_each_is_and_takes(tool, library, python, sessions):
    name = killed(tool, python, sessions)
    with Running(tool, library, python) as pid:
        running = named(sessions, pid)
        result = tool("sessions")
        assert result.returncode == 0 and tool("sessions", "list").stdout == result.stdout
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert re.search(r" [KM]iB +0  gone without ending ", lines[name])
    assert "running" in lines[running] and "sys.stdin.read()" in lines[running]
    assert result.stdout.splitlines()[-1].startswith("2 sessions, ")


def test_remove_takes_what_is_named_and_nothing_else(tool, python, sessions):
    first, second = killed(tool, python, sessions), killed(tool, python, sessions)
    assert tool("sessions", "remove", first).returncode == 0
    assert os.listdir(sessions) == [second + ".flight"]


def test_remove_leaves_all_where_one_is_unknown_or_runs(tool, library, python, sessions):
    name = killed(tool, python, sessions)
    unknown = tool("sessions", "remove", name, "1-2")
    assert unknown.returncode == 1 and "'1-2' is no session" in unknown.stderr
    with Running(tool, library, python) as pid:
        running = tool("sessions", "remove", name, named(sessions, pid))
        assert running.returncode == 1 and f"its process {pid} is running" in running.stderr
    assert name + ".flight" in os.listdir(sessions)
    for outside in ("../../etc/passwd", sessions + "/" + name + ".flight"):
        assert tool("sessions", "remove", outside).returncode == 1
    assert name + ".flight" in os.listdir(sessions)


def test_prune_keeps_so_many_and_what_runs(tool, library, python, sessions):
    for _ in range(3):
        newest = killed(tool, python, sessions)
        time.sleep(1.1)  # names are made of seconds
    with Running(tool, library, python) as pid:
        running = named(sessions, pid)
        result = tool("sessions", "prune", "--keep", "2")
        assert result.returncode == 0
        assert re.fullmatch(r"2 sessions removed, .* given back\n", result.stdout)
        assert sorted(os.listdir(sessions)) == sorted([newest + ".flight", running + ".flight"])
        tool("sessions", "prune", "--keep", "0")
        assert os.listdir(sessions) == [running + ".flight"]


def test_prune_keeps_no_more_than_so_many_bytes_and_days(tool, python, sessions):
    killed(tool, python, sessions)
    assert tool("sessions", "prune", "--days", "1").stdout.startswith("0 sessions removed")
    assert tool("sessions", "prune", "--bytes", "4K").stdout.startswith("1 sessions removed")
    assert os.listdir(sessions) == []
    bad = tool("sessions", "prune", "--bytes", "lots")
    assert bad.returncode == 2 and "accepted: a size" in bad.stderr


def test_another_users_and_other_files_are_none_of_its_business(tool, python, sessions):
    name = killed(tool, python, sessions)
    for other in ("notes.txt", "5-6.flight.bak"):
        with open(os.path.join(sessions, other), "w", encoding="utf-8") as file:
            file.write("x")
    os.symlink("/etc/passwd", os.path.join(sessions, "7-8.flight"))
    tool("sessions", "prune", "--keep", "0")
    left = set(os.listdir(sessions))
    assert left == {"notes.txt", "5-6.flight.bak", "7-8.flight"} and name not in left


def test_a_session_that_cannot_be_read_is_listed_with_the_reason(tool, sessions):
    with open(os.path.join(sessions, "5-6.flight"), "w", encoding="utf-8") as file:
        file.write("nonsense\x1b[31m")
    result = tool("sessions")
    assert result.returncode == 0 and "too short for a flight file" in result.stdout
    assert "\x1b" not in result.stdout
    assert tool("sessions", "remove", "5-6").returncode == 0
    assert os.listdir(sessions) == []


def test_whoever_saw_the_end_of_a_process_can_say_it(tool, library, python, sessions):
    with Running(tool, library, python) as pid:
        result = tool("sessions", "ended", pid, "--status", "0")
        assert result.returncode == 1 and f"process {pid} is running" in result.stderr
        os.kill(pid, signal.SIGKILL)
    name = named(sessions, pid)
    assert tool("sessions", "ended", pid, "--signal", "9").returncode == 0
    assert "SIGKILL" in tool("report", name).stdout
    result = tool("sessions", "ended", pid, "--status", "1")
    assert result.returncode == 1 and "says already how it ended" in result.stderr

    with Running(tool, library, python) as pid:
        os.kill(pid, signal.SIGKILL)
    name = named(sessions, pid)
    assert tool("sessions", "ended", pid, "--signal", "9", "--asked").returncode == 0
    assert re.search(rf"^ *{name} .* ended ", tool("sessions").stdout, re.MULTILINE)
    result = tool("sessions", "ended", "1", "--status", "0")
    assert result.returncode == 1 and "process 1 has no session in " in result.stderr
