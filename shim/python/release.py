"""Lets go of what the frames of a refused call hold, so that the next call finds room.

A failed load stays in memory as long as its exception does, and an interpreter keeps the last one.
`load` comes from boot.py.
"""

import gc
import sys
from types import FunctionType

surface = load("surface")
MOST_ROUNDS = 4


def anonymous_bytes():
    """RssAnon of this process; 0 where it cannot be read."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"RssAnon:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def release(exception, keep):
    """Clears the frames of the exception's tracebacks, except where `keep(frame)` is true.

    Returns how many bytes of this process's memory came back. Frames that still run stay.
    """
    before = anonymous_bytes()
    cleared = {}
    for one in surface.chain(exception):
        for frame, _ in surface.entries(one.__traceback__):
            if not keep(frame) and clear(frame):
                cleared[id(frame)] = frame
    gc.collect()
    # What one variable held may have kept the next one's function: other futures of a pool, say.
    for _ in range(MOST_ROUNDS):
        if not forget_closures(list(cleared.values())):
            break
        gc.collect()
    bridge.trim()  # of a loader's small pieces the allocator keeps hundreds of megabytes
    return max(0, before - anonymous_bytes())


def clear(frame):
    try:
        frame.clear()
    except RuntimeError:
        return False  # it still runs
    if sys.version_info < (3, 13):
        # Whoever formatted the traceback read f_locals, and the frame keeps that dict through
        # clear(). Reading it again empties it.
        frame.f_locals
    return True


def references(objects):
    """How many references each object has, the one in `objects` and those of this call included."""
    return [sys.getrefcount(one) for one in objects]


def beyond(objects, make):
    """How many references each object has that are not in `objects`; `make` makes one with none."""
    base = references([make()])[0]
    return [count - base for count in references(objects)]


def forget_closures(frames):
    """Empties variables that only functions of cleared frames can reach. Returns how many.

    From 3.11 on a frame keeps its function through clear(), and a nested function keeps what it
    shares with the one around it: a loader's list of parts, say. A function that somebody else has
    is left alone, as is a variable that such a function shares: a decorator's wrapper lives on.
    """
    holders = {}
    functions = functions_of(frames, holders)
    while functions:
        # Each list of functions is let go before the next one is counted.
        count, functions = len(functions), unreachable(functions, holders)
        if len(functions) == count:
            break
    emptied = 0
    for cell in lonely_cells(functions):
        try:
            del cell.cell_contents
            emptied += 1
        except ValueError:
            pass  # empty already
    return emptied


def functions_of(frames, holders):
    """The nested functions that the frames run; counts in `holders` how many frames each has."""
    functions = []
    for frame in frames:
        for one in gc.get_referents(frame):
            if isinstance(one, FunctionType) and one.__closure__:
                if id(one) not in holders:
                    functions.append(one)
                holders[id(one)] = holders.get(id(one), 0) + 1
    return functions


def content_id(cell):
    try:
        return id(cell.cell_contents)
    except ValueError:
        return 0


def unreachable(functions, holders):
    """Those of the functions that only their frames, or each other's variables, refer to."""
    known = dict(holders)
    for cell in lonely_cells(functions):
        inner = content_id(cell)
        if inner in known:
            known[inner] += 1  # a nested function that calls itself
    counts = beyond(functions, lambda: eval("lambda: None", {}))
    return [one for one, count in zip(functions, counts) if count <= known[id(one)]]


def lonely_cells(functions):
    """The variables that no function but these can reach."""
    closures = [function.__closure__ for function in functions]
    # A closure is held by its function; one that two functions share is not looked into.
    counts = beyond(closures, lambda: tuple([functions]))
    owners, cells = {}, []
    for closure, count in zip(closures, counts):
        for cell in closure:
            if id(cell) not in owners:
                cells.append(cell)
            owners[id(cell)] = owners.get(id(cell), 0) + (count <= 1)
    closure = cell = None
    counts = beyond(cells, new_cell)
    return [one for one, count in zip(cells, counts) if count <= owners[id(one)]]


def new_cell():
    held = None
    return (lambda: held).__closure__[0]
