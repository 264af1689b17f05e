"""Process trees: usage: trees.py CASE. Prints one JSON line with what the case saw.

Workers hold their memory until everybody has theirs; `held` is what each of them got, in MiB.
"""
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

MIB = 1 << 20


def fill(mebibytes):
    return bytearray(b"x" * MIB) * mebibytes


def try_to_fill(mebibytes):
    try:
        return len(fill(mebibytes)) // MIB
    except MemoryError:
        return 0


def when_noticed(look, wanted):
    """What others hold is known a moment later, and later still on a busy machine."""
    for _ in range(100):
        seen = look()
        if seen == wanted:
            break
        time.sleep(0.1)
    return seen


def hold(mebibytes, arrived, go):
    try:
        held = fill(mebibytes)
    except MemoryError:
        held = b""
    arrived.put(len(held) // MIB)
    go.wait(60)


def start_holders(method, sizes, own_session=False):
    context = multiprocessing.get_context(method)
    arrived, go = context.Queue(), context.Event()
    workers = [context.Process(target=hold, args=(size, arrived, go)) for size in sizes]
    for worker in workers:
        worker.start()
    return workers, arrived, go


def shared_by_fork():
    """300 MiB that three children share, and 50 of each child's own."""
    parents = fill(300)
    workers, arrived, go = start_holders("fork", [50] * 3)
    held = [arrived.get(timeout=60) for _ in workers]
    time.sleep(1)
    one_more = len(fill(50)) // MIB  # while all of it is held
    go.set()
    for worker in workers:
        worker.join(60)
    return {"held": held, "parent": len(parents) // MIB + one_more}


def copied_after_fork():
    """A child that writes to what it shares makes copies: they count."""
    parents = fill(250)
    ready, said = os.pipe()
    go, told = os.pipe()
    child = os.fork()
    if child == 0:
        for at in range(0, len(parents), 4096):
            parents[at] = 1
        os.write(said, b"1")
        os.read(go, 1)
        os._exit(0)
    os.read(ready, 1)
    got = when_noticed(lambda: try_to_fill(150), 0)
    os.write(told, b"1")
    os.waitpid(child, 0)
    return {"beside_the_copy": got, "after_it": when_noticed(lambda: try_to_fill(150), 150)}


SCRIPT = """
import os, sys, time
sys.path.insert(0, %r)
import trees
try: held = trees.fill(200)
except MemoryError: held = b""
print(len(held) >> 20, flush=True)
sys.stdin.readline()
""" % os.path.dirname(os.path.abspath(__file__))


def start_script(**options):
    return subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, **options)


def other_sessions():
    """Programs in sessions of their own count against the budget all the same."""
    first = start_script(start_new_session=True)
    got = [int(first.stdout.readline()), when_noticed(lambda: try_to_fill(200), 0)]
    second = start_script(start_new_session=True)
    got.append(int(second.stdout.readline()))
    for script in (first, second):
        script.communicate("\n", timeout=60)
    return {"held": got}


def killed_member():
    """What a killed member held comes back although nobody has waited for it."""
    first = start_script()
    got = [int(first.stdout.readline()), when_noticed(lambda: try_to_fill(200), 0)]
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    got.append(when_noticed(lambda: try_to_fill(200), 200))
    first.communicate()
    return {"held": got}


CASES = [shared_by_fork, copied_after_fork, other_sessions, killed_member]

if __name__ == "__main__":
    signal.alarm(120)
    print(json.dumps({case.__name__: case for case in CASES}[sys.argv[1]]()))
