"""Cases of a machine that runs full without any memory group: the kernel, or earlyoom, ends a bare
program there; a guarded one must raise first.

    python whole_machine.py [CASE...]
"""
import os
import subprocess
import sys
import time

import bench
from bench import PROGRAMS, PYTHON, Program, case, run

GROW = PROGRAMS / "grow.py"
EARLYOOM = os.environ.get("VM_EARLYOOM", "")


def grow(way, *more):
    return [PYTHON, GROW, way, *more]


@case
def grow_bytes():
    return {"guarded": run(grow("bytes"), timeout_s=90)}


@case
def bare_neighbour():
    """A guarded program that holds memory and grows no more, beside a bare one that grows."""
    holder = Program([PYTHON, PROGRAMS / "wait.py", 64], None, True)
    holder.wait_for("waiting")
    done = {"bare": run(grow("bytes"), guarded=False, timeout_s=60)}
    done["holder_alive"] = holder.process.poll() is None
    holder.process.terminate()
    done["holder"] = holder.finish(20)
    return done


def earlyoom(name, runs, *arguments):
    """earlyoom with those arguments, and programs that grow."""
    if not EARLYOOM:
        return {"skipped": "the Debian package earlyoom cannot be had"}
    done = {}
    log_path = f"/run/{name}.log"
    with open(log_path, "wb") as log:
        daemon = subprocess.Popen([EARLYOOM, "-r", "0", *arguments], stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=subprocess.STDOUT)
        try:
            time.sleep(0.5)
            for run_as in runs:
                before = os.path.getsize(log_path)
                one = run(grow("bytes", 2), guarded=run_as == "guarded", timeout_s=90)
                one["earlyoom_said"] = bench.read(log_path)[before:][-1500:]
                done[run_as] = one
            done["earlyoom_alive"] = daemon.poll() is None
        finally:
            daemon.kill()
            daemon.wait()
    return done


@case
def earlyoom_default():
    return earlyoom("default", ("bare", "guarded"))


@case
def earlyoom_early():
    return earlyoom("early", ("guarded",), "-m", "25")


if __name__ == "__main__":
    bench.main(sys.argv[1:])
