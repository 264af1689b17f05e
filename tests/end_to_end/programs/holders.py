"""Holds 1 GiB in blocks of mixed sizes, from eight functions, and says how much each of them holds.

Prints a line of JSON {function: bytes}, then waits for a line on stdin. The same sizes in each run.
"""
import json
import random
import sys

MIB = 1 << 20
# Function: MiB to hold, least and greatest size of a block. Sizes are spread over their logarithm.
PLAN = {"texts": (40, 600, 2000), "rows": (60, 600, 9000), "pages": (110, 4096, 40_000),
        "records": (130, 2000, 300_000), "frames": (60, 30_000, 900_000), "chunks": (120, 200_000, 3_000_000),
        "tensors": (480, 1_048_577, 64_000_000), "crumbs": (24, 520, 700)}
chance = random.Random(7)
held = {}


def sizes(total, least, greatest):
    ratio, rest = greatest / least, total * MIB
    while rest > 0:
        size = int(least * ratio ** chance.random())
        rest -= size
        yield size


# One function each, so that each is a line of its own.
def texts(sizes): return [b"x" * size for size in sizes]
def rows(sizes): return [b"x" * size for size in sizes]
def pages(sizes): return [b"x" * size for size in sizes]
def records(sizes): return [b"x" * size for size in sizes]
def frames(sizes): return [b"x" * size for size in sizes]
def chunks(sizes): return [b"x" * size for size in sizes]
def tensors(sizes): return [b"x" * size for size in sizes]
def crumbs(sizes): return [b"x" * size for size in sizes]


def main():
    for name, (total, least, greatest) in PLAN.items():
        wanted = list(sizes(total, least, greatest))
        held[name] = globals()[name](wanted)
        for _ in range(3):  # what is freed again must not count
            globals()[name](wanted[:len(wanted) // 4])
    print(json.dumps({name: sum(map(sys.getsizeof, blocks)) for name, blocks in held.items()}), flush=True)
    sys.stdin.readline()


main()
