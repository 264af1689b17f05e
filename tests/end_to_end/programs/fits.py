"""Programs that fit into 600 MiB and are owed no refusal, however little of that it looks.

    python fits.py CASE FOLDER      (FOLDER on a real disk, for files)

Each prints one line that says what it computed: guarded and bare must print the same.
"""
import asyncio
import ctypes
import gc
import hashlib
import io
import json
import mmap
import multiprocessing
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

try:
    import numpy
except ImportError:
    numpy = None

MIB = 1 << 20
PAGE = mmap.PAGESIZE


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def sparse_then_ones(_):
    """A sparse buffer of 400 MiB that nobody fills, then 300 MiB that are filled."""
    sparse = numpy.zeros(400 * MIB, dtype=numpy.uint8)
    ones = numpy.ones(300 * MIB, dtype=numpy.uint8)
    sparse[::50 * MIB] = 1
    return int(sparse[::50 * MIB].sum()), int(ones[::MIB].sum())


def bytearray_to_400(_):
    """Grows by realloc, an eighth at a time: only the growth counts."""
    block = bytearray()
    while len(block) < 400 * MIB:
        block += b"x" * MIB
    return len(block), block[-1]


def bytesio_to_300(_):
    stream = io.BytesIO()
    for _ in range(300):
        stream.write(b"y" * MIB)
    return stream.tell(), digest(stream.getbuffer()[:MIB])


def list_of_none_to_40m(_):
    items = []
    for _ in range(40_000_000):
        items.append(None)
    return len(items)


def thread_pool(_):
    """Eight threads that take and give back 30 MiB, 160 times."""
    def work(number):
        block = bytearray(bytes([number % 251 + 1])) * (30 * MIB)
        return block[-1]
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(work, range(160)))


def many_thread_stacks(_):
    """200 threads, whose untouched stacks add up to more than the limit."""
    gate = threading.Barrier(201)
    threads = [threading.Thread(target=lambda: (gate.wait(), gate.wait())) for _ in range(200)]
    for thread in threads:
        thread.start()
    gate.wait()
    block = bytearray(b"s") * (200 * MIB)
    gate.wait()
    for thread in threads:
        thread.join()
    return len(threads), len(block)


def big_take_and_give(_):
    """400 MiB taken, filled and given back, 15 times."""
    total = 0
    for number in range(15):
        block = bytearray(bytes([number + 1])) * (400 * MIB)
        total += block[12345]
        del block
    return total


def mapped_file(folder):
    """A file of 1.5 GiB mapped and read through, then 300 MiB of memory."""
    path = os.path.join(folder, "mapped")
    with open(path, "wb") as file:
        file.truncate(1536 * MIB)
        file.seek(700 * MIB)
        file.write(b"needle")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        total = sum(view[offset] for offset in range(0, len(view), PAGE))
        block = bytearray(b"m") * (300 * MIB)
        return total, view.find(b"needle", 699 * MIB), len(block)


def numpy_memmap(folder):
    path = os.path.join(folder, "memmap")
    with open(path, "wb") as file:
        file.truncate(1024 * MIB)
    view = numpy.memmap(path, dtype=numpy.uint8, mode="r+")
    view[::PAGE] = 3
    total = int(view[::PAGE].sum(dtype=numpy.int64))
    return total, int(numpy.ones(200 * MIB, dtype=numpy.uint8)[-1])


def private_map_partly_touched(_):
    """400 MiB of private memory of which a hundred pages are touched, then 400 MiB filled."""
    view = mmap.mmap(-1, 400 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, len(view), 4 * MIB):
        view[offset] = 1
    block = bytearray(b"p") * (400 * MIB)
    return sum(view[offset] for offset in range(0, len(view), 4 * MIB)), block[-1]


