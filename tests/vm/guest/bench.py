"""Runs cases inside a guest and writes one JSON line for each to $VM_RESULTS/cases.jsonl.

What a program was and how it ended, the counters of its group and of the machine. It judges
nothing: the tests outside do.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

MIB = 1 << 20
ROOT = pathlib.Path("/sys/fs/cgroup")
RESULTS = pathlib.Path(os.environ.get("VM_RESULTS", "/results"))
PROGRAMS = pathlib.Path(__file__).resolve().parent.parent / "programs"
PYTHON = os.environ.get("VM_PYTHON", "python3")
LIBRARY = os.environ.get("VM_LIBRARY", "")
COMMAND = os.environ.get("VM_COMMAND", "")
DISK = os.environ.get("VM_DISK", "")

_all = {}


def case(function):
    """Registers a case; its name is the function's. It returns a dictionary."""
    _all[function.__name__] = function
    return function


def read(path):
    return pathlib.Path(path).read_text()


def keyed(path):
    try:
        return {name: int(value) for name, value in
                (line.split()[:2] for line in read(path).splitlines())}
    except (OSError, ValueError):
        return {}


class Group:
    """A memory group below the root or below another one; removed with `with`."""

    def __init__(self, name, parent=None, **limits):
        self.path = (parent.path if parent else ROOT) / name
        if parent:
            (parent.path / "cgroup.subtree_control").write_text("+memory")
        self.path.mkdir()
        for file, value in limits.items():
            self.write(file, value)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for _ in range(100):
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.05)

    def write(self, file, value):
        """`memory_max=…` writes memory.max, `memory_swap_max` memory.swap.max."""
        (self.path / file.replace("_", ".")).write_text(str(value))

    def pids(self):
        return [int(pid) for pid in read(self.path / "cgroup.procs").split()]

    def counters(self):
        return {"events": keyed(self.path / "memory.events"),
                "swap_events": keyed(self.path / "memory.swap.events"),
                "peak": int(read(self.path / "memory.peak")),
                "current": int(read(self.path / "memory.current"))}


def environment(guarded, sessions, **extra):
    kept = {"PATH": os.environ["PATH"], "HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1"}
    if guarded:
        kept.update(OOMGUARD_DIR=sessions)
    if guarded is True:
        kept.update(LD_PRELOAD=LIBRARY)
    kept.update({name: str(value) for name, value in extra.items()})
    return kept


class Program:
    """One program, started in a group (None: in the root group).

    `guarded`: True (preloaded), False, or "run" (by `oomguard run`: a program that is not Python).
    """

    def __init__(self, argv, group, guarded, prepare=None, **extra):
        if guarded == "run":
            argv = [COMMAND, "run", "--", *argv]
        self.sessions = f"{DISK or '/tmp'}/sessions-{time.monotonic_ns()}"
        os.mkdir(self.sessions, 0o700)
        self.output = self.sessions + "/output"
        self.started = time.monotonic()

        def join():
            with open("/proc/self/oom_score_adj", "w") as adjust:
                adjust.write("0")
            if group:
                (group.path / "cgroup.procs").write_text("0")
            if prepare:
                prepare()

        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, preexec_fn=join,
                env=environment(guarded, self.sessions, **extra))

    def said(self):
        return pathlib.Path(self.output).read_text(errors="replace")

    def flight_files(self):
        return list(pathlib.Path(self.sessions).glob("sessions/*.flight"))

    def wait_for(self, text, timeout_s=30):
        end = time.monotonic() + timeout_s
        while text not in self.said() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)

    def finish(self, timeout_s):
        timed_out = False
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            self.process.kill()
            self.process.wait()
        said = self.said()
        result = {}
        for line in said.splitlines():
            if line.startswith("{"):
                result = json.loads(line)
        done = {"status": self.process.returncode, "timed_out": timed_out,
                "seconds": round(time.monotonic() - self.started, 2), "result": result,
                "said": said[-3000:], "sessions": len(self.flight_files())}
        shutil.rmtree(self.sessions, ignore_errors=True)
        return done


def machine_kills():
    return keyed("/proc/vmstat").get("oom_kill", 0)


def run(argv, group=None, guarded=True, timeout_s=40, prepare=None, **extra):
    """A whole run: how it ended, and the kills meanwhile. `group` keeps its counters."""
    kills = machine_kills()
    done = Program(argv, group, guarded, prepare, **extra).finish(timeout_s)
    done["machine_kills"] = machine_kills() - kills
    if group:
        done.update(group.counters())
    return done


def run_in(limits, argv, guarded=True, **more):
    """As `run`, in a new group with those limits."""
    with Group("case", **limits) as group:
        return run(argv, group, guarded, **more)


def swap_on(size):
    """A zram device as swap; returns what takes it away again."""
    device = pathlib.Path("/sys/block/zram0")
    (device / "disksize").write_text(str(size))
    subprocess.run(["mkswap", "/dev/zram0"], check=True, capture_output=True)
    subprocess.run(["swapon", "/dev/zram0"], check=True, capture_output=True)

    def swap_off():
        subprocess.run(["swapoff", "/dev/zram0"], check=True, capture_output=True)
        (device / "reset").write_text("1")
    return swap_off


def main(names):
    """Runs the cases named, or all."""
    with open("/proc/self/oom_score_adj", "w") as adjust:
        adjust.write("-1000")
    with open(RESULTS / "cases.jsonl", "w") as out:
        for name in names or _all:
            started = time.monotonic()
            try:
                result = _all[name]()
            except Exception as error:
                result = {"error": repr(error)}
            result["case"] = name
            result["took"] = round(time.monotonic() - started, 2)
            out.write(json.dumps(result) + "\n")
            out.flush()
            os.fsync(out.fileno())
