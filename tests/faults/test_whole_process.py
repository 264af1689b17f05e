"""A guarded interpreter of which a system call of the shim's fails does what it does bare."""
import errno
import itertools
import os

import pytest

# Grows, is refused or not, starts threads and processes, and ends.
PROGRAM = """
import os, sys, threading, time
def allocate():
    try:
        return len(bytearray(1 << 36)) > 0
    except MemoryError:
        return False
held = [bytes(100000) for _ in range(100)]
print("granted" if allocate() else "refused")
thread = threading.Thread(target=lambda: held.append(bytearray(5 << 20)))
thread.start()
thread.join()
time.sleep(0.03)
child = os.fork()
if child == 0:
    held.append(bytearray(3 << 20))
    print("child", allocate(), flush=True)
    os._exit(3)
print(len(held), os.waitpid(child, 0)[1] >> 8)
"""
# Where the call is one of these, the shim is not there to be refused by: the machine itself refuses.
EXPECTED = ["child False", "refused", "101 3"]


def numbers():
    """Every one at first, then ever fewer: later ones are looks like the ones before."""
    number = 1
    while True:
        yield number
        number += 1 if number < 40 else 7 if number < 200 else 41


@pytest.mark.parametrize("and_after", [0, 1], ids=["once", "from then on"])
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_a_failing_call_of_the_shim_changes_nothing(build, python, run, tmp_path, error, and_after):
    library = build / "tests/faults/liboomguard_faulty.so"
    for number in itertools.takewhile(lambda n: n < 500, numbers()):
        seen = tmp_path / f"seen{number}"
        done = run([python, "-S", "-c", PROGRAM], LD_PRELOAD=str(library),
                   OOMGUARD_DIR=str(tmp_path / "sessions"), OOMGUARD_TEST_FAULT_SEEN=str(seen),
                   OOMGUARD_TEST_FAULT=f"{number} {error} {and_after}")
        assert done.returncode == 0, (number, done)
        assert sorted(done.stdout.splitlines()) == sorted(EXPECTED), (number, done)
        if not seen.exists():
            break
    assert number > 40, "the program makes fewer calls than it should"


FILTERS = {
    "the session's file cannot be mapped": (errno.ENOMEM, ["mmap:3:0x2f:1"]),
    "there is no space for it": (errno.ENOSPC, ["fallocate"]),
    "no watchdog can be started": (errno.EAGAIN, ["clone:0:0x300000:0x300000", "clone3"]),
    "its descriptors cannot be left": (errno.EPERM, ["close_range", "unshare"]),
    "it cannot sleep": (errno.ENOSYS, ["futex:1:0xff:0"]),
    "no signal can be sent": (errno.EPERM, ["tgkill", "rt_tgsigqueueinfo"]),
    "nothing can be read at an offset": (errno.EPERM, ["pread64"]),
    "no descriptor can be moved": (errno.EMFILE, ["fcntl:1:0xffff:1030"]),
    "no limit can be asked for": (errno.EPERM, ["prlimit64"]),
    "no folder can be made or listed": (errno.EACCES, ["mkdirat", "getdents64", "unlinkat"]),
    "scheduling is forbidden": (errno.EPERM, ["sched_setattr", "getpriority",
                                              "sched_getaffinity"]),
}
FORKING = "import os, sys\nprint(sum(range(1000)), len(bytearray(50 << 20)))\n" \
          "child = os.fork()\nif child == 0: os._exit(4)\nprint(os.waitpid(child, 0)[1] >> 8)\n"


@pytest.mark.parametrize("name", FILTERS)
def test_where_the_kernel_forbids_a_call_the_program_goes_on_as_bare(build, python, run, tmp_path,
                                                                     name):
    error, rules = FILTERS[name]
    command = [build / "tests/faults/oomguard_errno_filter", error, *rules, "--", python, "-S",
               "-c", FORKING]
    bare = run(command)
    if bare.returncode == 77:
        pytest.skip(bare.stderr.strip())
    done = run(command, LD_PRELOAD=str(build / "lib/liboomguard.so"),
               OOMGUARD_DIR=str(tmp_path / "sessions"))
    assert (done.returncode, done.stdout) == (bare.returncode, bare.stdout), (bare, done)
    left = os.listdir(tmp_path / "sessions" / "sessions") if (
        tmp_path / "sessions" / "sessions").exists() else []
    assert left == [] or "unlinkat" in rules, left
