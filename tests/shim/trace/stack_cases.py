"""Stacks of every kind of code, each compared with what the interpreter says. One case per run."""

import asyncio
import functools
import gc
import os
import sys

from stack_probe import (CALLBACK, QUALIFIED, check, described, entries, expect, held, names, raw,
                         released, run)


def nesting():
    def inner():
        return check()

    def middle():
        return inner()

    frames = middle()
    expect(names(frames)[:3], ["inner", "middle", "nesting"])
    expect(entries(frames, 3), "---" if QUALIFIED else "EEE")
    expect(frames[-1].entry, True)


def recursion():
    def down(depth):
        return check() if depth == 0 else down(depth - 1)

    expect(names(down(199))[:201], ["down"] * 200 + ["recursion"])


def deeper_than_asked():
    def down(depth):
        return raw(capacity=10) if depth == 0 else down(depth - 1)

    expect(names(down(50)), ["down"] * 9)
    expect(raw(capacity=1), [])


def generators():
    def inner(value):
        got = yield len(check())
        yield got + value + len(check())

    def outer():
        yield from inner(1)

    def consume():
        made = outer()
        first = next(made)
        return first, made.send(2)

    first, second = consume()
    expect(second, first + 3)
    expect(len([len(check()) for _ in range(50) for _ in _outer_of_loop()]), 50)

    def closing():
        try:
            yield
        finally:
            check()

    started = closing()
    next(started)
    started.close()
    started = closing()
    next(started)
    try:
        started.throw(ValueError())
    except ValueError:
        pass


def _outer_of_loop():
    # Often enough that a specialising interpreter runs it within its caller's C frame.
    for _ in range(1):
        check()
        yield 1


def tasks():
    async def innermost():
        await asyncio.sleep(0)
        frames = check()
        await asyncio.sleep(0)
        check(released)
        return names(frames)[:3]

    async def middle():
        return await innermost()

    async def task():
        async with manager():
            async for _ in numbers():
                check()
        return await middle()

    class manager:
        async def __aenter__(self):
            check()

        async def __aexit__(self, *_):
            check()

    async def numbers():
        for i in range(3):
            check()
            yield i

    async def main():
        return await asyncio.gather(*(task() for _ in range(5)))

    expect(asyncio.run(main()), [["innermost", "middle", "task"]] * 5)


def decorators():
    def twice(function):
        @functools.wraps(function)
        def wrapper(*arguments, **keywords):
            function(*arguments, **keywords)
            return function(*arguments, **keywords)

        check()
        return wrapper

    @twice
    @functools.lru_cache(maxsize=None)
    @twice
    def decorated(value, key=1):
        return check()

    # lru_cache is written in C; a call with * goes through C too before 3.12.
    frames = decorated(1, key=2)
    expect(names(frames)[:4], ["decorated", "wrapper", "wrapper", "decorators"])
    wanted = "-E-" if sys.version_info >= (3, 12) else "EE-" if QUALIFIED else "EEE"
    expect(entries(frames, 3), wanted)


def comprehensions():
    for _ in range(50):
        [check() for _ in range(2)]
        {check() is None for _ in range(2)}
        {i: check() for i in range(2)}
        list(check() for _ in range(2))
        [[check() for _ in range(1)] for _ in range(1)]


def class_bodies():
    class Meta(type):
        def __new__(cls, name, bases, namespace):
            check()
            return super().__new__(cls, name, bases, namespace)

        def __call__(cls, *arguments):
            check()
            return super().__call__(*arguments)

    class Outer(metaclass=Meta):
        body = check()

        class Inner:
            body = check()

            def __init__(self):
                self.frames = check()

        def __set_name__(self, owner, name):
            check()

    expect(names(Outer.Inner.body)[:3], ["Inner", "Outer", "class_bodies"])
    expect(entries(Outer.Inner.body, 2), "EE")
    for _ in range(100):
        Outer()
        made = Outer.Inner()  # 3.12 on: a frame of the interpreter's own stands below it
    expect(names(made.frames)[:2], ["__init__", "class_bodies"])


