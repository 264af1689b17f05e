"""Asks the probe library and the interpreter for the same stack. Runs under Python 3.9 to 3.14."""

import ctypes
import os
import sys

PATH = os.environ["STACK_PROBE"]
QUALIFIED = sys.version_info >= (3, 11)  # names; and Python calls share a C frame
FILE_BYTES, FUNCTION_BYTES = 512, 256
CAPACITY = 400


class RawFrame(ctypes.Structure):
    _fields_ = [("code", ctypes.c_size_t), ("at", ctypes.c_uint32), ("entry", ctypes.c_bool)]


class CodeText(ctypes.Structure):
    _fields_ = [
        ("file", ctypes.c_char * FILE_BYTES),
        ("function", ctypes.c_char * FUNCTION_BYTES),
        ("line", ctypes.c_int),
        ("first_line", ctypes.c_int),
    ]


def load(kind):
    library = kind(PATH)
    library.probe_read.restype = ctypes.c_size_t
    library.probe_read.argtypes = [ctypes.POINTER(RawFrame), ctypes.c_size_t]
    library.probe_describe.argtypes = [ctypes.POINTER(RawFrame), ctypes.POINTER(CodeText)]
    library.probe_identity.restype = ctypes.c_uint64
    library.probe_identity.argtypes = [ctypes.c_size_t]
    library.probe_thread.restype = ctypes.c_size_t
    library.probe_cost.restype = ctypes.c_double
    library.probe_cost.argtypes = [ctypes.c_size_t, ctypes.c_int, ctypes.c_int]
    library.probe_describe_cost.restype = ctypes.c_double
    library.probe_read_on.argtypes = [ctypes.POINTER(ctypes.c_uint64)]
    library.probe_watched.restype = ctypes.c_uint64
    library.probe_watched.argtypes = [ctypes.POINTER(ctypes.c_uint64)] * 2
    return library


held = load(ctypes.PyDLL)  # calls keep the GIL
released = load(ctypes.CDLL)  # calls release it
CALLBACK = ctypes.PYFUNCTYPE(None)


def raw(library=held, capacity=CAPACITY):
    """Frames as they are, innermost first, the caller's on top."""
    frames = (RawFrame * capacity)()
    count = library.probe_read(frames, capacity)
    return list(frames[:count])[1:]


def described(frame):
    text = CodeText()
    if not held.probe_describe(ctypes.byref(frame), ctypes.byref(text)):
        return None
    return (text.file.decode(), text.function.decode(), text.line, text.first_line)


def kept(text, capacity):
    """What remains of a name: its end, as UTF-8."""
    text = "".join("\ufffd" if "\ud800" <= c < "\ue000" or c == "\0" else c for c in text)
    if len(text.encode()) < capacity:
        return text
    while len(text.encode()) > capacity - 1 - len("..."):
        text = text[1:]
    return "..." + text


def expected(frame):
    """The same from the interpreter, innermost first, from a frame object on."""
    found = []
    while frame is not None:
        code = frame.f_code
        name = code.co_qualname if QUALIFIED else code.co_name
        found.append(
            (
                kept(code.co_filename, FILE_BYTES),
                kept(name, FUNCTION_BYTES),
                frame.f_lineno or 0,
                code.co_firstlineno,
            )
        )
        frame = frame.f_back
    return found


def check(library=held):
    """The stack of who calls this is the one that the interpreter tells. Returns its raw frames."""
    frames = raw(library)[1:]
    found = [described(frame) for frame in frames]
    wanted = expected(sys._getframe(1))
    if found != wanted:
        raise AssertionError("found\n%s\nwanted\n%s" % (found, wanted))
    # Each C call of the evaluation loop has one outermost frame.
    loops = held.probe_loops()
    entries = sum(frame.entry for frame in raw())
    if loops >= 0 and loops != entries:
        raise AssertionError("%d loops, %d entries" % (loops, entries))
    return frames


def names(frames):
    return [described(frame)[1].rpartition(".")[2] for frame in frames]


def entries(frames, count):
    """Which of the innermost frames are entries, as a text: "E" or "-"."""
    return "".join("E" if frame.entry else "-" for frame in frames[:count])


def expect(found, wanted):
    if found != wanted:
        raise AssertionError("%r, not %r" % (found, wanted))


def run(cases):
    """The case that the command line names."""
    cases[sys.argv[1]]()
    print("held")
