"""Cases in memory groups of version 2: what ends a bare program must raise in a guarded one.

    python groups.py [CASE...]
"""
import contextlib
import ctypes
import os
import subprocess
import sys
import time

import bench
from bench import DISK, MIB, PROGRAMS, PYTHON, Group, Program, case, run, run_in

LIMIT = 160 * MIB
READ_FILE = PROGRAMS.parent.parent / "end_to_end/programs/read_file.py"
GROW = PROGRAMS / "grow.py"
CLONE_NEWNS, CLONE_NEWCGROUP = 0x00020000, 0x02000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def grow(way, *more):
    return [PYTHON, GROW, way, *more]


def both(limits, argv):
    """The same, bare and guarded."""
    return {"bare": run_in(limits, argv, guarded=False), "guarded": run_in(limits, argv)}


for way in ("bytearray", "list", "dict", "numpy_ones", "numpy_empty", "threads"):
    def ways(way=way):
        return both({"memory_max": LIMIT}, grow(way))
    ways.__name__ = "max_" + way
    case(ways)


@contextlib.contextmanager
def file_on_disk(name, size):
    """Content that is in nobody's memory."""
    path = f"{DISK or '/tmp'}/{name}"
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("1")
    try:
        yield path
    finally:
        os.unlink(path)


@case
def cache_is_no_need():
    """The limit is full of page cache when the growth begins."""
    with file_on_disk("big", LIMIT) as big:
        return {"guarded": run_in({"memory_max": LIMIT}, grow("read_then_grow"), BIG_FILE=big)}


@case
def thrashing():
    """A mapped file that does not fit, read over and over; and read once, twice: the kernel
    remembers what it evicted the first time."""
    if not DISK:
        return {"skipped": "no disk: mkfs.ext4 is missing on this machine"}
    done = {}
    with file_on_disk("model.safetensors", 96 * MIB) as weights, \
            Group("case", memory_max=64 * MIB) as group:
        for name, how, seconds in (("once", "once", 2), ("once_more", "once", 2),
                                   ("over_and_over", "over_and_over", 60)):
            before = refaults(group)
            program = Program([PYTHON, READ_FILE, weights, how, str(seconds), "16"], group, True)
            if how == "over_and_over":  # how long it takes is the machine's affair; it is said once
                program.wait_for("oomguard", 40)
                time.sleep(2)
                program.process.terminate()
            program.process.wait(40)
            report = reports(program)
            done[name] = dict(program.finish(1), report=report, **group.counters(),
                              read_again=refaults(group) - before)
    return done


def refaults(group):
    return bench.keyed(group.path / "memory.stat")["workingset_refault_file"]