def file_names():
    odd = [
        "<string>",
        "",
        "grün/ß.py",
        "日本/語.py",
        "/tmp/\U0001f40d\U0001f40d/a.py",
        "/long/" + "x" * 3000 + ".py",
        "/long/" + "ü" * 3000 + ".py",
        "/long/" + "語" * 3000 + ".py",
        "/long/" + "\U0001f40d" * 3000 + ".py",
        "x" * 511,
        "x" * 512,
        os.fsdecode(b"/bytes/\xff\xfe.py"),
    ]
    for name in odd:
        code = compile("\n\n\ndef f():\n  return check()\nframes = f()", name, "exec")
        names_there = {"check": check}
        exec(code, names_there)
        expect(names(names_there["frames"])[:3], ["f", "<module>", "file_names"])
        expect(entries(names_there["frames"], 2), "-E" if QUALIFIED else "EE")
    exec("def ünï_%s(): check()\nünï_%s()" % ("語" * 200, "語" * 200), {"check": check})
    eval("(lambda: check())()", {"check": check})


def lambdas():
    frames = (lambda f: f())(lambda: check())
    expect(names(frames)[:3], ["<lambda>", "<lambda>", "lambdas"])


def callbacks():
    frames = []

    def key(_):
        frames.append(check())
        return 0

    sorted([1], key=key)
    list(map(key, [1]))
    list(filter(key, [1]))
    functools.reduce(lambda a, b: key(a), [1, 2])
    functools.partial(key, 1)()
    max([1, 2], key=key)
    for found in frames[:3]:
        expect(names(found)[:2], ["key", "callbacks"])
        expect(entries(found, 2), "E-" if QUALIFIED else "EE")

    call = CALLBACK(lambda: frames.append(check()))
    frames.clear()
    held.probe_call(call)
    expect(entries(frames[0], 2), "E-" if QUALIFIED else "EE")

    def nested():
        held.probe_call(CALLBACK(lambda: frames.append(check())))

    frames.clear()
    held.probe_call(CALLBACK(nested))
    expect(names(frames[0])[:3], ["<lambda>", "nested", "callbacks"])
    expect(entries(frames[0], 3), "EE-" if QUALIFIED else "EEE")


def specials():
    class Object:
        def __getattr__(self, name):
            return check()

        @property
        def value(self):
            return check()

        def __getitem__(self, index):
            return check()

        def __eq__(self, other):
            return bool(check())

        def __hash__(self):
            return len(check())

        def __del__(self):
            check()

        def __iter__(self):
            check()
            return iter(())

        def __len__(self):
            return len(check())

    for _ in range(100):  # specialised from some call on
        thing = Object()
        thing.absent, thing.value, thing[0], thing == 1, {thing: 1}, list(thing), len(thing)
    del thing
    circle = Object()
    circle.itself = circle
    del circle
    gc.collect()


def several_lines():
    def nothing(*arguments, **keywords):
        return arguments[-1] if arguments else None

    start = sys._getframe().f_lineno
    frames = nothing(
        nothing(1),
        nothing(
            2,
            nothing(3)
        ),
        check(
        ),
    )  # fmt: skip
    expect(described(frames[0])[2], start + 7)
    nothing(check(), 1 +
            len(check())
            + len(check()), key=[
                check(),
            ])  # fmt: skip
    text = f"""{nothing(
        check())}
        {nothing(check())}"""
    expect(text.count("RawFrame") > 0, True)
    assert nothing(
        check()
    ), "never"


def exceptions():
    try:
        check()
        raise ValueError
    except ValueError:
        check()
    finally:
        check()
    try:
        try:
            check()
        finally:
            frames = check()
            del frames
    except BaseException:
        raise

    class Manager:
        def __enter__(self):
            check()

        def __exit__(self, *_):
            check()
            return True

    with Manager():
        check()
        raise ValueError
    while True:
        try:
            check()
            break
        finally:
            check()


if __name__ == "__main__":
    run({name: value for name, value in globals().items() if callable(value)})
