"""Runs in every guarded interpreter, after `site` and before the program's own code.

It is compiled at each start, so it holds only what has to be in place at once: the `oomguard`
module, the wrapped exception hooks and the signal handler. Everything else is compiled on first use
(`load`).
`bridge` (the engine's functions) is put into this namespace by bootstrap.cc. Only modules that are
built into every interpreter are imported here.
"""

import _signal
import _thread
import atexit
import sys
from _frozen_importlib import ModuleSpec

ModuleType = type(sys)


class guard:
    """State shared by the embedded parts."""

    cells = False  # a shell has run one
    running = False  # it runs one now
    cell_numbers = {}  # by the name of the file that stands for the cell
    busy = 0  # > 0: our own code runs; the signal handler must not raise into it
    shell = False  # IPython's shell class was seen and wrapped
    connection = ""  # a kernel's connection file
    told = False  # what this kernel replaces was looked up
    parts = {}


def load(name):
    """The part `name` as a module object (in no sys.modules), compiled on first use."""
    part = guard.parts.get(name)
    if part is None:
        guard.busy += 1
        try:
            part = ModuleType("oomguard._" + name)
            part.bridge, part.guard, part.load = bridge, guard, load
            run(name, part)
            guard.parts[name] = part
        finally:
            guard.busy -= 1
    return part


def run(name, module):
    code = compile(bridge.source(name), "<oomguard %s>" % name, "exec", dont_inherit=True)
    exec(code, module.__dict__)


class Embedded:
    """Finder and loader of the `oomguard` module, which is in no file."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "oomguard":
            return spec
        if name == "IPython.core.interactiveshell":
            try:
                return load("ipython").find(cls, name, path, target)
            except Exception:
                return None
        return None

    @staticmethod
    def create_module(spec):
        return module

    @staticmethod
    def exec_module(module):
        """Nothing: a reload keeps what is there."""

    @staticmethod
    def get_source(name):
        return bridge.source("api")

    @staticmethod
    def get_code(name):
        return None

    @staticmethod
    def is_package(name):
        return False


def lazy(name):
    """The module's `__getattr__` until its first attribute is asked for."""
    if name[:2] == "__" or module.__dict__.get("__getattr__") is not lazy:
        raise AttributeError("module 'oomguard' has no attribute %r" % (name,))
    api()
    return getattr(module, name)


def public_names():
    return sorted(api().__all__)


def api():
    """The `oomguard` module, its functions compiled."""
    names = module.__dict__
    if names.get("__getattr__") is lazy:
        guard.busy += 1
        try:
            names.update(bridge=bridge, load=load)
            run("api", module)
            del names["__getattr__"]
        finally:
            guard.busy -= 1
    return module


def from_child(exception):
    """A pool or a loader raises what happened in one of its worker processes."""
    kind = type(exception.__cause__).__name__
    if kind in ("RemoteTraceback", "_RemoteTraceback"):  # multiprocessing; concurrent, joblib
        return True
    text = exception.args[0] if exception.args else ""
    return isinstance(text, str) and "worker process" in text[:200]  # torch's DataLoader


def report_of(*args):
    """What `surface` has to print after an uncaught exception, or None."""
    if not bridge.refusal_count() and not from_child(args[0]):
        return None
    guard.busy += 1
    try:
        return load("surface").uncaught(*args)
    except BaseException:  # never hide the program's own traceback
        return None
    finally:
        guard.busy -= 1


def like(hook, original):
    """`hook`, looking like the one it stands for: programs list what belongs to a module."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        text = getattr(original, name, None)
        if isinstance(text, str):
            setattr(hook, name, text)
    return hook


def wrap_main(original):
    # The interpreter's own hook only prints; another one may be a debugger that stays for long.
    prints = original is sys.__excepthook__

    def excepthook(kind, value, traceback):
        bridge.privilege()
        report = report_of(value, None)
        guard.busy += prints
        try:
            original(kind, value, traceback)
        finally:
            guard.busy -= prints
            if report is not None:
                report()
            bridge.end_privilege()

    return like(excepthook, original)


def wrap_thread(original):
    def excepthook(args):
        bridge.privilege()
        report = report_of(args.exc_value, args.thread)
        try:
            original(args)
        finally:
            if report is not None:
                report()
            bridge.end_privilege()

    return like(excepthook, original)


def wrap_main_hook():
    """`sys.excepthook is sys.__excepthook__` is how a program asks whether anybody has a hook.

    `code.InteractiveConsole` shows an exception in its own way only then, and some libraries warn
    or stand back where it is not so. So what was true stays true.
    """
    plain = sys.excepthook is sys.__excepthook__
    sys.excepthook = wrap_main(sys.excepthook)
    if plain:
        sys.__excepthook__ = sys.excepthook


def wrap_threading(threading):
    plain = threading.excepthook is getattr(threading, "__excepthook__", None)
    threading.excepthook = wrap_thread(threading.excepthook)
    if plain:
        threading.__excepthook__ = threading.excepthook


def handler(number, frame):
    """Of the signal that the engine sends when memory runs out although nothing was refused."""
    if guard.busy:
        bridge.handled()
        return
    try:
        alarm = load("alarm")
    except Exception:
        bridge.handled()
        return
    alarm.handle(frame)


def free_signal():
    """A real-time signal that nobody uses. The first ones are left to libraries that count up."""
    low, high = _signal.SIGRTMIN, _signal.SIGRTMAX
    for number in [*range(low + 10, high - 4), *range(low + 1, low + 10)]:
        if _signal.getsignal(number) == _signal.SIG_DFL:
            return number
    return 0


spec = ModuleSpec("oomguard", Embedded, origin="embedded in liboomguard.so")
module = ModuleType("oomguard", "What oomguard knows about this process's memory.")
module.__spec__, module.__loader__, module.__package__ = spec, Embedded, ""
module.__getattr__, module.__dir__ = lazy, public_names
guard.api = api
guard.from_child = from_child

sys.meta_path.insert(0, Embedded)
sys.modules["oomguard"] = module
wrap_main_hook()
# `threading` takes its hook from here when it is imported.
_thread._excepthook = wrap_thread(_thread._excepthook)
if "threading" in sys.modules:
    wrap_threading(sys.modules["threading"])
atexit.register(bridge.interpreter_ends)
signal_number = free_signal()
if signal_number:
    _signal.signal(signal_number, handler)
    bridge.signal_ready(signal_number)
    # The interpreter gives every signal its default action back when it ends.
    atexit.register(bridge.signal_ready, 0)
