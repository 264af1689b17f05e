"""Threads, signals, fork and the end of the interpreter; code objects that go. One case per run."""

import atexit
import ctypes
import os
import signal
import sys
import threading

from stack_probe import (QUALIFIED, RawFrame, check, described, entries, expect, held, names, raw,
                         released, run)


def threads():
    barrier = threading.Barrier(4)
    failed = []

    def work(depth):
        if depth > 0:
            return work(depth - 1)
        barrier.wait()
        for library in (held, released) * 100:
            check(library)

    def guarded(depth):
        try:
            work(depth)
        except BaseException as error:
            failed.append(error)

    started = [threading.Thread(target=guarded, args=(i * 7,)) for i in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    expect(failed, [])


def foreign_thread():
    expect(held.probe_thread(), 0)
    expect(released.probe_thread(), 0)


def fork():
    def inner():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                held.probe_forget()
                check()
                check(released)
                thread = threading.Thread(target=check)
                thread.start()
                thread.join()
                status = 0
            finally:
                os._exit(status)
        expect(os.waitpid(child, 0)[1], 0)
        check()

    inner()


def shutdown():
    class Late:
        def __del__(self):
            print("late", [described(frame)[1] for frame in raw()][:1], flush=True)

    def at_exit():
        check()
        held.probe_ending()
        check()
        check(released)  # through the kernel from here on
        print("at exit", flush=True)

    atexit.register(at_exit)
    sys.modules["late"] = Late()


def signals():
    frames = []

    def handler(number, frame):
        frames.append(check())

    signal.signal(signal.SIGUSR1, handler)

    def interrupted():
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(1000):
            if frames:
                break

    interrupted()
    expect(names(frames[0])[:3], ["handler", "interrupted", "signals"])
    expect(entries(frames[0], 2), "E-" if QUALIFIED else "EE")


def without_the_gil():
    def inner():
        check(released)
        list(map(check, [released]))
        return check(released)

    expect(names(inner())[:2], ["inner", "without_the_gil"])


def ending():
    def inner():
        for _ in range(3):
            check(released)
            held.probe_ending()  # from then on without the GIL through the kernel

    inner()
    started = threading.Thread(target=inner)
    started.start()
    started.join()


def daemons():
    reads = [ctypes.c_uint64() for _ in range(3)]

    def work(depth, count):
        if depth > 0:
            return work(depth - 1, count)
        released.probe_read_on(ctypes.byref(count))

    for count in reads:
        threading.Thread(target=work, args=(10, count), daemon=True).start()
    while not all(count.value > 100 for count in reads):
        pass
    atexit.register(held.probe_ending)


def identities():
    def cell(source, name):
        code = compile(source, name, "exec")
        found = (id(code), held.probe_identity(id(code)))
        expect(found[1], held.probe_identity(id(code)))
        expect(found[1], released.probe_identity(id(code)))
        return found

    # Cells of one shape: what is at an address is freed and made again there.
    seen = {}
    reused = 0
    for i in range(2000):
        address, identity = cell("x = 1\ny = 2\n", "/tmp/ipykernel_123/%010d.py" % i)
        expect(identity == 0, False)
        if address in seen:
            reused += 1
            expect(seen[address] == identity, False)
        seen[address] = identity
    expect(reused > 0, True)
    # One file name, another function or another body.
    seen = {}
    for i in range(2000):
        found = {}
        exec(compile("def f%04d(): pass" % i, "<string>", "exec"), found)
        code = found["f%04d" % i].__code__
        identity = held.probe_identity(id(code))
        expect(seen.get(id(code)) == identity, False)
        seen[id(code)] = identity
        del found, code


def wrong_pointers():
    block = ctypes.create_string_buffer(4096)
    addresses = [0, 1, 8, 4096, 0xDEAD0000, 1 << 47, (1 << 64) - 8, ctypes.addressof(block)]
    addresses += [id(thing) for thing in ("text", 1, None, [], {}, type, object(), sys, check)]
    code = check.__code__
    addresses += [id(code) + offset for offset in (1, 4, 8, 16, 64)]
    for address in addresses:
        expect(held.probe_identity(address), 0)
        expect(described(RawFrame(address, 0, False)), None)
    # A position beyond the code has no line, and is no harm.
    for position in (2, 1 << 20, (1 << 32) - 1):
        found = described(RawFrame(id(code), position, False))
        expect(found[:2] + found[3:], (code.co_filename, code.co_name, code.co_firstlineno))


def subinterpreter():
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = __import__(name)
            break
        except ImportError:
            continue
    else:
        return
    made = interpreters.create()
    source = "for i in range(1000): [j for j in range(100)]"
    interpreters.run_string(made, source)
    interpreters.destroy(made)
    check()


if __name__ == "__main__":
    run({name: value for name, value in globals().items() if callable(value)})
