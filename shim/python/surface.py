"""An exception that came from a refusal, from the moment it reaches a person.

Recognises it, finds the person's own line in its traceback, gives it a note and prints the report.
`bridge`, `guard` and `load` come from boot.py.
"""

import errno
import os
import sys
from _thread import get_native_id

CELL, SCRIPT, FULL = 0, 1, 2  # record::Audience

# Out-of-memory texts of libraries that raise RuntimeError or a class of their own.
TEXTS = (
    "can't allocate memory",
    "DefaultCPUAllocator",
    "not enough memory",
    "Not enough memory",  # orjson
    "Cannot allocate memory",
    "Unable to allocate",
    "std::bad_alloc",
    "bad allocation",
    "No space left on device",    # torch, for shared memory
    "Not enough free space to",   # numpy, before it writes an array
    # GPUs: torch, CuPy, JAX, numba, RMM.
    "out of memory",
    "Out of memory",
    "OUT_OF_MEMORY",
    "out_of_memory",
    "PyObject pointer is null",  # PyO3, Rust's bridge to Python: its PanicException is no Exception
    # SystemError of interpreters that find no room for a frame and forget to say so.
    "NULL without setting an exception",
    "error return without exception set",
)
STDLIB = os.path.dirname(os.__file__) + os.sep
MARK = "_oomguard_refusal"


def chain(exception):
    """The exception, those it was raised from or during, and those that a group holds."""
    seen, waiting = set(), [exception]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__context__, one.__cause__]
        members = getattr(one, "exceptions", None)
        if isinstance(members, tuple):
            waiting += members


def ran_out(exception):
    """The exception says that memory could not be had."""
    if isinstance(exception, MemoryError):
        return True
    # ENOSPC: shared memory and files on tmpfs say so. A full disk does too, but leaves no refusal.
    if isinstance(exception, OSError) and exception.errno in (errno.ENOMEM, errno.ENOSPC):
        return True
    if not isinstance(exception, Exception) and type(exception).__module__ != "pyo3_runtime":
        return False
    try:
        text = str(exception)[:4096]
    except Exception:
        return False
    return any(known in text for known in TEXTS)


def refusal_of(exception):
    """Number of the refusal that the exception came from; 0 where it came from none."""
    candidate = None
    for one in chain(exception):
        number = getattr(one, MARK, 0)
        if number:
            return number
        if candidate is None and ran_out(one):
            candidate = one
    if candidate is None:
        return 0
    # A loader's threads raise through futures, so another thread's refusal counts as well.
    number = 0
    if guard.from_child(candidate):
        number = bridge.childs_refusal()
    newest = bridge.unsurfaced(0)
    number = number or named_in(candidate, newest) or bridge.unsurfaced(get_native_id()) or newest
    if number:
        mark(candidate, number)
    return number


def named_in(exception, newest):
    """Several threads of a pool were refused: the one whose size the exception's text names, else 0.

    torch says how many bytes it asked for. What came before one that was shown was handled.
    """
    text, number = str(exception)[:4096], newest
    found = bridge.refusal(number) if number else None
    while found is not None and not found["surfaced"]:
        if str(found["request_bytes"]) in text:
            return number
        number -= 1
        found = bridge.refusal(number) if number else None
    return 0


def mark(exception, number):
    try:
        setattr(exception, MARK, number)
    except Exception:
        pass  # a class with __slots__: it is recognised as long as its refusal is the newest


def entries(traceback):
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def is_ours(frame):
    return frame.f_code.co_filename.startswith("<oomguard ")


def is_users(frame):
    """The frame runs code of the person's own, not of the standard library or a package."""
    if frame.f_globals.get("__name__") == "__main__":
        return True
    name = frame.f_code.co_filename
    if name.startswith("<") or name.startswith(STDLIB):
        return False
    return "/site-packages/" not in name and "/dist-packages/" not in name


def where(exception):
    """The deepest line of the person's own, as "train.py line 12: model = load()"."""
    chained = list(chain(exception))
    # The one that says "out of memory" was raised nearest to the request.
    chained.sort(key=lambda one: not ran_out(one))
    deepest = None
    for one in chained:
        found = None
        for entry in entries(one.__traceback__):
            if is_ours(entry[0]):
                continue
            deepest = entry
            if is_users(entry[0]):
                found = entry
        if found is not None:
            return line_of(found)
    return line_of(deepest) if deepest is not None else ""


