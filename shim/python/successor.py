"""Tells of the kernel that this one replaces, above the output of its first cell.

Nothing runs beside a kernel: the command of the same installation reads what the other one left,
and judges it by the counters. Once a kernel, and not at all where no other has left anything.
"""

import os
import sys

TIME_LIMIT_S = 5
LATELY_S = 60
NOTHING = 1  # the command's status where there is nothing to tell


def others(session):
    """Whether the folder of sessions has more than this process's."""
    with os.scandir(os.path.dirname(session)) as entries:
        return sum(entry.name.endswith(".flight") for entry in entries) > 1


def ended_lately(session):
    """Whether another file was written to at this process's start: perhaps of what it replaces."""
    folder, own = os.path.split(session)
    started = int(own.split("-")[0])
    with os.scandir(folder) as entries:
        return any(
            entry.name.endswith(".flight")
            and entry.name != own
            and started - LATELY_S <= entry.stat().st_mtime <= started + 1
            for entry in entries
        )


def ask(connection):
    """What is to be told: {"text", "html"}, or {"line"} of why that cannot be told, or None."""
    import json
    import subprocess

    session, tool = bridge.session_path(), load("page").command()
    if not session:
        return {"line": "oomguard: nothing is recorded of this kernel (see OOMGUARD_DIR)"}
    if not others(session):
        return None
    if tool is None:
        return cannot("the command is not beside the library") if ended_lately(session) else None
    folder = os.path.dirname(os.path.dirname(session))
    command = [tool, "report", "--dir", folder, "--replaced-by", connection]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIME_LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return cannot(error)
    if done.returncode == 0:
        return json.loads(done.stdout)
    return None if done.returncode == NOTHING else cannot("%s fails" % " ".join(command[:2]))


def cannot(why):
    return {"line": "oomguard: why an earlier kernel ended cannot be told: %s" % why}


def tell(shell, connection):
    told = ask(connection)
    if told is not None and "line" in told:
        print(told["line"], file=sys.stderr)
    elif told is not None:
        data = {"text/plain": told["text"], "text/html": told["html"]}
        shell.display_pub.publish(data=data, metadata={})
