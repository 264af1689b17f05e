"""`oomguard run`: the program behaves as without it; what cannot be guarded is told in a word."""

import os
import pathlib
import pty
import signal
import subprocess
import sys
import time

import pytest

WAIT_S = 20


def source(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def wait_for_line(process, line):
    got = process.stdout.readline()
    assert got == line + "\n", (got, process.stderr.read() if process.poll() is not None else "")


@pytest.fixture
def static_program(compiler, tmp_path):
    path = tmp_path / "static"
    made = subprocess.run(
        [compiler, "-static", "-o", path, "-x", "c", "-"],
        input=b"int main(void){return 7;}",
        capture_output=True,
        timeout=60,
    )
    if made.returncode != 0:
        pytest.skip("no static C library to link with")
    return path


@pytest.mark.parametrize("status", (0, 1, 42, 255))
def test_the_exit_status_is_the_programs(tool, status):
    assert tool("run", "--", "sh", "-c", f"exit {status}").returncode == status


def test_nothing_is_added_to_the_output(tool):
    result = tool("run", "sh", "-c", "echo out; echo err >&2")
    assert (result.returncode, result.stdout, result.stderr) == (0, "out\n", "err\n")


def test_arguments_arrive_as_they_are(tool, python):
    words = ["--help", "--", "--budget", "a b", "", "*", "$HOME", "-c"]
    result = tool("run", "--", python, "-c", "import sys; print(sys.argv[1:])", *words)
    assert result.stdout == f"{words!r}\n"


def test_options_end_at_the_program(tool, python):
    code = "import os, sys; print(os.environ['OOMGUARD_BUDGET'], sys.argv[1:])"
    result = tool("run", "--budget=80%", "--children", "all", python, "-c", code, "--budget", "1G")
    assert result.stdout == "80% ['--budget', '1G']\n"


def test_the_environment_is_set_for_the_program(tool, library, python):
    code = (
        "import os; e = os.environ; print(e['LD_PRELOAD'], e['OOMGUARD_EXIT_CODE'],"
        " e['OOMGUARD_RUN_PROGRAM'] == str(os.getpid()))"
    )
    assert tool("run", python, "-c", code).stdout == f"{library} 137 True\n"
    kept = tool("run", "--exit-code", "keep", python, "-c", code)
    assert kept.stdout == f"{library} keep True\n"


def test_an_existing_preload_stays_behind_ours(tool, library, compiler, tmp_path):
    other = tmp_path / "libother.so"
    subprocess.run(
        [compiler, "-shared", "-o", other, "-x", "c", "/dev/null"], check=True, timeout=60
    )
    result = tool("run", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": f"{library} {other}"})
    assert result.stdout == f"{library}:{other}\n"


def test_the_library_is_loaded(tool, python, library):
    code = "print(any('liboomguard' in line for line in open('/proc/self/maps')))"
    assert tool("run", python, "-c", code).stdout == "True\n"


def test_switched_off_nothing_is_preloaded(tool):
    result = tool("run", "sh", "-c", 'echo "[$LD_PRELOAD]"', env={"OOMGUARD": "0"})
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV), ids=str)
def test_a_death_by_signal_is_128_plus_its_number(tool, number):
    assert tool("run", "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


ORPHAN = """
import os, sys, time
reads, writes = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan == 0:
        time.sleep(0.5)
    else:
        os.write(writes, b"%d" % orphan)
    os._exit(0)
os.wait()
orphan = os.read(reads, 20).decode()
with open(f"/proc/{orphan}/stat") as stat:
    adopted = int(stat.read().rsplit(") ", 1)[1].split()[1]) == os.getppid()
end = time.monotonic() + 20
while adopted and os.path.exists(f"/proc/{orphan}") and time.monotonic() < end:
    time.sleep(0.01)
print(adopted, os.path.exists(f"/proc/{orphan}"))
"""


def test_as_a_subreaper_it_waits_for_what_the_program_left_behind(tool, python):
    result = tool("run", "--subreaper", python, "-c", ORPHAN)
    assert (result.returncode, result.stdout, result.stderr) == (0, "True False\n", "")
    assert tool("run", python, "-c", ORPHAN).stdout.startswith("False ")


def test_who_sends_a_signal_through_it_knows(tool, tmp_path):
    script = source(tmp_path, "wait.py", "import time; print('ready', flush=True); time.sleep(60)\n")
    process = tool.start("run", sys.executable, script)
    wait_for_line(process, "ready")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stderr) == (128 + signal.SIGTERM, "")
    report = tool("report").stdout
    assert f"Ended by SIGTERM that process {os.getpid()} (" in report, report
    assert "What is known of its end:" in report and "exit status: SIGTERM" in report, report