def reservation_without_charge(_):
    """8 GiB of PROT_NONE and of MAP_NORESERVE, as arrow and polars make; 64 MiB get used."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    noreserve = 0x4000
    nothing = libc.mmap(None, 8 << 30, 0, private, -1, 0)
    loose = libc.mmap(None, 8 << 30, mmap.PROT_READ | mmap.PROT_WRITE, private | noreserve, -1, 0)
    failed = ctypes.c_void_p(-1).value
    ctypes.memset(loose + (1 << 30), 9, 64 * MIB)
    return nothing != failed, loose != failed, ctypes.string_at(loose + (1 << 30), 3)


def fork_copy_on_write(_):
    """A child that writes half of what it shares with its parent: 200 + 100 MiB."""
    block = bytearray(b"f") * (200 * MIB)
    child = os.fork()
    if child == 0:
        for offset in range(0, 100 * MIB, PAGE):
            block[offset] = 1
        os._exit(block[0])
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status), block[0]


def subprocess_children(_):
    program = "b = bytearray(b'c') * (50 << 20); print(len(b))"
    done = 0
    for _ in range(3):
        children = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
                    for _ in range(3)]
        done += sum(int(child.communicate()[0]) for child in children)
    return done, os.system("true"), subprocess.check_output(["sh", "-c", "echo from a shell"])


def _pool_work(number):
    return len(bytearray(b"w") * (60 * MIB)) + number


def multiprocessing_pool(_):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        return sum(pool.map(_pool_work, range(24)))


def page_cache_flood(folder):
    """Writes a file larger than the limit, so that usage stands at it, then takes 400 MiB."""
    path = os.path.join(folder, "flood")
    with open(path, "wb") as file:
        for _ in range(700):
            file.write(bytes(MIB))
    block = bytearray(b"c") * (400 * MIB)
    return os.path.getsize(path), block[-1]


def file_read_whole(folder):
    path = os.path.join(folder, "whole")
    with open(path, "wb") as file:
        file.truncate(250 * MIB)
    with open(path, "rb") as file:
        data = file.read()
    return len(data), digest(data)


def sqlite_in_memory(_):
    base = sqlite3.connect(":memory:")
    base.execute("create table lines (number integer primary key, text text)")
    base.executemany("insert into lines values (?, ?)",
                     ((n, "line %d " % n * 20) for n in range(300_000)))
    return base.execute("select count(*), sum(length(text)) from lines").fetchone()


def json_round_trip(_):
    rows = [{"id": n, "name": "row %d" % n, "values": [n, n + 1, n + 2]} for n in range(250_000)]
    text = json.dumps(rows)
    return len(text), json.loads(text) == rows


def pickle_and_compress(_):
    numbers = list(range(3_000_000))
    packed = zlib.compress(pickle.dumps(numbers), 1)
    return digest(packed), pickle.loads(zlib.decompress(packed)) == numbers


def small_object_churn(_):
    """Millions of small objects and cycles, made and dropped."""
    total = 0
    for number in range(15):
        nodes = [{"next": None, "number": n} for n in range(200_000)]
        for left, right in zip(nodes, nodes[1:]):
            left["next"], right["previous"] = right, left
        total += len(nodes) + number
        del nodes, left, right
        gc.collect()
    return total


def numpy_temporaries(_):
    generator = numpy.random.default_rng(1)
    a = generator.random((1500, 1500))
    for _ in range(10):
        a = (a @ a.T) / 1500 + numpy.sort(a, axis=0) - a.mean()
        a /= numpy.abs(a).max()
    return round(float(numpy.abs(a).sum()), 3) > 0, a.shape


def random_sizes(_):
    """Blocks of all sizes, taken and given back in random order, never above 300 MiB."""
    dice, blocks, total = random.Random(7), [], 0
    for _ in range(20_000):
        size = int(2 ** dice.uniform(4, 23))
        blocks.append(bytearray(size))
        total += size
        while total > 300 * MIB:
            block = blocks.pop(dice.randrange(len(blocks)))
            total -= len(block)
    return len(blocks), total


def asyncio_server(_):
    async def serve():
        async def answer(reader, writer):
            data = await reader.readexactly(MIB)
            writer.write(digest(data).encode() + b"\n")
            await writer.drain()
            writer.close()

        async def ask(port, number):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes([number]) * MIB)
            line = await reader.readline()
            writer.close()
            return line

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        lines = await asyncio.gather(*(ask(port, n) for n in range(50)))
        server.close()
        return digest(b"".join(lines))
    return asyncio.run(serve())


CASES = {name: value for name, value in list(globals().items())
         if callable(value) and value.__module__ == __name__
         and not name.startswith("_") and name not in ("digest",)}
NEEDS_NUMPY = ("sparse_then_ones", "numpy_memmap", "numpy_temporaries")


if __name__ == "__main__":
    print(sys.argv[1], CASES[sys.argv[1]](sys.argv[2]))
    if "oomguard" in sys.modules:  # a file, because the output has to be the bare program's
        with open(os.path.join(sys.argv[2], "last_refusal"), "w") as answer:
            answer.write(repr(sys.modules["oomguard"].last_refusal()))
