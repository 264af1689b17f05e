"""Reads a mapped file: programs for test_thrashing.py.

    python read_file.py FILE over_and_over|once|fitting SECONDS
"""
import mmap
import sys
import time


def read_all(mapped, start=0):
    """One byte of each page; their sum."""
    return sum(mapped[at] for at in range(start, len(mapped), mmap.PAGESIZE))


def main(path, how, seconds):
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    until = time.monotonic() + float(seconds)
    total = read_all(mapped)
    passes = 1
    while time.monotonic() < until:
        if how == "over_and_over":
            assert read_all(mapped) == total
            passes += 1
        elif how == "fitting":
            read_all(mapped, len(mapped) * 3 // 4)
            passes += 1
        else:
            time.sleep(0.1)
    print(passes, "passes")


if __name__ == "__main__":
    main(*sys.argv[1:])