@pytest.mark.parametrize(
    "number",
    (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCONT,
        signal.SIGALRM,
    ),
    ids=str,
)
def test_signals_are_passed_on(tool, tmp_path, number):
    script = source(
        tmp_path,
        "wait.py",
        f"import signal, sys\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])\n"
        f"print('ready', flush=True)\n"
        f"got = signal.sigtimedwait([{int(number)}], {WAIT_S})\n"
        f"sys.exit(9 if got else 1)\n",
    )
    process = tool.start("run", sys.executable, script)
    wait_for_line(process, "ready")
    process.send_signal(number)
    assert process.wait(WAIT_S) == 9


def test_an_interrupt_of_the_terminal_arrives_once(tool, tmp_path):
    script = source(
        tmp_path,
        "count.py",
        "import signal, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 10\n"
        "while not seen and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "print('interrupts', len(seen), flush=True)\n",
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            tool.command, [tool.command, "run", sys.executable, str(script)], tool.environment
        )
    output = b""
    interrupted = False
    end = time.monotonic() + WAIT_S
    while b"interrupts" not in output and time.monotonic() < end:
        try:
            output += os.read(terminal, 1024)
        except OSError:
            break
        if b"ready" in output and not interrupted:
            os.write(terminal, b"\x03")
            interrupted = True
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"interrupts 1" in output
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_program_gets_signal_settings_unchanged(tool):
    script = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    bare = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=tool.environment,
        stdin=subprocess.DEVNULL,
    )
    assert tool("run", "sh", "-c", script).stdout == bare.stdout


COUNTS = (
    "import signal, sys, time\n"
    "seen = []\n"
    "signal.signal(signal.SIGTERM, lambda *_: seen.append(1))\n"
    "print('ready', flush=True)\n"
    "for wanted in map(int, sys.stdin):\n"
    "    end = time.monotonic() + 20\n"
    "    while len(seen) < wanted and time.monotonic() < end: time.sleep(0.01)\n"
    "    time.sleep(0.1)\n"  # what comes twice comes now
    "    print(len(seen), flush=True)\n"
)


def test_a_signal_to_the_whole_group_arrives_once(tool, python):
    process = subprocess.Popen(
        [tool.command, "run", python, "-c", COUNTS],
        env=tool.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )
    wait_for_line(process, "ready")
    send = (os.killpg, os.kill, os.killpg, os.killpg, os.kill)
    for count, function in enumerate(send, 1):
        function(process.pid, signal.SIGTERM)
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        wait_for_line(process, str(count))
    process.stdin.close()
    assert process.wait(WAIT_S) == 0
    process.stdout.close()


def test_a_budget_that_no_interpreter_starts_in_is_an_error(tool, python):
    result = tool("run", "--budget", "8MiB", python, "-c", "")
    assert result.returncode == 2
    assert "--budget: '8MiB' is not accepted; accepted: auto, a size from 16MiB on" in result.stderr
    assert tool("run", "--budget", "16MiB", python, "-c", "print('up')").stdout == "up\n"


@pytest.mark.parametrize("folder", ["/dev/null", "/proc/nowhere"])
def test_a_folder_that_holds_no_session_is_an_error_where_it_was_asked_for(tool, python, folder):
    result = tool("run", "--dir", folder, python, "-c", "print('up')")
    assert (result.returncode, result.stdout) == (4, "")
    assert f"--dir: no session can be recorded in '{folder}': " in result.stderr


