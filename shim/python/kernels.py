"""Other Jupyter kernels of this user, by their notebook's name as far as it can be told."""

import os
import time

IDLE_LOOK_S = 0.1  # a kernel that takes no CPU time meanwhile is idle


class Kernel:
    """`bytes`: memory that only this process can give back. `same_limit`: of this one's group."""

    def __init__(self, pid, name, size, same_limit):
        self.pid, self.name, self.bytes, self.same_limit = pid, name, size, same_limit
        self.ticks, self.idle = cpu_ticks(pid), False

    def process_name(self):
        """As the kernel, and a report, have it."""
        return os.fsdecode(read(self.pid, "comm").rstrip(b"\n"))


def read(pid, name):
    try:
        with open("/proc/%s/%s" % (pid, name), "rb") as file:
            return file.read()
    except OSError:
        return b""  # it ended


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third on: the second may contain anything."""
    return read(pid, "stat").rpartition(b")")[2].split()


def cpu_ticks(pid):
    fields = stat_fields(pid)
    return sum(map(int, fields[11:13])) if len(fields) > 12 else -1


def is_kernel(arguments):
    """ipykernel's command line has its module or file, and the connection file."""
    files = (b"ipykernel_launcher.py", b"ipykernel/__main__.py")
    return b"-f" in arguments and any(
        one in (b"ipykernel_launcher", b"ipykernel") or one.endswith(files) for one in arguments
    )


def name_of(pid):
    """The notebook's file name, or where the kernel runs."""
    for variable in read(pid, "environ").split(b"\0"):
        if variable.startswith(b"JPY_SESSION_NAME="):
            return os.fsdecode(os.path.basename(variable.partition(b"=")[2]))
    try:
        return "kernel %s in %s" % (pid, os.path.basename(os.readlink("/proc/%s/cwd" % pid)) or "/")
    except OSError:
        return "kernel %s" % pid


def held_bytes(pid):
    size = 0
    for line in read(pid, "status").splitlines():
        if line.startswith((b"RssAnon:", b"RssShmem:")):
            size += int(line.split()[1]) * 1024
    return size


def others():
    """The kernels as `Kernel`, the largest first. `look_idle` says later which of them are idle."""
    found = {}
    own_line = read("self", "cmdline")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        line = read(pid, "cmdline")
        if line == own_line or not is_kernel(line.split(b"\0")):
            continue
        try:
            if os.stat("/proc/" + pid).st_uid != os.getuid():
                continue
        except OSError:
            continue
        # A process that a kernel forked has the same command line, and is younger.
        started = stat_fields(pid)[19:20]
        if started and (line not in found or int(started[0]) < found[line][0]):
            found[line] = int(started[0]), pid
    group = read("self", "cgroup")
    kernels = []
    for _, pid in found.values():
        is_near = read(pid, "cgroup") == group
        kernels.append(Kernel(int(pid), name_of(pid), held_bytes(pid), is_near))
    return sorted(kernels, key=lambda one: -one.bytes)


def look_idle(kernels, since):
    """Sets `idle`. `since`: time.monotonic() when they were found."""
    if not kernels:
        return
    time.sleep(max(0.0, since + IDLE_LOOK_S - time.monotonic()))
    for one in kernels:
        one.idle = 0 <= one.ticks and cpu_ticks(one.pid) - one.ticks <= 1
