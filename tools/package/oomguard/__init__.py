"""oomguard in an interpreter that is not guarded: nothing is watched here, and enable() changes that.

A guarded interpreter brings the real module of this name; the functions are the same.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig

__all__ = [
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

_TIME_LIMIT_S = 10
# The cell's answer leaves the kernel meanwhile.
_PAUSE_S = 0.5
# How a kernel is told of its connection file.
_CONNECTION_FILES = ("-f", "--f=")
# Of which process it is the second start: a kernel that stays unguarded is not started for ever.
_AGAIN = "OOMGUARD_STARTED_AGAIN"


class _StartsAgain(Exception):
    """Ends the cell, so that the cells behind it do not run in a kernel that is about to go."""

    def _render_traceback_(self):
        return [str(self)]


def enable(*options):
    """Starts this notebook's kernel again in place, guarded. Its variables are lost.

    For a kernel whose launch cannot be changed; any other is guarded by a kernelspec. The options
    are those of `oomguard env`: enable("--budget=80%"). The cell ends with a line that says so, and
    cells behind it do not run; in a guarded kernel enable() does nothing. RuntimeError, and nothing
    is changed, where this is no kernel of its own process or the command cannot be had.
    """
    kernel = _kernel()
    environment = _environment(options)
    arguments = _arguments()
    if not any(one.startswith(_CONNECTION_FILES) or "connection_file=" in one for one in arguments):
        raise RuntimeError("this kernel runs inside another program, which would end with it")
    if "multiprocessing" in sys.modules and sys.modules["multiprocessing"].active_children():
        raise RuntimeError("child processes run, which hold the kernel's ports: end them first")
    import asyncio

    loop = asyncio.get_running_loop()

    def begin_again():
        with contextlib.suppress(Exception):
            kernel.shell.history_manager.writeout_cache()
        os.execve(sys.executable, arguments, environment)

    def when_the_cell_has_ended(*_):
        kernel.shell.events.unregister("post_run_cell", when_the_cell_has_ended)
        loop.call_later(_PAUSE_S, begin_again)

    kernel.shell.events.register("post_run_cell", when_the_cell_has_ended)
    raise _StartsAgain(
        "This kernel starts again, guarded by oomguard: its variables are lost. "
        "Run the notebook from its top."
    )


def _kernel():
    """The kernel that runs the calling cell."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        raise RuntimeError(
            "oomguard.enable() is for notebooks; a program is started with: oomguard run -- python ..."
        )
    return kernel


def _environment(options):
    """Of the guarded kernel."""
    if os.environ.get(_AGAIN) == str(os.getpid()):
        raise RuntimeError("this kernel was started again, and is not guarded: its log says why")
    if os.environ.get("OOMGUARD") == "0":
        raise RuntimeError("OOMGUARD=0 is set: oomguard is switched off")
    command = os.path.join(sysconfig.get_path("scripts"), "oomguard")
    if not os.access(command, os.X_OK):
        command = shutil.which("oomguard")
    if command is None:
        raise RuntimeError("the oomguard command is not in this environment and not in PATH")
    asked = subprocess.run(
        [command, "env", "--format", "json", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_S,
    )
    if asked.returncode != 0:
        raise RuntimeError(asked.stderr.strip() or "oomguard env failed")
    variables = json.loads(asked.stdout)
    preload = [variables.pop("LD_PRELOAD"), os.environ.get("LD_PRELOAD")]
    environment = {**os.environ, **variables, "LD_PRELOAD": ":".join(filter(None, preload))}
    return {**environment, _AGAIN: str(os.getpid())}


def _arguments():
    """What this process was started with."""
    with open("/proc/self/cmdline", "rb") as file:
        return [os.fsdecode(one) for one in file.read().split(b"\0")[:-1]]


def usage():
    """None: nothing is measured where nothing is guarded."""
    return None


def headroom():
    """None: no limit is watched."""
    return None


def last_refusal():
    """None: nothing was refused."""
    return None


def is_refusal(exception):
    """False: nothing was refused."""
    return False


def release(exception=None):
    """0: nothing was refused, so nothing is let go of."""
    return 0


def report(number=0, full=False):
    """The empty text: there is no refusal to tell of."""
    return ""


def limit(size):
    """RuntimeError: a budget would not be kept here."""
    raise RuntimeError("a limit is kept only in a guarded interpreter: oomguard run, or oomguard.enable()")


def host():
    """Does nothing: this process sees the machine's own memory anyway."""
    return contextlib.nullcontext()
