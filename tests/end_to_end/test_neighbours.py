"""Processes of one group: only the one that grows is stopped, whoever else is idle or at work."""
import socket
import subprocess

import pytest

import cgroup
import harness
import session_files


@pytest.mark.parametrize("other", ("idle", "busy"))
def test_only_the_growing_one_of_two_kernels_is_stopped(guarded_kernel, disk, other):
    kernel, jupyter_path = guarded_kernel
    run = harness.run([harness.main_python(), harness.PROGRAMS / "kernel_pair.py", kernel, other],
                      harness.SMALL_LIMIT, False, 150, JUPYTER_PATH=jupyter_path,
                      OOMGUARD_DIR=disk, IPYTHONDIR=disk, JUPYTER_RUNTIME_DIR=disk)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["alive"] == [True, True], run
    assert run.result["grow"]["exception"] == "MemoryError", run
    assert run.result["after"]["text"] == "alive", run
    assert run.result["look"] == {"text": "100 None", "exception": None}, run
    if other == "busy":
        assert run.result["busy"] == {"text": "undisturbed", "exception": None}, run


def ask(port, line):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(line + b"\n")
        return connection.makefile().readline()


@pytest.mark.parametrize("grower_is_guarded", (True, False), ids=("guarded", "unguarded"))
def test_idle_server_survives_the_growth_of_a_neighbour(disk, grower_is_guarded):
    environment = harness.guarded_environment(disk)
    with cgroup.MemoryGroup(harness.SMALL_LIMIT) as group:
        server = group.start([harness.main_python(), str(harness.PROGRAMS / "server.py")],
                             env=environment, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        port = int(server.stdout.readline())
        assert ask(port, b"four") == "4\n"
        grower = group.run([harness.main_python(), str(harness.PROGRAMS / "growth.py"),
                            "bytearray"], 60,
                           env=environment if grower_is_guarded else harness.bare_environment())
        if grower_is_guarded:
            assert grower.status == 0 and group.oom_kills() == 0, grower
        else:
            assert grower.killed and group.oom_kills() == 1, grower
        assert server.poll() is None, server.communicate()
        assert ask(port, b"sixsix") == "6\n"
        assert ask(port, b"end") == "3\n"
        stdout, stderr = server.communicate(timeout=30)
        assert server.returncode == 0 and stdout == "intact\n", stderr
        assert stderr == ""
        counts = {session.pid: session.refusal_count for session in session_files.read_all(disk)}
        assert counts.get(server.pid, 0) == 0, counts


def test_program_and_its_child_that_grows_both_live(disk):
    """The parent waits in subprocess; the child gets the exception and says so by its status."""
    child = "b = bytearray()\nwhile True:\n    b += bytes(1 << 20)\n"
    parent = ("import subprocess, sys\nkept = bytearray(b'p') * (100 << 20)\n"
              "status = subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode\n"
              "print(status, kept.count(b'p') >> 20)")
    run = harness.run([harness.main_python(), "-c", parent, child], harness.SMALL_LIMIT, True, 60)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.finished.stdout == "1 100\n" and "MemoryError" in run.finished.stderr, run
