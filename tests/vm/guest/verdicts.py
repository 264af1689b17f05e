"""Cases of deaths in memory groups of version 2 and of a full machine: what `oomguard run` says of
them, and what the report says later.

    python verdicts.py [CASE...]

Each twice: with the kernel's log, and by the counters alone.
"""
import ctypes
import json
import os
import subprocess
import sys

import bench
from bench import MIB, PYTHON, Group, Program, case

LIMIT = 96 * MIB
TIMES = int(os.environ.get("VM_TIMES", "1"))
DIES = bench.PROGRAMS.parent.parent / "end_to_end/programs/dies.py"
PR_CAPBSET_DROP, CAP_SYS_ADMIN, CAP_SYSLOG = 24, 21, 34
TERMINATION_LOG = "/dev/termination-log"
libc = ctypes.CDLL(None, use_errno=True)


def without_log():
    for capability in (CAP_SYS_ADMIN, CAP_SYSLOG):
        assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def death(group, way, with_log):
    """What it died of, as `oomguard run` said it and as the report says it."""
    prepare = None if with_log else without_log
    program = Program([PYTHON, DIES, way], group, "run", prepare, OOMGUARD_ON_LIMIT="warn")
    program.process.wait(120)
    told = subprocess.run([bench.COMMAND, "report", "--dir", program.sessions, "--format", "json"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          preexec_fn=prepare)
    done = program.finish(1)
    done["death"] = json.loads(told.stdout)["death"] if told.returncode == 0 else None
    return done


def turns():
    """(name, whether with the log) of each time that a case is run."""
    for turn in range(TIMES):
        for name in "log", "counters":
            yield name + (f" {turn}" if turn else ""), name == "log"


def each(group_of):
    """The case in a group that `group_of()` makes, with the log and without."""
    done = {}
    for name, with_log in turns():
        with group_of() as group:
            done[name] = death(group, "grow", with_log)
    return done


class Inside:
    """A group below another one that has the limit."""

    def __init__(self, **limits):
        self.parent = Group("parent", **limits)
        self.child = Group("child", self.parent)

    def __enter__(self):
        return self.child

    def __exit__(self, *error):
        self.child.__exit__(*error)
        self.parent.__exit__(*error)


@case
def own_limit():
    return each(lambda: Group("case", memory_max=LIMIT))


@case
def limit_above():
    return each(lambda: Inside(memory_max=LIMIT))


@case
def whole_group():
    return each(lambda: Group("case", memory_max=LIMIT, memory_oom_group=1))


@case
def whole_machine():
    return each(lambda: Group("case"))


@case
def somebody():
    done = {}
    for name, with_log in turns():
        with Group("case", memory_max=LIMIT) as group:
            program = Program([PYTHON, DIES, "wait"], group, "run",
                              None if with_log else without_log)
            program.wait_for("ready")
            (file,) = program.flight_files()
            os.kill(int(file.stem.split("-")[1]), 9)
            program.process.wait(60)
            done[name] = program.finish(1)
    return done


@case
def in_a_pod():
    """Kubernetes makes a file for the reason why a container ended."""
    done = {}
    for turn in range(TIMES):
        open(TERMINATION_LOG, "w").close()
        try:
            with Group("case", memory_max=LIMIT) as group:
                death(group, "grow", False)
            done[str(turn)] = bench.read(TERMINATION_LOG)
        finally:
            os.unlink(TERMINATION_LOG)
    return done


if __name__ == "__main__":
    with open("/proc/sys/kernel/dmesg_restrict", "w") as restrict:
        restrict.write("1")
    bench.main(sys.argv[1:])
