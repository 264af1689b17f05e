"""The plan of a seed, carried out by the threads of a real Python: `engine.py MODULE SEED BYTES`.

Three quarters of the bytes are the plan of plan.h, step by step through the module; between the steps
each thread keeps objects of Python's own (bytearray, bytes, numpy, mmap, dicts) within the last quarter.
Whatever is refused, by a null pointer inside the module or by an exception anywhere here, is answered as a
program would: something is let go, and the thread goes on. Ends like the C program, with one JSON line;
or by an exception that came while nothing here could answer it.
"""
import ctypes
import mmap
import random
import sys
import threading
import time

try:
    import numpy
except ImportError:
    numpy = None
try:
    import oomguard
    HANDLED = (MemoryError, oomguard.MemoryLimit)
except (ImportError, AttributeError):
    HANDLED = (MemoryError,)

CORRUPTED = 90
exceptions = []  # the workers that had one


def fail(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    libc_exit(CORRUPTED)


class Text:
    """A dict of small strings: what grows a heap by pymalloc."""

    def __init__(self, size, mark):
        self.mark = mark
        self.rows = {}
        for row in range(size // 160):
            self.rows[row] = "%d of %d" % (row, mark)

    def check(self):
        return all(text == "%d of %d" % (row, self.mark) for row, text in self.rows.items())


class Bytes:
    """A flat object; every 512th byte is marked, or all of it."""

    def __init__(self, kind, size, mark):
        self.mark = bytes([mark % 255 + 1])
        if kind == "bytearray":
            self.data = bytearray(self.mark) * size
        elif kind == "bytes":
            self.data = self.mark * size
        elif kind == "grown":
            self.data = bytearray()
            while len(self.data) < size:
                self.data += self.mark * min(1 << 20, size - len(self.data))
        elif kind == "mmap":
            self.data = mmap.mmap(-1, max(size, 1))
            for start in range(0, size, 1 << 20):
                part = min(1 << 20, size - start)
                self.data[start:start + part] = self.mark * part
        else:
            self.data = numpy.full(size, self.mark[0], dtype=numpy.uint8)
        self.size = size

    def check(self):
        view = memoryview(self.data)
        return view[:self.size:512].tobytes() == self.mark * ((self.size + 511) // 512)


class Objects:
    """What one thread holds in objects of Python."""
    KINDS = ["bytearray", "bytes", "grown", "mmap", "text"] + (["numpy"] if numpy else [])

    def __init__(self, seed, share):
        self.random = random.Random(seed)
        self.share = share
        self.held = []

    def live(self):
        return sum(size for size, _ in self.held)

    def step(self):
        room = self.share - self.live()
        if self.held and (self.random.random() < 0.4 or room < 4096):
            _, gone = self.held.pop(self.random.randrange(len(self.held)))
            if not gone.check():
                fail("corrupted: an object of kind %s" % type(gone).__name__)
            return
        # A repetition and a growing block each need their double for a moment.
        size = min(int(2 ** self.random.uniform(6, 25)), room // 2)
        kind, mark = self.random.choice(self.KINDS), self.random.getrandbits(16)
        if size < 64:
            return
        new = Text(size, mark) if kind == "text" else Bytes(kind, size, mark)
        self.held.append((size, new))

    def relieve(self):
        self.held.clear()


def relieve(module, worker, objects):
    """May itself be interrupted by the next exception."""
    while True:
        try:
            objects.relieve()
            module.torture_relieve(worker)
            exceptions.append(worker)
            return
        except HANDLED:
            continue


def work(module, worker, objects):
    more = True
    while more:
        try:
            while more:
                more = module.torture_step(worker) != 0
                if objects.random.random() < 0.3:
                    objects.step()
            for _, held in objects.held:
                if not held.check():
                    fail("corrupted: an object of kind %s" % type(held).__name__)
        except HANDLED:
            relieve(module, worker, objects)


def start(thread):
    """False where no thread can be had."""
    try:
        thread.start()
        return True
    except (RuntimeError, MemoryError):
        return False


def main():
    global libc_exit
    libc_exit = ctypes.CDLL(None)._exit
    module = ctypes.CDLL(sys.argv[1])
    module.torture_open.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
    seed, total = int(sys.argv[2]), int(sys.argv[3])
    workers = module.torture_open(seed, total * 3 // 4)
    each = [Objects(seed * 16 + worker, total // 4 // workers) for worker in range(workers)]
    threads = {}
    for worker in range(1, workers):
        thread = threading.Thread(target=work, args=(module, worker, each[worker]))
        if start(thread):
            threads[worker] = thread
    for worker in [0] + [w for w in range(1, workers) if w not in threads]:
        work(module, worker, each[worker])
    while any(thread.is_alive() for thread in threads.values()):
        try:
            time.sleep(0.005)
        except HANDLED:
            relieve(module, 0, each[0])
    each.clear()
    module.torture_close()


if __name__ == "__main__":
    main()
