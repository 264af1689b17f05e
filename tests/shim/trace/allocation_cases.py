"""Each allocation of a busy program reads the stack: the probe library is preloaded, and every
object is an allocation (PYTHONMALLOC=malloc). None of those stacks may be odd."""

import asyncio
import ctypes
import functools
import os
import sys

library = ctypes.PyDLL(os.environ["STACK_PROBE"])
library.probe_watched.restype = ctypes.c_uint64
library.probe_watched.argtypes = [ctypes.POINTER(ctypes.c_uint64)] * 2


def recursion(depth):
    return [depth] if depth == 0 else recursion(depth - 1) + [depth]


def closures(n):
    # Cells and a generator are made while the new frame is set up.
    def inner(a, *arguments, key=None, **keywords):
        def innermost():
            return a, arguments, keywords, n

        return innermost

    return [inner(i, 1, 2, key=3, other=4)() for i in range(n)]


def numbers(n):
    total = yield
    for i in range(n):
        total = yield [i, total]


def consume(n):
    made = numbers(n)
    next(made)
    try:
        while True:
            made.send([1])
    except StopIteration:
        pass


class Thing:
    def __init__(self, value):
        self.value = [value]

    def __getattr__(self, name):
        return name + "!"

    @property
    def both(self):
        return [self.value, self.value]


async def task(n):
    for _ in range(n):
        await asyncio.sleep(0)
    return [n]


async def gather():
    return await asyncio.gather(*(task(i) for i in range(5)))


def work():
    recursion(150)
    closures(20)
    consume(20)
    for i in range(50):
        thing = Thing(i)
        thing.absent, thing.both
    sorted(range(50), key=lambda i: [i])
    functools.reduce(lambda a, b: a + [b], range(20), [])
    exec(compile("def f(a, b=[1]):\n  return [a, b]\nclass C:\n  x = f(1)\n", "<cell>", "exec"), {})
    try:
        raise ValueError([1])
    except ValueError as error:
        str(error)
    asyncio.run(gather())
    import textwrap

    textwrap.fill("words " * 100, 20)


for round_of_them in range(4):
    library.probe_watch(1)
    work()
    library.probe_watch(0)
odd, deepest = ctypes.c_uint64(), ctypes.c_uint64()
looks = library.probe_watched(ctypes.byref(odd), ctypes.byref(deepest))
print(looks > 1000, odd.value, deepest.value > 150)
if odd.value:
    sys.exit(1)
