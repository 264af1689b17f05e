"""Fills memory that was granted earlier, so that nobody is asked while it runs out.

    python touching.py CASE

Bare, most of these are killed in a group of 600 MiB. Guarded, each gets an exception, or fits, or is
ended with its report (see test_touching.py). Prints one JSON line.
"""
import ctypes
import gc
import json
import mmap
import os
import sys
import threading
import time

import numpy

MIB = 1 << 20
held = []
checks = []  # (array, expected) to compare once it is over


NORESERVE = 0x4000  # granted whatever the size: only touching counts


def plain_map(size):
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    held.append(area)
    return area, ctypes.addressof(ctypes.c_char.from_buffer(area))


def headroom():
    """Bytes left in this program's own memory group."""
    with open("/proc/self/cgroup") as groups:
        path = next(line.strip().split(":")[2] for line in groups if ":memory:" in line)
    base = "/sys/fs/cgroup/memory" + path
    stat = dict(line.split() for line in open(base + "/memory.stat"))
    limit = int(open(base + "/memory.limit_in_bytes").read())
    cache = int(stat["total_inactive_file"]) + int(stat["total_active_file"])
    return limit - int(open(base + "/memory.usage_in_bytes").read()) + cache


def left_without_cache():
    with open("/proc/self/cgroup") as groups:
        path = next(line.strip().split(":")[2] for line in groups if ":memory:" in line)
    base = "/sys/fs/cgroup/memory" + path
    return (int(open(base + "/memory.limit_in_bytes").read())
            - int(open(base + "/memory.usage_in_bytes").read()))


def two_arrays():
    arrays = [numpy.empty(400 * MIB, numpy.uint8) for _ in range(2)]
    held.extend(arrays)
    return arrays


def fill_each(arrays):
    for number, array in enumerate(arrays):
        checks.append((array, number + 1))
        array.fill(number + 1)
    time.sleep(0.01)


def two_empty():
    fill_each(two_arrays())


def two_read_first():
    arrays = two_arrays()
    for array in arrays:
        assert int(array[::4096].sum()) == 0
    fill_each(arrays)


def ten_threads():
    arrays = [numpy.empty(102 * MIB, numpy.uint8) for _ in range(10)]
    held.extend(arrays)
    filled = [0] * 10
    failures = []

    def fill(number):
        try:
            for at in range(0, 102 * MIB, MIB):
                arrays[number][at:at + MIB] = number + 1
                filled[number] = at + MIB
                if failures:
                    return
        except MemoryError as error:
            failures.append(error)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(10)]
    to_start = iter(threads)
    while True:
        try:
            for thread in to_start:
                thread.start()
            for thread in threads:
                if thread.ident:
                    thread.join()
            break
        except MemoryError as error:
            failures.append(error)
    for number, (array, done) in enumerate(zip(arrays, filled)):
        assert not done or array[:done].min() == array[:done].max() == number + 1
    if failures:
        raise failures[0].with_traceback(None)


def random_pages():
    """960 MiB in two blocks, and the numbers of their pages in any order."""
    arrays = [numpy.empty(480 * MIB, numpy.uint8) for _ in range(2)]
    held.extend(arrays)
    return arrays, numpy.random.default_rng(1).permutation(960 * 256)


