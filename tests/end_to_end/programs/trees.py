"""Process trees: usage: trees.py CASE. Prints one JSON line with what the case saw.

Workers hold their memory until everybody has theirs; `held` is what each of them got, in MiB.
"""
import json
import multiprocessing
import multiprocessing.connection
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


PID = os.getpid()
SCORE = "print(open('/proc/self/oom_score_adj').read())"


def own_score(_=None):
    with open("/proc/self/oom_score_adj") as file:
        return int(file.read())


def spawned_score(start):
    """`start` runs a command and says what it printed."""
    return int(start([sys.executable, "-c", SCORE]))


def forked_score(fork):
    ready, said = os.pipe()
    if fork() == 0:
        os.write(said, str(own_score()).encode())
        os._exit(0)
    return int(os.read(ready, 16))


def fork_twice():
    if os.fork() == 0 and os.fork() != 0:
        os._exit(0)  # the one in between
    return os.getpid() == PID


def posix_spawn(command):
    ready, said = os.pipe()
    os.posix_spawn(command[0], command, os.environ,
                   file_actions=[(os.POSIX_SPAWN_DUP2, said, 1)])
    return os.read(ready, 16)


def scores():
    """How much higher than here oom_score_adj is in children."""
    output = subprocess.check_output
    before = own_score()
    seen = {
        "fork": forked_score(os.fork),
        "forkpty": forked_score(lambda: os.forkpty()[0]),
        "fork in a fork": forked_score(fork_twice),
        "subprocess": spawned_score(output),
        "subprocess with preexec_fn": spawned_score(lambda c: output(c, preexec_fn=lambda: None)),
        "posix_spawn": spawned_score(posix_spawn),
        "popen": spawned_score(lambda c: os.popen('%s -c "%s"' % (c[0], c[2])).read()),
        "through env": spawned_score(lambda c: output(["env", *c])),
        "unguarded": spawned_score(lambda c: output(c, env={})),
        "not Python": int(output(["cat", "/proc/self/oom_score_adj"])),
    }
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(1) as pool:
            seen[method] = pool.map(own_score, [0])[0]
    assert own_score() == before
    return {how: score - before for how, score in seen.items()}


def eat(_=None):
    held = []
    while True:
        held.append(fill(8))


def greedy_worker(method):
    """A worker eats everything. The pool says so, and goes on."""
    kept = fill(100)
    with multiprocessing.get_context(method).Pool(2) as pool:
        try:
            pool.apply_async(eat).get(60)
            end = "nothing"
        except BaseException as error:
            end = type(error).__name__
        sums = pool.map(sum, [[1, 2], [3, 4]])
    return {"end": end, "sums": sums, "kept": len(kept) // MIB}


def greedy_fork_worker():
    return greedy_worker("fork")


def greedy_spawn_worker():
    return greedy_worker("spawn")


def greedy_forkserver_worker():
    return greedy_worker("forkserver")


def uncaught_in_worker():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.apply_async(eat).get(60)


def send_blocks(connection):
    try:
        while True:
            connection.send_bytes(fill(16))
    except MemoryError:
        connection.send_bytes(b"full")


def results_by_pipe():
    """Two workers send blocks. Each read here asks for all that is missing of one and gets 64 KiB."""
    context = multiprocessing.get_context("fork")
    connections = []
    for _ in range(2):
        receiver, sender = context.Pipe(duplex=False)
        context.Process(target=send_blocks, args=(sender,), daemon=True).start()
        connections.append(receiver)
    kept = []
    try:
        while not kept or kept[-1] != b"full":
            kept += [ready.recv_bytes() for ready in multiprocessing.connection.wait(connections)]
    except MemoryError:
        pass
    return {"kept": sum(map(len, kept)) // MIB}


def greedy_stranger():
    """A child that is not guarded eats everything beside a parent that holds more than it."""
    kept = fill(330)
    child = subprocess.run([sys.executable, "-c", "x = [b'x' * (1 << 20) for _ in range(1 << 20)]"])
    return {"child": child.returncode, "kept": len(kept) // MIB}


CASES = [uncaught_in_worker, greedy_fork_worker, greedy_spawn_worker, greedy_forkserver_worker, greedy_stranger,
         results_by_pipe,
         scores, shared_by_fork, copied_after_fork, other_sessions, killed_member]

if __name__ == "__main__":
    signal.alarm(120)
    print(json.dumps({case.__name__: case for case in CASES}[sys.argv[1]]()))
