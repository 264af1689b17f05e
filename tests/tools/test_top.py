"""`oomguard top`: the guarded processes that run."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest

WAITS = "import sys; x = bytearray(64 << 20); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def running(tool, library, python):
    """The number of a guarded process that waits."""
    process = subprocess.Popen([python, "-c", WAITS], text=True,
                               env={**tool.environment, "LD_PRELOAD": library},
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    yield process.pid
    process.communicate(timeout=60)


def row(text, pid):
    return next((line for line in text.splitlines() if line.split()[:1] == [str(pid)]), "")


def test_nobody_is_a_clear_word(tool):
    result = tool("top", "--once")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "no guarded process of yours is running\n"


def test_one_table_where_the_output_is_no_terminal(tool, running):
    for arguments in (("--once",), (), ("--once", "--interval", "0.5")):
        result = tool("top", *arguments)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[0].split()[:3] == ["PID", "MEMORY", "GROWTH/S"]
        assert "sys.stdin.read()" in row(result.stdout, running)


def test_the_numbers_are_those_of_the_process(tool, running):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        fields = row(tool("top", "--once").stdout, running).split()
        if fields[2:3] == ["MiB"] and float(fields[1]) >= 64:
            return
        time.sleep(0.1)
    pytest.fail(f"64 MiB were never shown: {fields}")


def test_what_ended_is_not_shown(tool, python):
    tool("run", "--", python, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "no guarded process" in tool("top", "--once").stdout


def test_a_bad_interval_is_refused(tool):
    for value in ("0", "-1", "soon"):
        assert tool("top", "--interval", value).returncode == 2


class Terminal:
    """`oomguard top` on a terminal of 100 columns and 12 rows."""

    def __init__(self, tool, *arguments):
        self.own, self.other = pty.openpty()
        fcntl.ioctl(self.other, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
        self.before = termios.tcgetattr(self.other)
        self.process = subprocess.Popen([tool.command, "top", *arguments], env=tool.environment,
                                        stdin=self.other, stdout=self.other, stderr=self.other,
                                        start_new_session=True)
        self.text = ""

    def read_until(self, wanted, times=1):
        deadline = time.monotonic() + 60
        while self.text.count(wanted) < times and time.monotonic() < deadline:
            if select.select([self.own], [], [], 0.1)[0]:
                self.text += os.read(self.own, 65536).decode()
        assert self.text.count(wanted) >= times, self.text

    def end(self):
        status = self.process.wait(timeout=60)
        self.read_until("\x1b[?1049l")
        after = termios.tcgetattr(self.other)
        os.close(self.own)
        os.close(self.other)
        return status, after == self.before


def test_q_ends_it_and_the_terminal_is_as_before(tool, running):
    terminal = Terminal(tool, "--interval", "0.1")
    terminal.read_until("PID", times=3)
    assert row(terminal.text.replace("\x1b[H", "\n").replace("\x1b[K", ""), running)
    os.write(terminal.own, b"xq")
    assert terminal.end() == (0, True)


def test_an_interrupt_leaves_the_terminal_as_before(tool):
    terminal = Terminal(tool)
    terminal.read_until("no guarded process")
    terminal.process.terminate()
    assert terminal.end() == (0, True)
