"""A program whose last two starts ended early, the second by a crash in the library or below it, is not
guarded at the third."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

# How a start goes is what the file HOW says; the program and its words are the same. realloc looks at the
# block before libc does, so that libc's reading of it is below the library.
PROGRAM = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
how = open(sys.argv[1]).read()
print("oomguard" in sys.modules, flush=True)
if how == "below":
    libc.realloc(16, 64 << 20)
elif how == "elsewhere":
    ctypes.string_at(0)
elif how == "asked":
    os.kill(os.getpid(), signal.SIGSEGV)
elif how == "killed":
    os.kill(os.getpid(), signal.SIGTERM)
elif how == "child" and os.fork() == 0:
    libc.realloc(16, 64 << 20)
elif how == "left":
    os._exit(0)
elif how == "executes":
    os.execv("/bin/kill", ["kill", "-KILL", str(os.getpid())])
print([signal.getsignal(one) for one in (signal.SIGSEGV, signal.SIGABRT)].count(signal.SIG_DFL))
"""


@pytest.fixture
def start(tool, library, tmp_path):
    program, how = tmp_path / "program.py", tmp_path / "how"
    program.write_text(PROGRAM)

    def start(kind, *words):
        how.write_text(kind)
        return subprocess.run([sys.executable, program, how, *words], capture_output=True, text=True, timeout=60,
                              env={**tool.environment, "LD_PRELOAD": library})

    start.marks = lambda: list(pathlib.Path(tool.environment["OOMGUARD_DIR"]).glob("starts/*"))
    return start


GUARDED, BARE = "True\n2\n", "False\n2\n"
LOOKED_AT = "True\n0\n"  # guarded, with handlers


def test_the_third_start_is_bare_and_says_so_until_the_file_is_gone(start):
    for _ in range(2):
        done = start("below")
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGSEGV, "True\n", ""), done
    (mark,) = start.marks()
    line = ("oomguard: off in this process: two starts of it ended within seconds, the last one by signal 11 in this "
            f"library or below it; guarded again a day later, or once {mark} is removed\n")
    for _ in range(2):
        done = start("well")
        assert (done.returncode, done.stdout, done.stderr) == (0, BARE, line), done
    assert start("well", "another word").stdout == BARE  # the first two tell programs apart
    os.utime(mark, (0, 0))
    assert start("well").stdout == GUARDED
    assert start.marks() == []


@pytest.mark.parametrize("kind, status", (("elsewhere", -signal.SIGSEGV), ("asked", -signal.SIGSEGV),
                                          ("killed", -signal.SIGTERM)))
def test_another_end_is_no_crash_of_ours(start, kind, status):
    for _ in range(3):
        done = start(kind)
        assert (done.returncode, done.stdout, done.stderr) == (status, "True\n", ""), done
    assert start("well").stdout == LOOKED_AT
    assert start("well").stdout == GUARDED


@pytest.mark.parametrize("kind, status", (("well", 0), ("left", 0), ("child", 0), ("executes", -signal.SIGKILL)))
def test_after_a_start_that_goes_well_nobody_looks(start, kind, status):
    assert start("below").returncode == -signal.SIGSEGV
    done = start(kind)
    assert (done.returncode, done.stderr) == (status, ""), done
    assert start.marks() == []
    assert start("well").stdout == GUARDED
    assert start("below").returncode == -signal.SIGSEGV
    assert start("well").stdout == LOOKED_AT


def test_a_mark_that_lies_does_not_count(start):
    for _ in range(2):
        start("below")
    (mark,) = start.marks()
    content = mark.read_bytes()
    assert len(content) == 16
    mark.chmod(0o666)  # anybody may have written it
    assert start("well").stdout.startswith("True")
    mark.write_bytes(content[:10])  # the disk was full
    mark.chmod(0o600)
    assert start("well").stdout.startswith("True")
    other = bytes([content[0], content[1] ^ 1]) + content[2:]
    mark.write_bytes(other)  # of another program, which is not guarded itself
    assert start("well").stdout == GUARDED
    assert mark.read_bytes() == other
    mark.unlink()
    mark.symlink_to("/dev/zero")
    assert start("well").stdout == GUARDED
