"""Cases in memory groups of version 2 on several CPUs, each $VM_TIMES times: the kernel's counters
lag there by what each CPU keeps for itself.

    python several_cpus.py [CASE...]
"""
import os
import sys

import bench
from bench import MIB, PROGRAMS, PYTHON, Group, Program, case, run_in

LIMIT = 300 * MIB
GROW = [PYTHON, PROGRAMS / "grow.py"]
FILL = [os.environ["VM_FILL"]]
TIMEOUT_S = 400  # filling what a file carries takes a minute and more
TIMES = int(os.environ.get("VM_TIMES", "1"))


def repeated(name, function):
    """Registers a case as often as it is to be run: "name 0", "name 1"."""
    for turn in range(TIMES):
        def one():
            return function()
        one.__name__ = f"{name} {turn}"
        case(one)


def both(limits, argv, guarded):
    return {"bare": run_in(limits, argv, False, timeout_s=TIMEOUT_S),
            "guarded": run_in(limits, argv, guarded, timeout_s=TIMEOUT_S)}


def two_at_once(argv, guarded):
    """Two that grow in one group; the counters are of both."""
    with Group("case", memory_max=LIMIT) as group:
        programs = [Program(argv, group, guarded) for _ in range(2)]
        done = [program.finish(TIMEOUT_S) for program in programs]
        for one in done:
            one.update(group.counters())
        return {"first": done[0], "second": done[1]}


def growing(way, *more):
    return lambda: both({"memory_max": LIMIT}, [*GROW, way, *more], True)


def filling(way, *more):
    return lambda: both({"memory_max": LIMIT}, [*FILL, way, *more], "run")


repeated("requests of a C program", filling("requests"))
repeated("small requests of a C program", filling("small"))
repeated("four threads of a C program", filling("threads"))
repeated("two empties in C", filling("two_empty", "200"))
repeated("four empties in C, by threads", filling("four_empty", "100"))
repeated("bytes", growing("bytes"))
repeated("bytearray", growing("bytearray"))
repeated("four threads", growing("threads"))
repeated("two empties", growing("two_empty", "200"))
repeated("two that grow", lambda: two_at_once([*GROW, "bytes"], True))
repeated("two C programs that grow", lambda: two_at_once([*FILL, "requests"], "run"))
repeated("memory.high below max", lambda: {
    "guarded": run_in({"memory_max": LIMIT, "memory_high": LIMIT - 60 * MIB}, [*GROW, "bytes"],
                      timeout_s=TIMEOUT_S)})


if __name__ == "__main__":
    bench.main(sys.argv[1:])
