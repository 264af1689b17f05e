"""Decides where the exception goes when memory runs out although nothing was refused.

Runs in the main thread, from the handler of the engine's signal, with the frame that was
interrupted. `bridge`, `guard` and `load` come from boot.py.
"""

import os
import sys
import time

# Code that waits for events or hands them out. An exception raised there ends the loop and with it
# the kernel or server; in a callback that the loop runs, it ends only that callback.
MACHINERY = (
    "/selectors.py",
    "/socketserver.py",
    "/asyncio/",
    "/uvloop/",
    "/anyio/",
    "/trio/",
    "/tornado/",
    "/zmq/",
    "/gevent/",
    "/eventlet/",
    "/twisted/internet/",
    "/prompt_toolkit/",
    "/gunicorn/",
    "/uvicorn/",
    "/waitress/",
    "/cheroot/",
    "/werkzeug/serving.py",
)
SHELL = "IPython.core.interactiveshell"
SHELL_FILE = "/IPython/core/interactiveshell.py"
# Threads that keep a kernel, a shell or a progress bar going; none of them runs a person's code.
# (Near the limit a thread that wakes up has many page faults: its code was evicted.)
SERVICES = ("ipykernel", "zmq", "IPython", "tornado", "tqdm", "concurrent.futures.process")

REFUSED = 1  # outcome of a record
MOST_THREADS = 64  # newest ones looked at; each look costs 10 us
FILLING = 64  # page faults: more than a thread takes that merely woke up or ended


class incident:
    """Alarms raised in the incident so far."""

    number = None
    raised = 0


def live_shell():
    """The shell where this process is IPython (terminal or kernel); None where it is a program."""
    module = sys.modules.get(SHELL)
    shell = getattr(module, "InteractiveShell", None)
    return shell._instance if shell is not None and shell.initialized() else None


def is_machinery(frame):
    name = frame.f_code.co_filename
    return any(part in name for part in MACHINERY)


def takes_exception(frame):
    """Code runs in this stack that an exception may end: a cell, a script, a loop's callback."""
    shell = live_shell() is not None
    working = False
    while frame is not None:
        if is_machinery(frame):
            # The loop itself was waiting, or in a kernel was handing out a message.
            return working and not shell
        if shell and frame.f_code.co_name == "run_code":
            if frame.f_code.co_filename.endswith(SHELL_FILE):
                return True
        working = True
        frame = frame.f_back
    return not shell


def faults(native_id):
    """Page faults of a thread so far; 0 where it has ended."""
    try:
        with open("/proc/self/task/%d/stat" % native_id, "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[7])
    except (OSError, IndexError, ValueError):
        return 0


def filling_thread(fallback, frame):
    """Native id of the thread that fills memory now, among Python's; `fallback` where none does.

    The engine knows who asked for the memory, which need not be the thread that fills it. `frame` is the
    main thread's.
    """
    threading = sys.modules.get("threading")
    if threading is None or len(threading._active) < 2:
        return fallback
    ids = [getattr(thread, "native_id", None) for thread in list(threading._active.values())]
    if len(ids) == 2 and fallback in ids and fallback != os.getpid():
        if frame.f_code.co_filename == threading.__file__:
            return fallback  # the main thread waits for it, and every millisecond counts
    before = {one: faults(one) for one in ids[-MOST_THREADS:] if one}
    for _ in range(3):  # a loaded machine may not run the thread in the first millisecond
        time.sleep(0.001)
        taken = {one: faults(one) - count for one, count in before.items()}
        busiest = max(taken, key=taken.get, default=0)
        if busiest and taken[busiest] >= FILLING:
            return busiest
    return fallback


def growing_thread(native_id):
    """Identifier of the Python thread with this native id, where it may be interrupted; else 0."""
    threading = sys.modules.get("threading")
    if not native_id or native_id == os.getpid() or threading is None:
        return 0
    for ident, thread in list(threading._active.items()):
        if getattr(thread, "native_id", None) != native_id:
            continue
        if type(thread).__module__.split(".")[0] in SERVICES:
            return 0
        frame = sys._current_frames().get(ident)
        return ident if frame is not None and not is_machinery(frame) else 0
    return 0


def of(part, whole):
    """ "5.4 GiB of 6.0 GiB", in one unit."""
    unit, size = ("%.1f GiB", 1 << 30) if whole >= 1 << 31 else ("%.0f MiB", 1 << 20)
    return "%s of %s" % (unit % (part / size), unit % (whole / size))


def message(number):
    """As it was at the alarm: the exception may arrive after the child that took all is gone."""
    seen = bridge.refusal(number) if number else None
    if seen is None or seen["limit"] is None:
        return "memory is running out; stopped before the kernel would have killed this process"
    return (
        "memory is running out: %s in use (%s); stopped before the kernel would have "
        "killed this process"
        % (of(seen["used"], seen["limit"]), guard.api()._limit_name(seen))
    )


def exception_class(base, text, number):
    """A class for another thread: the interpreter makes the instance there, without arguments."""

    def __init__(self, *args):
        base.__init__(self, *(args or (text,)))
        setattr(self, load("surface").MARK, number)

    # It shows itself as its base and is pickled as such: workers send it to other processes.
    names = {"__init__": __init__, "__module__": base.__module__}
    names["__reduce__"] = lambda self: (base, self.args)
    return type(base.__name__, (base,), names)


def next_class(number):
    """MemoryError twice in an incident, then one that `except Exception` does not catch.

    That one at once where the alarm is for a request that was refused: many were before, and the
    program swallowed them all.
    """
    found = bridge.refusal(number) if number else None
    if number and (found is None or found["outcome"] == REFUSED):
        return guard.api().MemoryLimit
    key = found["incident"] if found is not None else 0
    if incident.number != key:
        incident.number, incident.raised = key, 0
    incident.raised += 1
    return MemoryError if incident.raised < 3 else guard.api().MemoryLimit


def decide(frame):
    """The exception for the main thread, or None."""
    number, native_id = bridge.alarm()
    here = takes_exception(frame)
    ident = growing_thread(filling_thread(native_id, frame))
    if not here and not ident:
        return None
    base = next_class(number)
    text = message(number)
    if ident:
        bridge.raise_in_thread(ident, exception_class(base, text, number))
        # It is delivered at that thread's next bytecode. If memory still grows after that, the main
        # thread, which waits for it, is stopped as well.
        if not here or incident.raised == 1:
            return None
    exception = base(text)
    setattr(exception, load("surface").MARK, number)
    return exception


def handle(frame):
    guard.busy += 1
    exception = None
    try:
        exception = decide(frame)
    except Exception:
        pass  # a wrong decision must not be an exception in the program
    finally:
        guard.busy -= 1
        bridge.handled()
    if exception is not None:
        try:
            raise exception
        finally:
            exception = None  # its traceback holds this frame: no cycle, or nothing is freed
