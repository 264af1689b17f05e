"""An array that outlives an incident: parts of it were lent while memory was short.

    python room.py CASE

In a group of 600 MiB (see test_room.py). Prints one JSON line.
"""
import glob
import json
import os
import sys
import threading
import time

import numpy

MIB = 1 << 20


def lent_bytes():
    """Addresses of this program that lie in the library's file."""
    with open("/proc/self/maps") as maps:
        lent = [line.split()[0].split("-") for line in maps
                if "rw-s" in line and "(deleted)" in line]
    return sum(int(end, 16) - int(start, 16) for start, end in lent)


def file_bytes():
    """What the library's file takes on the disk; it is open in its own thread's table alone."""
    used = 0
    for link in glob.glob("/proc/self/task/*/fd/*"):
        try:
            if os.readlink(link).endswith(" (deleted)"):
                used = max(used, os.stat(link).st_blocks * 512)
        except OSError:
            pass  # closed meanwhile
    return used


class Filled:
    """An array and up to where it was filled: with the number of each MiB."""

    def __init__(self, mib):
        self.data = numpy.empty(mib * MIB, numpy.uint8)
        self.done = 0

    def fill(self, pause=0.0):
        while self.done < len(self.data):
            self.data[self.done:self.done + MIB] = self.done // MIB % 251 + 1
            self.done += MIB
            if pause:
                time.sleep(pause)

    def intact(self):
        filled = self.data[:self.done].reshape(-1, MIB)
        wanted = numpy.arange(len(filled)) % 251 + 1
        # What was being filled when the exception came may be filled or not.
        return bool((filled.min(1) == wanted).all() and (filled.max(1) == wanted).all()
                    and not self.data[self.done + MIB:].any())


def incident(small):
    """Two arrays, of which the second does not fit beside the first: what is left of it."""
    first, second = Filled(small), Filled(400)
    try:
        first.fill()
        second.fill(0.001)
    except MemoryError as error:
        return second, type(error).__name__
    return second, None


def comes_back():
    """The exception is taken and the array lives on; then it is filled to its end."""
    second, name = incident(400)
    lent, filled = lent_bytes(), file_bytes()
    steady, over = [0.0], threading.Event()

    def watch():
        before = time.monotonic()
        while not over.is_set():
            time.sleep(0.0005)
            now = time.monotonic()
            steady[0] = max(steady[0], now - before)
            before = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    while (lent_bytes() or file_bytes()) and time.monotonic() - begun < 40:
        time.sleep(0.05)
    took = time.monotonic() - begun
    over.set()
    watcher.join()
    rest = lent_bytes() + file_bytes()
    good = second.intact()
    second.fill()
    return {"exception": name, "lent": lent, "filled": filled, "rest": rest, "took": took,
            "longest": steady[0], "again": lent_bytes(), "intact": good and second.intact()}


def full_file():
    """The same, filled on at once: more than the file may take, and memory has room for it."""
    second, name = incident(300)
    lent = lent_bytes()
    second.fill()
    return {"exception": name, "lent": lent, "intact": second.intact()}


if __name__ == "__main__":
    print(json.dumps({"comes_back": comes_back, "full_file": full_file}[sys.argv[1]]()))
