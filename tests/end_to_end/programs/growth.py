"""Grows until memory is refused, one way per run, and says how that went.

    python growth.py CASE

An ordinary program would be killed at the limit of its group. Guarded, it gets an exception, and
then has to prove that it is alive: what it held is still readable, memory that it gives back can be
used again. Prints one JSON line.
"""
import json
import sys
import threading
import time

try:
    import oomguard
except ImportError:
    oomguard = None
try:
    import numpy
except ImportError:
    numpy = None

MIB = 1 << 20
HANDLED = (MemoryError, RuntimeError)  # torch says RuntimeError
held = []


def grow_bytearray():
    block = bytearray()
    held.append(block)
    while True:
        block += b"x" * MIB


def grow_dict():
    table = {}
    held.append(table)
    number = 0
    while True:
        table[number] = str(number)
        number += 1


def grow_list_of_str():
    while True:
        held.append("a line of text, number %d" % len(held))


def grow_numpy_ones():
    while True:
        held.append(numpy.ones(MIB))


def fill_numpy_empty():
    held.append(numpy.empty(2 << 30, dtype=numpy.uint8))
    held[0].fill(7)


def grow_torch_ones():
    while True:
        held.append(torch.ones(MIB))


def grow_in_threads():
    """Eight threads at once; says so with an exception once each has had one of its own."""
    refused = []

    def grow():
        mine = []
        held.append(mine)
        try:
            while True:
                mine.append(bytearray(b"y") * MIB)
        except MemoryError:
            refused.append(threading.get_ident())

    threads = [threading.Thread(target=grow) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(threads)
    raise MemoryError("in all threads")


def check_alive():
    """Gives back everything held and uses some of that memory again."""
    held.clear()
    again = bytearray(b"z") * (100 * MIB)
    return again[-1] == ord("z")


CASES = {
    "bytearray": grow_bytearray,
    "dict": grow_dict,
    "list_of_str": grow_list_of_str,
    "numpy_ones": grow_numpy_ones,
    "numpy_empty": fill_numpy_empty,
    "torch_ones": grow_torch_ones,
    "threads": grow_in_threads,
}

if sys.argv[1] == "torch_ones":
    import torch


def main():
    case = CASES[sys.argv[1]]
    try:
        case()
    except HANDLED as error:
        at = time.monotonic()
        name, text = type(error).__name__, str(error)
        notes = list(getattr(error, "__notes__", ()))
        ours = oomguard.is_refusal(error) if oomguard else None
    alive = check_alive()
    print(json.dumps({"exception": name, "text": text, "at": at, "notes": notes,
                      "is_refusal": ours, "alive": alive}))


if __name__ == "__main__":
    main()