def reports(program):
    """The texts of what a program recorded."""
    return [subprocess.run([bench.COMMAND, "report", "--dir", program.sessions, name.stem],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
            for name in program.flight_files()]


@case
def high():
    """The kernel does not kill at memory.high: it lets the program wait, longer and longer."""
    return {"bare": run_in({"memory_high": LIMIT}, grow("bytes"), guarded=False, timeout_s=6),
            "guarded": run_in({"memory_high": LIMIT}, grow("bytes"))}


@case
def limit_on_the_parent():
    done = {}
    for name in ("bare", "guarded"):
        with Group("parent", memory_max=LIMIT) as parent, Group("child", parent) as child:
            done[name] = run(grow("numpy_ones"), child, name == "guarded")
            done[name]["parent"] = parent.counters()
    return done


@case
def limits_on_both():
    """A sibling takes so much of the parent's limit that this binds before the own one."""
    with Group("parent", memory_max=LIMIT) as parent, \
            Group("sibling", parent) as sibling, \
            Group("child", parent, memory_max=LIMIT - 16 * MIB) as child:
        server = Program([PYTHON, PROGRAMS / "wait.py", 48], sibling, False)
        server.wait_for("waiting")
        done = run(grow("bytes"), child)
        done["parent"] = parent.counters()
        done["server_alive"] = server.process.poll() is None
        return {"guarded": done}


@case
def oom_group():
    """With memory.oom.group=1 one kill ends everybody: a notebook server with its kernel."""
    done = {}
    for name in ("bare", "guarded"):
        with Group("case", memory_max=LIMIT, memory_oom_group=1) as group:
            server = Program([PYTHON, PROGRAMS / "wait.py", 1], group, False)
            server.wait_for("waiting")
            done[name] = run(grow("numpy_ones"), group, name == "guarded")
            done[name]["server_alive"] = server.process.poll() is None
    return done


@case
def limit_lowered():
    """A container is made smaller while its program grows."""
    with Group("case", memory_max=2 * LIMIT) as group:
        program = Program(grow("bytes", 30), group, True)
        while group.counters()["current"] < 64 * MIB and program.process.poll() is None:
            time.sleep(0.01)
        group.write("memory_max", LIMIT)
        return {"guarded": dict(program.finish(40), **group.counters())}


@case
def swap():
    """zram; how much of it counts as room is --swap-share's to say."""
    swap_off = bench.swap_on(160 * MIB)
    done = {}
    try:
        for name, swap_max, share, guarded in (
                ("bare_50M", 50 * MIB, None, False), ("share_50", "max", "50%", True),
                ("share_100", "max", "100%", True), ("swap_max_0", 0, "100%", True),
                ("swap_max_50M", 50 * MIB, "100%", True)):
            more = {"OOMGUARD_SWAP_SHARE": share} if share else {}
            done[name] = run_in({"memory_max": LIMIT, "memory_swap_max": swap_max}, grow("random"),
                                guarded, **more)
    finally:
        swap_off()
    return done


def filled_later_in(**more):
    """Two blocks that were granted one after the other are filled: both together do not fit."""
    return {"guarded": run_in({"memory_max": LIMIT}, grow("two_empty", "80"), **more)}


@case
def filled_later():
    if not DISK:
        return {"skipped": "no disk: mkfs.ext4 is missing on this machine"}
    return filled_later_in()


@case
def filled_later_without_a_disk():
    return filled_later_in(OOMGUARD_SPILL_DIR="/dev/shm")


def namespace(remount):
    def enter():
        assert libc.unshare(CLONE_NEWCGROUP | CLONE_NEWNS) == 0
        assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
        if remount:
            assert libc.umount2(b"/sys/fs/cgroup", 2) == 0
            assert libc.mount(b"cgroup2", b"/sys/fs/cgroup", b"cgroup2", 0, None) == 0
    return enter


@case
def namespace_kept_mount():
    with Group("outer", memory_max=LIMIT) as outer, Group("inner", outer) as inner:
        return {"guarded": run(grow("bytes"), inner, prepare=namespace(False))}


@case
def namespace_remounted():
    """As in a container: the group is "/" and nothing above it can be seen."""
    with Group("outer") as outer, Group("inner", outer, memory_max=LIMIT) as inner:
        return {"guarded": run(grow("bytes"), inner, prepare=namespace(True))}


@case
def namespace_left():
    """Moved to a group beside the root of its namespace: /proc/self/cgroup says /../other."""
    with Group("outer") as outer, Group("other", memory_max=LIMIT) as other:
        def leave():
            namespace(False)()
            (other.path / "cgroup.procs").write_text("0")
        program = Program(grow("bytes"), outer, True, leave)
        return {"guarded": dict(program.finish(40), **other.counters())}


@case
def moved_while_running():
    with Group("wide", memory_max=2 * LIMIT) as wide, Group("narrow", memory_max=LIMIT) as narrow:
        program = Program(grow("bytes", 30), wide, True)
        program.wait_for("growing")
        (narrow.path / "cgroup.procs").write_text(str(program.process.pid))
        return {"guarded": dict(program.finish(40), **narrow.counters())}


if __name__ == "__main__":
    bench.main(sys.argv[1:])
