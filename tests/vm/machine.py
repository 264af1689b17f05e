"""What the guests have in common: one program is run in a machine that is booted for it, and what
it leaves in the results folder is given back.

The guest's root is this machine's root, read-only, below an overlay in the guest's memory
(guest/init.py makes it). A module for each kind of machine says how it is started (uml.py,
qemu.py).
"""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

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


@dataclasses.dataclass
class Start:
    """How a kind of machine is started. `settings` are what guest/init.py has to know of it."""
    words: list
    environment: dict
    settings: dict


def _disk(folder, size):
    """A sparse file with an ext4 file system, or None where there is no mkfs."""
    mkfs = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:" + os.environ.get("PATH", ""))
    if mkfs is None:
        return None
    image = folder / "disk.img"
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


def _write_init(folder):
    """The program that the kernel starts: guest/init.py with its settings."""
    init = folder / "init"
    init.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S '{GUEST / 'init.py'}' "
                    f"'{folder / 'settings.json'}'\n")
    init.chmod(0o755)
    return init


def run(start, argv, timeout_s, environment, disk_bytes=1 << 30):
    """Boots a machine, runs one program in it, and gives back what that left in $VM_RESULTS.

    `start(folder, init, results, disk)` gives a Start. An ext4 disk is mounted at /disk ($VM_DISK,
    empty where none could be made).
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="oomguard-vm-", dir="/var/tmp"))
    try:
        results = folder / "results"
        results.mkdir()
        disk = _disk(folder, disk_bytes)
        started = start(folder, _write_init(folder), results, disk)
        settings = dict(started.settings, argv=[str(part) for part in argv],
                        environment=dict(environment, VM_DISK="/disk" if disk else ""))
        (folder / "settings.json").write_text(json.dumps(settings))
        with open(results / "console", "wb") as console:
            guest = subprocess.Popen([str(word) for word in started.words],
                                     stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                     start_new_session=True,
                                     env=dict(os.environ, **started.environment))
            try:
                guest.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(guest.pid, 9)
                guest.wait()
        return _outcome(results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