def line_of(entry, place=None):
    frame, number = entry
    text = "%s line %d" % (place or frame.f_code.co_filename, number)
    try:
        import linecache

        source = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
    except Exception:
        source = ""
    return "%s: %s" % (text, source[:200]) if source else text


def drop_own_frames(exception):
    """Ends tracebacks before the frames of our signal handler."""
    for one in chain(exception):
        last, entry = None, one.__traceback__
        while entry is not None:
            if last is not None and is_ours(entry.tb_frame):
                last.tb_next = None
                break
            last, entry = entry, entry.tb_next


def add_note(exception, number):
    """Gives the exception its line. Before 3.11 there are no notes: returns the line to print."""
    text = (bridge.note(number) or bridge.note(0)).rstrip("\n")  # its record may be overwritten
    if not hasattr(exception, "add_note"):
        return text + "\n"
    if text not in getattr(exception, "__notes__", ()):
        exception.add_note(text)
    return ""


def write(text):
    """Writes whole lines at once to where the traceback went."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        sys.stdout.flush()
    except Exception:
        pass  # closed, or None
    try:
        direct = stream is sys.__stderr__ and stream.fileno() == 2
    except Exception:
        direct = False
    stream.flush()
    if not direct:
        stream.write(text)
        stream.flush()
        return
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(2, data) :]


def print_report(number, line, audience, freed="", edit=None):
    """Prints the note's line (where there are no notes) and the report, `freed` in its place.

    `edit`: what the text goes through before that.
    """
    lines = (bridge.render(number, audience) or bridge.render(0, audience)).splitlines(True)
    if freed:
        ends = [i for i, one in enumerate(lines) if one.startswith(("More:", "Off:"))]
        lines.insert(ends[0] if ends else len(lines), freed)
    text = line + "".join(lines)
    if edit is not None:
        text = edit(text)
    write(text if text.endswith("\n") else text + "\n")


def surfaced(number, place):
    bridge.surfaced(number, place.encode("utf-8", "replace").replace(b"\0", b"?"))


class threads:
    """Uncaught refusals of threads: one report, then counts."""

    reported = 0  # time.monotonic() of the last report
    since = 0


def thread_report(number, line, place, audience):
    import time

    now = time.monotonic()
    surfaced(number, place)
    if threads.reported and now - threads.reported < 60:
        threads.since += 1
        if threads.since & (threads.since - 1) == 0:  # 1, 2, 4, 8, ...
            write("oomguard: %d more refused in threads since the report above\n" % threads.since)
        return
    threads.reported, threads.since = now, 0
    print_report(number, line, audience)


def ends_program(exception):
    """The interpreter itself calls the hook, with nothing left to run after it.

    A program that calls the hook to show what it has caught goes on, as does a console.
    """
    if hasattr(sys, "ps1") or sys.flags.interactive:
        return False
    if getattr(sys, "last_value", None) is not exception:
        return False
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    # The first frame is the hook's, be it ours or one that calls ours.
    return frame.f_code.co_name not in ("<module>", "_run_module_as_main", "_run_code")


def uncaught(exception, thread):
    """Prepares an uncaught exception: returns what prints the report after it, or None."""
    number = refusal_of(exception)
    if not number or getattr(exception, "_oomguard_shown", False):
        return None
    drop_own_frames(exception)
    place = place_of(exception)
    line = add_note(exception, number)
    if thread is None and ends_program(exception):
        bridge.ending(number)

    def report():
        guard.busy += 1
        try:
            exception._oomguard_shown = True
            if thread is not None:
                thread_report(number, line, place, audience())
            else:
                surfaced(number, place)
                print_report(number, line, SCRIPT)
        except Exception:
            pass  # stderr is closed, or memory is short even now: the session's file has it all
        finally:
            guard.busy -= 1

    return report


def place_of(exception):
    shell = load("alarm").live_shell()
    return where(exception) if shell is None else load("ipython").place_of(shell, exception)


def audience():
    return CELL if load("alarm").live_shell() is not None else SCRIPT
