"""The public functions of `import oomguard`. Runs in the namespace of that module."""

from collections import namedtuple as _namedtuple

__all__ = [
    "MemoryLimit",
    "Refusal",
    "Usage",
    "enable",
    "headroom",
    "host",
    "is_refusal",
    "last_refusal",
    "limit",
    "release",
    "report",
    "usage",
]

_bridge, _load = bridge, load
del bridge, load

Usage = _namedtuple("Usage", "limit used headroom reserve limit_name")
Usage.__doc__ = """Memory of this process against the limit that binds it, in bytes.

limit and headroom are None where nothing limits. `used` is what counts against the limit (memory
that the kernel would give back without harm is not in it), `headroom` what may still be asked for,
`reserve` what is kept free for raising and showing exceptions."""

Refusal = _namedtuple(
    "Refusal",
    "number incident time thread_id kind request_bytes limit used limit_name module where surfaced",
)
Refusal.__doc__ = """One request for memory that was refused.

time is in seconds since the epoch; kind names the call ("malloc", "mmap", ..., "touch" where memory
that was granted earlier was being filled); request_bytes is its size, limit and used are bytes of
the limit that bound, module is the file that asked; where is the Python line, once an exception was
shown; surfaced is true from then on."""

_KINDS = {
    1: "malloc",
    2: "calloc",
    3: "realloc",
    4: "aligned",
    5: "mmap",
    6: "mremap",
    7: "mprotect",
    8: "brk",
    32: "touch",
}
# probe::LimitKind, in the words of Usage.limit_name.
_LIMITS = {
    1: "container",
    2: "container",
    3: "machine",
    4: "address space (ulimit -v)",
    5: "data (ulimit -d)",
    6: "budget",
}


class MemoryLimit(BaseException):
    """Raised where a MemoryError was swallowed twice and memory went on growing.

    Like KeyboardInterrupt it is no Exception, so that `except Exception` does not stop it.
    """


def enable(*options):
    """Starts a notebook's kernel again, guarded; this one is, so nothing is done."""


def usage():
    """Limit, used, headroom and reserve in bytes, as a `Usage`; None where nothing can be read."""
    found = _bridge.usage()
    return None if found is None else Usage(**found)


def headroom():
    """Bytes that may still be asked for; None where nothing limits."""
    found = _bridge.usage()
    return None if found is None else found["headroom"]


def _limit_name(refusal):
    limit, path = _LIMITS.get(refusal["limit_kind"], ""), refusal["limit_path"]
    return "%s (%s)" % (limit, path) if path else limit


def last_refusal():
    """The newest refusal of this process as a `Refusal`, or None."""
    found = _bridge.refusal(0)
    if found is None:
        return None
    found["kind"] = _KINDS.get(found["kind"], "other")
    found["time"] = found.pop("time_ns") / 1e9
    found["limit_name"] = _limit_name(found)
    found["where"] = found["where"].partition("variables: ")[0].rstrip("\n")
    for key in ("limit_kind", "limit_path", "outcome"):
        del found[key]
    return Refusal(**found)


def is_refusal(exception):
    """True where the exception, or one that it was raised from or during, came from a refusal."""
    return isinstance(exception, BaseException) and bool(_load("surface").refusal_of(exception))


def release(exception=None):
    """Lets go of what the library frames of a refused call hold; returns the bytes that came back.

    `exception` is the one being handled, or else the last one that the interpreter showed. Frames
    of `__main__` (a notebook's cells, a script) keep their variables; so do frames that still run.
    """
    import sys

    if exception is None:
        exception = sys.exc_info()[1] or getattr(sys, "last_value", None)
    if not is_refusal(exception):
        return 0

    def is_main(frame):
        return frame.f_globals.get("__name__") == "__main__"

    return _load("release").release(exception, is_main)


def limit(size):
    """A memory budget for a block of code: `with oomguard.limit("4GiB"): ...`.

    `size` is in bytes, or text as for OOMGUARD_BUDGET ("4GiB", "80%" of the limit that binds now).
    What this process holds (of its own and shared memory) may be at most that much, less the
    reserve that is kept for exceptions: what asks for more is refused as at any other limit. Where
    a budget is configured, it counts what that one counts. Limits nest, the least one counts; it is
    one for the whole process, so while any thread is in such a block all are held to it. ValueError
    where it leaves no room beside what is held already.
    """
    return _load("limits").Limit(size)


def host():
    """The machine's own memory for a block of code: `with oomguard.host(): psutil.virtual_memory()`.

    What this thread asks of /proc/meminfo, sysinfo and sysconf there is answered as without oomguard
    (elsewhere it is what this process may use, unless --view host was given). It is one for the
    thread, so a coroutine must not wait in such a block.
    """
    return _load("limits").Host()


def report(number=0, full=False):
    """The report of a refusal (0: the newest) as text, every number with `full`; "" for none.

    As the value of a notebook's cell it is shown as a page about the whole session.
    """
    surface = _load("surface")
    audience = surface.FULL if full else surface.audience()
    return _load("page").Report(_bridge.render(number or 0, audience))
