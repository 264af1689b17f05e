"""Tells of the kernel that this one replaces, above the output of its first cell.

Nothing runs beside a kernel: the command of the same installation reads what the other one left,
and judges it by the counters. Once a kernel, and not at all where no other has left anything.
"""

import os

TIME_LIMIT_S = 5


def watch(shell):
    """From the first cell on: an end that its user or its server asks for is nothing to explain."""
    kernel = getattr(shell, "kernel", None)
    shut_down = getattr(kernel, "do_shutdown", None)
    if shut_down is None:
        return

    def do_shutdown(restart):
        bridge.asked()
        return shut_down(restart)

    kernel.do_shutdown = do_shutdown


def others(session):
    """Whether the folder of sessions has more than this process's."""
    with os.scandir(os.path.dirname(session)) as entries:
        return sum(entry.name.endswith(".flight") for entry in entries) > 1


def ask(connection):
    """What is to be told: {"text", "html"}, or None."""
    import json
    import subprocess

    session, tool = bridge.session_path(), load("page").command()
    if not session or tool is None or not others(session):
        return None
    folder = os.path.dirname(os.path.dirname(session))
    command = [tool, "report", "--dir", folder, "--replaced-by", connection]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=TIME_LIMIT_S,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def tell(shell, connection):
    told = ask(connection)
    if told is not None:
        data = {"text/plain": told["text"], "text/html": told["html"]}
        shell.display_pub.publish(data=data, metadata={})
