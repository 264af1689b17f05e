"""Grows until memory is refused, one way per run; says how much it held and that it is alive.

    python grow.py WAY [PAUSE_MS]      PAUSE_MS: wait after each MiB, for ways that grow by MiB

Prints one JSON line. An ordinary program is killed instead.
"""
import json
import os
import sys
import threading
import time

MIB = 1 << 20
pause_s = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0
held = []
held_mib = 0


def keep(block):
    global held_mib
    held.append(block)
    held_mib += 1
    if pause_s:
        time.sleep(pause_s)


def grow_bytes():
    while True:
        keep(bytearray(b"x") * MIB)


def grow_random():
    """What a compressing swap cannot make smaller."""
    while True:
        keep(os.urandom(MIB))


def grow_bytearray():
    block = bytearray()
    held.append(block)
    while True:
        block += b"x" * MIB
        global held_mib
        held_mib = len(block) // MIB


def grow_list():
    while True:
        held.append("a line of text, number %d" % len(held))


def grow_dict():
    table = {}
    held.append(table)
    number = 0
    while True:
        table[number] = str(number)
        number += 1


def grow_numpy_ones():
    while True:
        keep(numpy.ones(MIB // 8))


def fill_numpy_empty():
    held.append(numpy.empty(400 * MIB, dtype=numpy.uint8))
    held[0].fill(7)


def fill_two_empty():
    """Each fits, both together do not; they are filled after both were granted."""
    blocks = [numpy.empty(int(sys.argv[2]) * MIB, dtype=numpy.uint8) for _ in range(2)]
    held.extend(blocks)
    for value, block in enumerate(blocks, 1):
        for at in range(0, len(block), MIB):
            block[at:at + MIB] = value
            global held_mib
            held_mib += 1
    print("both filled", flush=True)


def grow_in_threads():
    refused = []

    def grow():
        try:
            while True:
                keep(bytearray(b"y") * (MIB // 4))
        except MemoryError:
            refused.append(1)

    threads = [threading.Thread(target=grow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(threads)
    raise MemoryError("in all threads")


def read_then_grow():
    """A file of the size of the limit goes into the page cache first."""
    with open(os.environ["BIG_FILE"], "rb", buffering=0) as file:
        while file.read(MIB):
            pass
    grow_bytes()


WAYS = {"bytes": grow_bytes, "random": grow_random, "bytearray": grow_bytearray,
        "list": grow_list, "dict": grow_dict, "numpy_ones": grow_numpy_ones,
        "numpy_empty": fill_numpy_empty, "two_empty": fill_two_empty, "threads": grow_in_threads,
        "read_then_grow": read_then_grow}
if sys.argv[1] in ("numpy_ones", "numpy_empty", "two_empty"):
    import numpy


def main():
    print("growing", flush=True)
    exception = None
    try:
        WAYS[sys.argv[1]]()
    except MemoryError as error:
        exception = str(error) or "MemoryError"
    reached = held_mib
    held.clear()
    again = bytearray(b"z") * (32 * MIB)
    print(json.dumps({"exception": exception, "held_mib": reached, "alive": again[-1] == ord("z")}))


main()
