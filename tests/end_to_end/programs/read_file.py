"""Reads a mapped file: programs for test_thrashing.py and for the guests of tests/vm.

    python read_file.py FILE over_and_over|once|fitting SECONDS [STEP]

STEP: touch one page in so many (where page faults are slow; the kernel reads what lies between).
"""
import mmap
import sys
import time


def read_all(mapped, step, start=0):
    """One byte of each page; their sum."""
    return sum(mapped[at] for at in range(start, len(mapped), step))


def main(path, how, seconds, step=1):
    step = int(step) * mmap.PAGESIZE
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    until = time.monotonic() + float(seconds)
    total = read_all(mapped, step)
    passes = 1
    while time.monotonic() < until:
        if how == "over_and_over":
            assert read_all(mapped, step) == total
            passes += 1
        elif how == "fitting":
            read_all(mapped, step, len(mapped) * 3 // 4)
            passes += 1
        else:
            time.sleep(0.1)
    print(passes, "passes")


if __name__ == "__main__":
    main(*sys.argv[1:])
