"""Runs programs bare and guarded in memory groups, and reads off what happened to them.

Used by the tests here and by repeat.py. Where things are comes from the environment that
tests/run.sh sets: OOMGUARD_BUILD, OOMGUARD_VENV, OOMGUARD_VENV_TRANSFORMERS4, OOMGUARD_PYTHONS.
"""
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

import cgroup
import session_files

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAMS = HERE / "programs"
SMALL_LIMIT = 600 * cgroup.MIB
MODEL_LIMIT = 6 * cgroup.GIB
BARE_TIMEOUT_S = 45   # a bare load may hang at its limit instead of dying: mapped files thrash
GUARDED_TIMEOUT_S = 150

figures = []  # lines for the summary at the end of a test run


def build():
    return pathlib.Path(os.environ["OOMGUARD_BUILD"])


def library():
    return build() / "lib" / "liboomguard.so"


def command():
    return build() / "bin" / "oomguard"


def main_python():
    return os.environ["OOMGUARD_VENV"] + "/bin/python"


def transformers4_python():
    folder = os.environ.get("OOMGUARD_VENV_TRANSFORMERS4")
    return folder + "/bin/python" if folder else None


def foreign_python():
    folder = os.environ.get("OOMGUARD_VENV_FOREIGN")
    return folder + "/bin/python" if folder else None


def pythons():
    return [python for python in os.environ.get("OOMGUARD_PYTHONS", "").split(":") if python]


@functools.lru_cache(None)
def python_label(python):
    """"3.11.7 (pyenv)": version, and whose build it is, of an interpreter."""
    code = ("import sys, sysconfig; print('%d.%d.%d' % sys.version_info[:3], "
            "'(pyenv)' if 'pyenv' in sysconfig.get_config_var('prefix') "
            "or 'pyenv' in sys.base_prefix else '(system)')")
    return subprocess.run([python, "-c", code], capture_output=True, text=True,
                          check=True, timeout=60).stdout.strip()


@functools.lru_cache(None)
def has_numpy(python):
    return subprocess.run([python, "-c", "import numpy"], capture_output=True,
                          timeout=60).returncode == 0


@functools.lru_cache(None)
def has_package(python, name):
    """Whether an interpreter has a package of that name, with a module or (mkl) without."""
    code = f"import importlib.metadata as metadata; metadata.version({name!r})"
    return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0


def disk_folder():
    """A new folder on a disk: on tmpfs every file would be memory."""
    return tempfile.mkdtemp(prefix="oomguard-test-", dir=os.environ.get("OOMGUARD_TEST_DISK",
                                                                        "/var/tmp"))