def random_fancy():
    arrays, pages = random_pages()
    for start in range(0, len(pages), 2048):
        some = pages[start:start + 2048]
        for number, array in enumerate(arrays):
            array[some[some // (480 * 256) == number] % (480 * 256) * 4096] = 7
    assert all((array[::4096] == 7).all() for array in arrays)


def random_loop():
    arrays, pages = random_pages()
    views = [memoryview(array) for array in arrays]
    for page in pages:
        views[page // (480 * 256)][page % (480 * 256) * 4096] = 7


def exact_fit():
    """A skeleton of twice the limit, filled to four MiB under it."""
    arrays = [numpy.empty(400 * MIB, numpy.uint8) for _ in range(3)]
    held.extend(arrays)
    arrays[0].fill(5)
    left = left_without_cache() - 4 * MIB
    size = (left - left // 256) // MIB * MIB  # page tables take their share
    for at in range(0, size, MIB):
        arrays[1][at:at + MIB] = 5
    checks.extend([(arrays[0], 5), (arrays[1][:size], 5)])
    time.sleep(0.3)


def skeletons():
    """Two hundred blocks of which one is filled."""
    held.extend(numpy.empty(100 * MIB, numpy.uint8) for _ in range(200))
    held[77].fill(3)
    checks.append((held[77], 3))
    time.sleep(0.3)


def map_fill(step=64 * 1024, pause=0.0):
    area, _ = plain_map(960 * MIB)
    for at in range(0, 960 * MIB, step):
        area[at:at + step] = b"\1" * step
        if pause:
            time.sleep(pause)


def slow():
    """40 MiB a second, from half a minute's worth below the limit."""
    area, _ = plain_map(960 * MIB)
    at = 0
    while headroom() > 60 * MIB:
        area[at:at + MIB] = b"\1" * MIB
        at += MIB
    while True:
        area[at:at + 4096] = b"\1" * 4096
        at += 4096
        time.sleep(0.0001)


def c_loop():
    """One call into C that fills for half a minute and never returns to the interpreter."""
    _, address = plain_map(4096 * MIB)
    memset = ctypes.CDLL(None).memset
    memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    memset(address, 1, 4096 * MIB)


def copy_on_write(in_child):
    """Forks with 400 MiB, then one of the two writes them again."""
    area, _ = plain_map(400 * MIB)
    for at in range(0, 400 * MIB, MIB):
        area[at:at + MIB] = b"\1" * MIB
    read, write = os.pipe()
    child = os.fork()
    if (child == 0) == in_child:
        name = "none"
        try:
            for at in range(0, 400 * MIB, 64 * 1024):
                area[at:at + 64 * 1024] = b"\2" * (64 * 1024)
        except MemoryError:
            name = "MemoryError"
        del at
        if child == 0:
            os.write(write, name.encode())
            os._exit(0)
        os.kill(child, 9)
        os.waitpid(child, 0)
        if name != "none":
            raise MemoryError("in the parent")
        return
    if child == 0:
        time.sleep(30)
        os._exit(0)
    name = os.read(read, 32).decode()
    os.waitpid(child, 0)
    assert area[0] == 1
    if name != "none":
        raise MemoryError("in the child")


def private_file():
    """In-place edits of weights that are mapped from a file."""
    path = os.environ["TOUCHING_FILE"]
    weights = numpy.memmap(path, numpy.uint8, "c")
    held.append(weights)
    for at in range(0, len(weights), MIB):
        weights[at:at + MIB] += 1


def recursion():
    """A deep recursion on a stack of 4 GiB."""
    sys.setrecursionlimit(10**9)
    threading.stack_size(4096 * MIB)
    failures = []

    def down(level):
        return list(map(down, (level + 1,)))

    def go():
        try:
            down(0)
        except BaseException as error:
            failures.append(error.with_traceback(None))

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    raise failures[0]


def locked():
    """mlock of what was granted: the kernel fills it at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    while True:
        _, address = plain_map(16 * MIB)
        if libc.mlock(address, 16 * MIB) != 0:
            raise MemoryError(os.strerror(ctypes.get_errno()))


CASES = {
    "two_empty": two_empty, "two_read_first": two_read_first, "ten_threads": ten_threads,
    "random_fancy": random_fancy, "random_loop": random_loop, "exact_fit": exact_fit,
    "skeletons": skeletons, "map_fill": map_fill, "slow": slow, "c_loop": c_loop,
    "cow_child": lambda: copy_on_write(True), "cow_parent": lambda: copy_on_write(False),
    "private_file": private_file, "recursion": recursion, "locked": locked,
}


def intact():
    return all(int(array.min()) == int(array.max()) == value for array, value in checks)


def written_bytes():
    with open("/proc/self/io") as counters:
        return next(int(line.split()[1]) for line in counters if line.startswith("write_bytes"))


def main():
    name = text = None
    before = written_bytes()
    try:
        CASES[sys.argv[1]]()
    except BaseException as error:
        name, text = type(error).__name__.lstrip("_").replace("Array", ""), str(error)
    at = time.monotonic()
    written = written_bytes() - before
    good = name is not None or intact()
    held.clear()
    checks.clear()
    gc.collect()
    again = bytearray(b"z") * (100 * MIB)
    print(json.dumps({"exception": name, "text": text, "at": at, "intact": good,
                      "written": written, "alive": again[-1] == ord("z")}))


if __name__ == "__main__":
    main()
