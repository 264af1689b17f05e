"""A long day of a program that is refused again and again: allocates, is refused, frees.

    python cycles.py COUNT

Each cycle asks for far too much and handles that; every thousandth grows for real until it is
refused, and small and large blocks come and go meanwhile. Prints one JSON line: what the
process held after a tenth of the cycles, and at the end.
"""
import gc
import json
import os
import sys
import time

MIB = 1 << 20
FAR_TOO_MUCH = 1 << 40


def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))


def open_now():
    """Of the program, and of the watchdog, which has a table of its own."""
    return sum(len(os.listdir(f"/proc/self/task/{task}/fd")) for task in os.listdir("/proc/self/task"))


def descriptors():
    """The least of a second: the file that memory was lent from stays open until the watchdog's
    next quiet look after all of it was freed."""
    readings = []
    for _ in range(20):
        readings.append(open_now())
        time.sleep(0.05)
    return min(readings)


def mappings():
    with open("/proc/self/maps") as file:
        return sum(1 for _ in file)


def held():
    gc.collect()
    return {"descriptors": descriptors(), "mappings": mappings(), "address_space_kib": status("VmSize"),
            "resident_kib": status("VmRSS"), "threads": status("Threads"),
            "tasks": len(os.listdir("/proc/self/task"))}


def ask_for_far_too_much():
    try:
        bytearray(FAR_TOO_MUCH)
    except MemoryError:
        return 1
    raise AssertionError("a terabyte was granted")


def grow_until_refused():
    blocks = []
    try:
        while True:
            blocks.append(bytearray(150 * MIB))
    except MemoryError:
        return len(blocks)


def main():
    count = int(sys.argv[1])
    kept = [None] * 64
    refused = granted = 0
    early = None
    started = time.monotonic()
    for cycle in range(count):
        refused += ask_for_far_too_much()
        kept[cycle % 64] = bytes(100 + cycle % 500 * 37)
        if cycle % 1000 == 0:
            granted += grow_until_refused()
            refused += 1
        if cycle == count // 10:
            kept = [None] * 64
            early = held()
    seconds = time.monotonic() - started
    kept.clear()
    print(json.dumps({"cycles": count, "refused": refused, "granted": granted, "early": early,
                      "late": held(), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