def bare_environment(**extra):
    kept = {name: value for name, value in os.environ.items()
            if name != "LD_PRELOAD" and not name.startswith("OOMGUARD") and name != "MEM_LIMIT"}
    kept.update(PYTHONDONTWRITEBYTECODE="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    kept.update(extra)
    return kept


def guarded_environment(sessions, **extra):
    own = {"LD_PRELOAD": str(library()), "OOMGUARD_DIR": str(sessions)}
    return bare_environment(**{**own, **extra})


@dataclasses.dataclass
class Run:
    """One program that ran in a group of its own."""
    finished: cgroup.Finished
    oom_kills: int
    peak_bytes: int
    limit_bytes: int
    sessions: list
    result: dict  # the JSON line that the program printed last, {} where it printed none
    disk_bytes: int = 0  # the most that its file of lent pages took; only where it was watched

    @property
    def refusals(self):
        return sum(session.refusal_count for session in self.sessions)

    @property
    def refused_bytes(self):
        """The largest request among the kept refusals."""
        return max((refusal.request_bytes for session in self.sessions
                    for refusal in session.refusals), default=0)

    @property
    def reached(self):
        """Share of the limit that was used, or would have been with what was refused."""
        return (self.peak_bytes + self.refused_bytes) / self.limit_bytes

    @property
    def seconds_to_exception(self):
        return self.result["at"] - self.finished.started

    def __str__(self):
        end = self.finished
        return (f"status {end.status}{' (timed out)' if end.timed_out else ''} after "
                f"{end.seconds:.2f} s, oom_kill {self.oom_kills}, "
                f"peak {self.peak_bytes / cgroup.MIB:.0f} MiB, refusals {self.refusals} "
                f"(largest {self.refused_bytes / cgroup.MIB:.1f} MiB)\n"
                f"--- stdout\n{end.stdout[-3000:]}\n--- stderr\n{end.stderr[-3000:]}")


def _last_json(text):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                return {}
    return {}


class Watch(threading.Thread):
    """Looks, again and again, while its block runs."""

    def __init__(self, pause_s):
        super().__init__(daemon=True)
        self.pause_s, self.over = pause_s, threading.Event()

    def run(self):
        while not self.over.wait(self.pause_s):
            self.look()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class DiskWatch(Watch):
    """The most that unlinked files in a folder took on the disk, of all processes of a group. The
    library's file is open in a descriptor table of its own thread."""

    def __init__(self, group, folder):
        super().__init__(0.05)
        self.group, self.folder, self.most = group, folder, 0

    def look(self):
        used = 0
        for pid in self.group.processes():
            for link in pathlib.Path(f"/proc/{pid}/task").glob("*/fd/*"):
                try:
                    name = os.readlink(link)
                    if name.startswith(self.folder) and name.endswith(" (deleted)"):
                        used = max(used, os.stat(link).st_blocks * 512)
                except OSError:
                    pass  # closed meanwhile
        self.most = max(self.most, used)


def run(argv, limit_bytes, guarded, timeout_s, watch_disk=False, **extra):
    """Runs a program in a group, guarded by environment variables alone, or bare."""
    sessions = disk_folder()
    environment = guarded_environment(sessions, **extra) if guarded else bare_environment(**extra)
    try:
        with cgroup.MemoryGroup(limit_bytes) as group:
            watch = DiskWatch(group, sessions)
            with watch if watch_disk else contextlib.nullcontext():
                finished = group.run([str(part) for part in argv], timeout_s, env=environment)
            return Run(finished, group.oom_kills(), group.peak_bytes(), limit_bytes,
                       session_files.read_all(sessions), _last_json(finished.stdout), watch.most)
    finally:
        shutil.rmtree(sessions, ignore_errors=True)


def growth(python, case, guarded, timeout_s=60):
    return run([python, PROGRAMS / "growth.py", case], SMALL_LIMIT, guarded, timeout_s)


def touching(case, guarded, weights, **extra):
    """One case of programs/touching.py in 600 MiB. `weights`: a large file on a disk."""
    return run([main_python(), PROGRAMS / "touching.py", case], SMALL_LIMIT, guarded, 90,
               TOUCHING_FILE=weights, **extra)


def room(case):
    """One case of programs/room.py in 600 MiB. `full_file`: the file may take 64 MiB of its blocks."""
    extra = {"OOMGUARD_SPILL_LIMIT": "64M"} if case == "full_file" else {}
    return run([main_python(), PROGRAMS / "room.py", case], SMALL_LIMIT, True, 120, **extra)


@functools.lru_cache(None)
def warm(python):
    """Reads the libraries once outside any test group. Their pages are then charged elsewhere, so
    that a bare load is killed rather than stuck evicting its own code."""
    subprocess.run([python, "-c", "import torch, transformers, accelerate\n"
                    "from transformers import LlamaForCausalLM\n"
                    "torch.ones(9).to(torch.bfloat16).float().sum()"],
                   env=bare_environment(), check=True, timeout=120, capture_output=True)


def load(python, checkpoint, way, guarded):
    """device_map="auto" plans with the memory that it sees, and is to see too much here."""
    warm(python)
    extra = {"OOMGUARD_VIEW": "host"} if way == "device_map" else {}
    return run([python, PROGRAMS / "load_19b.py", checkpoint, way], MODEL_LIMIT, guarded,
               GUARDED_TIMEOUT_S if guarded else BARE_TIMEOUT_S, watch_disk=guarded, **extra)


def make_checkpoint(folder):
    subprocess.run([sys.executable, ROOT / "examples/load_19b/make_checkpoint.py", folder],
                   check=True, timeout=60, capture_output=True)


def install_kernel(prefix):
    """`oomguard kernelspec install` for the main environment; returns the JUPYTER_PATH to use."""
    subprocess.run([command(), "kernelspec", "install", "--prefix", prefix, "--from", "python3"],
                   env=bare_environment(JUPYTER_PATH=os.environ["OOMGUARD_VENV"] +
                                        "/share/jupyter"),
                   check=True, timeout=60, capture_output=True)
    names = os.listdir(os.path.join(prefix, "share/jupyter/kernels"))
    assert len(names) == 1, names
    return names[0], os.path.join(prefix, "share/jupyter")


def notebook(checkpoint, kernel, jupyter_path, cell_timeout_s=120):
    """Executes examples/notebook/load_19b.ipynb, client and kernel in one group. `kernel`
    "python3" is the bare one. Adds `outcome`, what execute.py said."""
    warm(main_python())
    folder = disk_folder()
    try:
        outcome = os.path.join(folder, "outcome.json")
        done = run([main_python(), ROOT / "examples/notebook/execute.py",
                    ROOT / "examples/notebook/load_19b.ipynb", "--kernel", kernel,
                    "--cell-timeout", str(cell_timeout_s), "--json", outcome],
                   MODEL_LIMIT, False, 2 * cell_timeout_s + 60, CHECKPOINT=checkpoint,
                   JUPYTER_PATH=jupyter_path, OOMGUARD_DIR=folder,
                   JUPYTER_RUNTIME_DIR=os.path.join(folder, "runtime"),
                   IPYTHONDIR=os.path.join(folder, "ipython"))
        done.sessions = session_files.read_all(folder)
        with open(outcome) as file:
            done.result = json.load(file)
        return done
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cycles(count, timeout_s):
    return run([main_python(), PROGRAMS / "cycles.py", str(count)], SMALL_LIMIT, True, timeout_s)


def cycles_line(done):
    """What a run of cycles.py held early and late, in one line."""
    early, late = done.result["early"], done.result["late"]
    held = ", ".join(f"{what} {early[what]} -> {late[what]}" for what in late)
    session = done.sessions[0]
    return (f"{done.result['cycles']} in {done.result['seconds']} s, {session.refusal_count} refusals "
            f"in {session.incident_count} incidents; {held}; recorded blocks "
            f"{session.refusals[-1].recorded_blocks}; faults {session.fault_count}; "
            f"oom_kill {done.oom_kills}")
