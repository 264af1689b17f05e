"""A real Linux kernel as an ordinary process: User Mode Linux, with cgroup v2.

One CPU, no PSI; computing runs at native speed, page faults are about ten times slower. The guest's
root is this machine's root, read-only, below an overlay in the guest's memory; files that the
guest's program leaves in the results folder stay. Needs no root here; inside, everything is root's.
"""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import packages

GUEST = pathlib.Path(__file__).resolve().parent / "guest"
MIB = 1 << 20


@dataclasses.dataclass
class Outcome:
    """What a guest left: one dictionary for each case, and its texts."""
    cases: dict
    log: str       # standard output and error of the guest's programs
    kernel: str    # the kernel's own messages
    console: str
    finished: bool

    def case(self, name):
        assert name in self.cases, (
            f"the guest did not come to {name!r}\n--- log\n{self.log[-3000:]}\n--- kernel\n"
            f"{self.kernel[-3000:]}\n--- console\n{self.console[-2000:]}")
        return self.cases[name]


def kernel():
    """(program, folder of its modules). Raises packages.Unavailable."""
    tree = packages.unpacked("user-mode-linux")
    modules, = (tree / "usr/lib/uml/modules").glob("*/kernel")
    return tree / "usr/bin/linux.uml", modules


def _memory_folder(wanted):
    """Where the guest's memory may lie: faster in memory; a small /dev/shm will not do."""
    for folder in ("/dev/shm", "/var/tmp"):
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > wanted:
            return folder
    raise packages.Unavailable("neither /dev/shm nor /var/tmp has room for the guest's memory")


def _disk(folder, size):
    """A sparse file with an ext4 file system, or None where there is no mkfs."""
    mkfs = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:" + os.environ.get("PATH", ""))
    if mkfs is None:
        return None
    image = os.path.join(folder, "disk.img")
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run([mkfs, "-q", "-F", "-O", "^has_journal", image], check=True, timeout=60,
                   capture_output=True)
    return image


def _text(path):
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _outcome(results):
    cases = {}
    for line in _text(results / "cases.jsonl").splitlines():
        try:
            one = json.loads(line)
        except json.JSONDecodeError:
            break  # the machine died while it wrote
        cases[one["case"]] = one
    return Outcome(cases, _text(results / "log"), _text(results / "dmesg"),
                   _text(results / "console"), (results / "done").exists())


def run(argv, memory_bytes, timeout_s, environment, disk_bytes=1 << 30):
    """Boots a machine, runs one program in it, and gives back what that left in $VM_RESULTS.

    An ext4 disk is mounted at /disk ($VM_DISK, empty where none could be made).
    """
    program, modules = kernel()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="oomguard-vm-", dir="/var/tmp"))
    try:
        results = folder / "results"
        results.mkdir()
        disk = _disk(str(folder), disk_bytes)
        settings = {"argv": [str(part) for part in argv], "modules": str(modules),
                    "results": str(results), "disk": disk is not None,
                    "environment": dict(environment, VM_DISK="/disk" if disk else "")}
        (folder / "settings.json").write_text(json.dumps(settings))
        init = folder / "init"
        init.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S '{GUEST / 'init.py'}' "
                        f"'{folder / 'settings.json'}'\n")
        init.chmod(0o755)
        words = [program, f"mem={memory_bytes // MIB}M", "rootfstype=hostfs", "rootflags=/", "ro",
                 f"init={init}", "con=null", "con0=null,fd:2", "quiet", "loglevel=3"]
        if disk:
            words.append(f"ubd0={disk}")
        with open(results / "console", "wb") as console:
            machine = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console,
                                       stderr=console, start_new_session=True,
                                       env=dict(os.environ, TMPDIR=_memory_folder(memory_bytes)))
            try:
                machine.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(machine.pid, 9)
                machine.wait()
        return _outcome(results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