def test_elsewhere_it_is_said_and_the_program_runs(tool, python):
    result = tool("run", python, "-c", "print('up')", env={"OOMGUARD_DIR": "/dev/null"})
    assert (result.returncode, result.stdout) == (0, "up\n")
    assert result.stderr == ("oomguard: no session can be recorded in '/dev/null': Not a directory; "
                             "the program is guarded without one\n")


def test_an_ignored_child_signal_loses_no_exit_status(tool, python):
    code = "import signal, sys; sys.exit(5 if signal.getsignal(17) == signal.SIG_IGN else 6)"
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        process = tool.start("run", python, "-c", code)
    finally:
        signal.signal(signal.SIGCHLD, previous)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 5, "the status is the program's, which inherits what was ignored"


def test_the_program_dies_with_a_killed_runner(tool):
    process = tool.start("run", "sh", "-c", "echo $$; exec sleep 60")
    child = int(process.stdout.readline())
    process.kill()
    process.wait(WAIT_S)
    end = time.monotonic() + WAIT_S
    state = "R"
    while state not in ("gone", "Z") and time.monotonic() < end:
        try:
            state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(") ", 1)[1][0]
        except FileNotFoundError:
            state = "gone"
        time.sleep(0.02)
    assert state in ("gone", "Z")


def test_a_missing_program_is_127(tool):
    for name in ("no-such-program", "./no-such-program", "/no/such/program"):
        result = tool("run", "--", name)
        assert result.returncode == 127
        assert result.stderr == f"oomguard run: '{name}' was not found\n"


def test_what_cannot_be_executed_is_126(tool, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    for path in (plain, tmp_path):
        result = tool("run", path)
        assert result.returncode == 126
        assert str(path) in result.stderr and result.stderr.count("\n") == 1


def test_a_damaged_program_is_126(tool, tmp_path):
    broken = source(tmp_path, "broken", "\x7fELF")
    result = tool("run", broken)
    assert result.returncode == 126
    assert str(broken) in result.stderr


def test_a_script_without_a_first_line_is_run_by_sh(tool, tmp_path):
    assert tool("run", source(tmp_path, "plain.sh", "exit 3\n")).returncode == 3


def test_a_static_program_is_refused_with_the_reason(tool, static_program):
    result = tool("run", static_program)
    assert result.returncode == 126
    assert "statically linked, so oomguard cannot guard it" in result.stderr
    assert result.stderr.count("\n") == 1
    assert tool("run", static_program, env={"OOMGUARD": "0"}).returncode == 7


def test_a_script_is_judged_by_its_interpreter(tool, static_program, tmp_path):
    refused = tool("run", source(tmp_path, "s", f"#!{static_program}\n"))
    assert refused.returncode == 126
    assert "statically linked" in refused.stderr
    missing = tool("run", source(tmp_path, "m", "#!/no/such/interpreter\n"))
    assert missing.returncode == 126
    assert "/no/such/interpreter" in missing.stderr
    assert tool("run", source(tmp_path, "e", "#!/usr/bin/env sh\nexit 4\n")).returncode == 4


def test_a_program_of_another_kind_is_refused(tool, tmp_path):
    # e_ident: 32 bits; and a 64-bit file for another machine (s390).
    for name, start, words in (
        ("elf32", b"\x7fELF\x01\x01\x01", "32-bit"),
        ("other", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x16\x00", "another machine"),
    ):
        path = tmp_path / name
        path.write_bytes(start + bytes(64))
        path.chmod(0o755)
        result = tool("run", path)
        assert result.returncode == 126
        assert words in result.stderr


def test_a_setuid_program_is_refused(tool, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make a program of another user's")
    path = tmp_path / "setuid"
    path.write_bytes(pathlib.Path("/bin/true").read_bytes())
    os.chown(path, 65534, 65534)
    path.chmod(0o4755)
    result = tool("run", path)
    assert result.returncode == 126
    assert "set-user-ID" in result.stderr
