"""Memory groups for tests: a child of this process's own group, with a limit, removed afterwards.

Works where the tests may make such a group: cgroup v1 with a writable hierarchy, or v2 where this
process's group hands the memory controller on. `why_unavailable()` says what is in the way
elsewhere, for a skip's reason. Touches no group that it did not make.
"""
import dataclasses
import itertools
import os
import resource
import signal
import subprocess
import time

MIB = 1 << 20
GIB = 1 << 30
_numbers = itertools.count(1)


def _memory_mount():
    """(version, mount point, path of this process's group below it), or None."""
    mounts = {}
    with open("/proc/self/mountinfo") as mountinfo:
        for line in mountinfo:
            left, right = line.rstrip("\n").split(" - ")
            kind, _, options = right.split(" ", 2)
            root, point = left.split(" ")[3:5]
            if kind == "cgroup" and "memory" in options.split(" ")[-1].split(","):
                mounts[1] = (root, point)
            elif kind == "cgroup2":
                mounts[2] = (root, point)
    paths = {}
    with open("/proc/self/cgroup") as groups:
        for line in groups:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):
                paths[1] = path
            elif controllers == "":
                paths[2] = path
    for version in (1, 2):
        if version in mounts and version in paths:
            root, point = mounts[version]
            path = paths[version]
            if root != "/" and path.startswith(root):
                path = path[len(root):]
            folder = point + (path if path != "/" and "/.." not in path else "")
            return version, folder if os.path.isdir(folder) else point
    return None


def why_unavailable():
    """None where a group can be made, else the reason in words."""
    found = _memory_mount()
    if found is None:
        return "no cgroup hierarchy with a memory controller is mounted"
    version, folder = found
    if version == 2:
        with open(os.path.join(folder, "cgroup.subtree_control")) as control:
            if "memory" not in control.read().split():
                return f"{folder} does not hand its memory controller to child groups"
    probe = os.path.join(folder, f"oomguard-probe-{os.getpid()}")
    try:
        os.mkdir(probe)
    except OSError as error:
        return f"no memory group can be made in {folder}: {error.strerror}"
    os.rmdir(probe)
    return None


@dataclasses.dataclass
class Finished:
    """A program that ran in a group. Times are CLOCK_MONOTONIC seconds and durations in seconds."""
    status: int         # negative: the signal that ended it
    stdout: str
    stderr: str
    started: float
    seconds: float
    cpu_seconds: float
    timed_out: bool = False

    @property
    def killed(self):
        return self.status == -signal.SIGKILL and not self.timed_out


class MemoryGroup:
    """A child group with a limit, or a group inside such a one. Use it in a `with` statement."""

    def __init__(self, limit_bytes, inside=None):
        assert limit_bytes < 8 * GIB, "a test group may not take the whole machine"
        found = _memory_mount()
        if found is None:
            raise OSError("no memory controller")
        self.version, parent = found
        if inside:
            parent = inside.folder
            if self.version == 2:
                inside._write("cgroup.subtree_control", "+memory")
        self.limit_bytes = limit_bytes
        self.folder = os.path.join(parent, f"oomguard-test-{os.getpid()}-{next(_numbers)}")
        os.mkdir(self.folder)
        try:
            if self.version == 1:
                self._write("memory.limit_in_bytes", limit_bytes)
                if os.path.exists(os.path.join(self.folder, "memory.memsw.limit_in_bytes")):
                    self._write("memory.memsw.limit_in_bytes", limit_bytes)
            else:
                self._write("memory.max", limit_bytes)
                if os.path.exists(os.path.join(self.folder, "memory.swap.max")):
                    self._write("memory.swap.max", 0)
        except OSError:
            os.rmdir(self.folder)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def _write(self, name, value):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(str(value))

    def _read(self, name):
        with open(os.path.join(self.folder, name)) as file:
            return file.read()

    def oom_kills(self):
        text = self._read("memory.oom_control" if self.version == 1 else "memory.events")
        return next(int(line.split()[1]) for line in text.splitlines()
                    if line.startswith("oom_kill "))

    def peak_bytes(self):
        return int(self._read("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"))

    def usage_bytes(self):
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int(self._read(name))

    def processes(self):
        return [int(pid) for pid in self._read("cgroup.procs").split()]

    def start(self, argv, **options):
        """subprocess.Popen of a program that joins this group before it is executed."""
        procs = os.open(os.path.join(self.folder, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
        try:
            return subprocess.Popen(argv, preexec_fn=lambda: os.write(procs, b"0"), **options)
        finally:
            os.close(procs)

    def run(self, argv, timeout_s, env=None, cwd=None):
        """Runs a program to its end and returns a Finished."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        process = self.start(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             start_new_session=True, text=True, errors="replace")
        timed_out = False
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            self.kill_all()
            stdout, stderr = process.communicate()
        seconds = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        return Finished(process.returncode, stdout, stderr, started, seconds, cpu, timed_out)

    def kill_all(self):
        """Ends whatever still runs in this group; all of it was started through it."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def remove(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                os.rmdir(self.folder)
                return
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                self.kill_all()
                time.sleep(0.02)
