"""Which children keep the shim, through every way of starting one."""

import os
import shutil
import struct
import sys

import pytest

SPAWNING = ["spawn", "spawnp", "system", "popen"]
REPLACING = ["execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "fexecve"]
REPLACING += ["execveat"]

DROPPED = "preload 0 mapped 0 run 0 other kept"
KEPT = "preload 1 mapped 1 run 1 other kept"

REPORT = (
    "import os;print('liboomguard.so' in os.environ.get('LD_PRELOAD',''),"
    "'liboomguard.so' in open('/proc/self/maps').read())"
)

# End states of a flight file (offset of the field: after magic, version, three sizes, three ids).
END_STATE = struct.Struct("<36xI")
EXECUTED = 3


@pytest.mark.parametrize("way", REPLACING + SPAWNING)
def test_another_program_loses_the_shim_and_nothing_else(way, program, guarded):
    ended = guarded(program("exec_chain"), way, CHAIN_OTHER="1")
    assert ended.lines == [KEPT, DROPPED]
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.parametrize("way", REPLACING + SPAWNING)
def test_all_keeps_it(way, program, guarded):
    ended = guarded(program("exec_chain"), way, CHAIN_OTHER="1", OOMGUARD_CHILDREN="all")
    assert ended.lines == [KEPT, KEPT]


@pytest.mark.parametrize("way", REPLACING + SPAWNING)
def test_none_drops_it(way, program, guarded):
    ended = guarded(program("exec_chain"), way, CHAIN_OTHER="1", OOMGUARD_CHILDREN="none")
    assert ended.lines == [KEPT, DROPPED]


@pytest.mark.parametrize("way", REPLACING + SPAWNING)
@pytest.mark.parametrize("children, kept", [("python", 1), ("all", 1), ("none", 0)])
def test_an_interpreter_under_another_name_counts_as_python(way, children, kept, program, guarded):
    ended = guarded(
        program("exec_chain"),
        way,
        CHAIN_PROGRAM=program("embedded_python"),
        OOMGUARD_CHILDREN=children,
    )
    assert ended.lines[1:] == [f"preload {kept}"]


@pytest.mark.parametrize("way", REPLACING + SPAWNING)
@pytest.mark.parametrize("children", ["python", "all", "none"])
def test_a_static_program_never_sees_it(way, children, program, guarded):
    ended = guarded(
        program("exec_chain"),
        way,
        CHAIN_PROGRAM=program("static_child"),
        OOMGUARD_CHILDREN=children,
    )
    assert ended.lines[1:] == ["static: preload 0"]


def test_a_chain_of_other_programs_stays_without_it(program, guarded):
    ended = guarded(program("exec_chain"), "execve", "spawn", "execvp", CHAIN_OTHER="1")
    assert ended.lines == [KEPT, DROPPED, DROPPED, DROPPED]


def test_switched_off_leaves_children_as_they_are(program, guarded):
    ended = guarded(program("exec_chain"), "execve", CHAIN_OTHER="1", OOMGUARD="0")
    assert ended.lines == [KEPT, KEPT]


def test_a_sanitizer_build_runs_under_a_guarded_program(program, bare, guarded):
    child = program("sanitized_child")
    assert bare(child).status == 0
    preloaded = guarded(program("exec_chain"), "spawn", CHAIN_PROGRAM=child)
    assert preloaded.lines[1:] == ["sanitized: ran"]
    assert (preloaded.status, preloaded.err) == (0, "")


def test_another_preloaded_library_stays(guarded):
    # libdl exists everywhere that glibc does, and does nothing when preloaded.
    script = (
        "import os, subprocess; os.environ['LD_PRELOAD'] += ':libdl.so.2';"
        "subprocess.run(['printenv', 'LD_PRELOAD'])"
    )
    assert guarded(sys.executable, "-c", script).out == "libdl.so.2\n"


STARTS = {
    "subprocess": "subprocess.run(COMMAND, check=True)",
    "without closing descriptors": "subprocess.run(COMMAND, check=True, close_fds=False)",
    "with preexec_fn": "subprocess.run(COMMAND, check=True, preexec_fn=lambda: None)",
    "with a large environment": "subprocess.run(COMMAND, check=True,"
    " env={**os.environ, **{f'V{i}': 'x' for i in range(10_000)}})",
    "through the shell": "subprocess.run(shlex.join(COMMAND), shell=True, check=True)",
    "os.system": "assert os.system(shlex.join(COMMAND)) == 0",
    "os.posix_spawn": "os.waitpid(os.posix_spawn(PATH, COMMAND, os.environ), 0)",
    "os.spawnv": "os.spawnv(os.P_WAIT, PATH, COMMAND)",
    "fork and execv": "os.fork() or os.execv(PATH, COMMAND); os.wait()",
    "from a thread": "t = threading.Thread(target=subprocess.run, args=(COMMAND,));"
    " t.start(); t.join()",
}


def start_from_python(how, command):
    return (
        "import os, shlex, shutil, subprocess, sys, threading\n"
        f"COMMAND = {command!r}\n"
        "PATH = shutil.which(COMMAND[0])\n"
        f"{STARTS[how]}\n"
    )


@pytest.mark.parametrize("how", STARTS)
def test_python_starts_python_with_the_shim(how, guarded):
    ended = guarded(sys.executable, "-c", start_from_python(how, [sys.executable, "-c", REPORT]))
    assert (ended.out, ended.status) == ("True True\n", 0), ended.err


@pytest.mark.parametrize("how", STARTS)
def test_python_starts_other_programs_without_it(how, guarded):
    ended = guarded(sys.executable, "-c", start_from_python(how, ["cat", "/proc/self/environ"]))
    assert "liboomguard" not in ended.out
    assert "PATH=" in ended.out and ended.status == 0, ended.err


@pytest.mark.parametrize("launcher", [["env"], ["timeout", "60"], ["nice"], ["setsid", "-w"]])
def test_launchers_hand_it_on_to_python_and_to_nothing_else(launcher, guarded):
    if shutil.which(launcher[0]) is None:
        pytest.skip(f"{launcher[0]} is not installed")
    script = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    ended = guarded(sys.executable, "-c", script, *launcher, sys.executable, "-c", REPORT)
    assert ended.out == "True True\n"
    ended = guarded(sys.executable, "-c", script, *launcher, "cat", "/proc/self/environ")
    assert "liboomguard" not in ended.out and "PATH=" in ended.out


def test_scripts_are_judged_by_their_interpreter(guarded, tmp_path):
    python = tmp_path / "tool"
    python.write_text(f"#!{sys.executable}\n{REPORT}\n")
    through_env = tmp_path / "tool2"
    through_env.write_text(f"#!/usr/bin/env {os.path.basename(sys.executable)}\n{REPORT}\n")
    awk = tmp_path / "report"
    awk.write_text('#!/usr/bin/env -S awk -f\nBEGIN { print ENVIRON["LD_PRELOAD"] "." }\n')
    path = os.path.dirname(sys.executable) + ":" + os.environ["PATH"]
    expected = {python: "True True\n", through_env: "True True\n", awk: ".\n"}
    for script, out in expected.items():
        script.chmod(0o755)
        start = f"import os; os.execv({str(script)!r}, ['x'])"
        assert guarded(sys.executable, "-c", start, PATH=path).out == out, script


def end_states(files):
    return [END_STATE.unpack_from(path.read_bytes())[0] for path in files]


def test_the_flight_file_says_that_the_process_became_another_program(
    program, guarded, session_files
):
    guarded(program("exec_chain"), "execve")
    assert end_states(session_files()) == [EXECUTED]


def test_a_failed_exec_leaves_the_session_running(program, guarded, session_files):
    script = "import os\ntry: os.execv('/nonexistent/x', ['x'])\nexcept OSError: print('went on')"
    ended = guarded(sys.executable, "-c", script)
    assert (ended.out, ended.status) == ("went on\n", 0)
    assert session_files() == []  # a clean end, not one by exec
