"""Python workloads of the benchmark. Each prints the processor seconds of its own loop.

    python workloads.py NAME
"""
import ctypes
import json
import sys
import time


def json_round_trips():
    rows = [{"id": n, "name": "row %d" % n, "values": [n, n / 3, None]} for n in range(2000)]
    for _ in range(60):
        json.loads(json.dumps(rows))


class Node:
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right

    def total(self):
        return (self.value + (self.left.total() if self.left else 0)
                + (self.right.total() if self.right else 0))


def class_heavy():
    def grow(depth):
        return Node(depth) if depth == 0 else Node(depth, grow(depth - 1), grow(depth - 1))
    for _ in range(30):
        grow(13).total()


def numpy_temporaries(bytes_each, rounds):
    """In 64 sizes that differ by 16 bytes: where a heap happens to put arrays makes up to a fifth of the
    loop's time."""
    import numpy
    seconds = 0
    for step in range(64):
        a = numpy.ones(bytes_each // 8 + 2 * step)
        b = numpy.full(bytes_each // 8 + 2 * step, 2.0)
        before = time.process_time()
        for _ in range(rounds // 64):
            (a + b) * a - b
        seconds += time.process_time() - before
    return seconds


def numpy_8_kb():
    return numpy_temporaries(8 << 10, 300_000)


def numpy_800_kb():
    return numpy_temporaries(800 << 10, 3_000)


def private_memory():
    """Not seconds: RssAnon of an idle interpreter after a second, in MiB."""
    time.sleep(1)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def refusals(ask):
    """Wall milliseconds of the first refused request and the mean of 100 more."""
    def timed():
        before = time.perf_counter()
        if not ask():
            raise SystemExit("a request of 2 GiB was granted: no limit of less is in force")
        return 1e3 * (time.perf_counter() - before)
    first = timed()
    return "%.3f %.3f" % (first, sum(timed() for _ in range(100)) / 100)


def refused_bytes():
    def ask():
        try:
            return not bytes(2 << 30)
        except MemoryError:
            return True
    return refusals(ask)


def refused_malloc():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    return refusals(lambda: libc.malloc(2 << 30) is None)


if __name__ == "__main__":
    started = time.process_time()
    answer = globals()[sys.argv[1]]()
    print(answer if answer is not None else time.process_time() - started)
