"""A real Linux kernel as an ordinary process: User Mode Linux, with cgroup v2.

One CPU, no PSI; computing runs at native speed, page faults are about ten times slower. Needs no
root here; inside, everything is root's.
"""
import os
import pathlib
import shutil
import subprocess

import machine
import packages

MIB = 1 << 20
MODULES = ("fs/overlayfs/overlay.ko", "mm/zsmalloc.ko", "drivers/block/zram/zram.ko")


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


def _registers_library(folder):
    """What lets it start on processors with wide registers; empty where there is no compiler."""
    library = folder / "uml_registers.so"
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-Wall", "-Wextra",
                        "-Werror", "-D_GNU_SOURCE", "-o", library,
                        pathlib.Path(__file__).with_name("uml_registers.c")], check=True,
                       timeout=60, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    return str(library)


def run(argv, memory_bytes, timeout_s, environment):
    """As machine.run."""
    program, modules = kernel()

    def start(folder, init, results, disk):
        words = [program, f"mem={memory_bytes // MIB}M", "rootfstype=hostfs", "rootflags=/", "ro",
                 f"init={init}", "con=null", "con0=null,fd:2", "quiet", "loglevel=3"]
        if disk:
            words.append(f"ubd0={disk}")
        return machine.Start(words, {"TMPDIR": _memory_folder(memory_bytes),
                                     "LD_PRELOAD": _registers_library(folder)},
                             {"modules": [str(modules / name) for name in MODULES],
                              "results": ["hostfs", str(results), str(results)],
                              "disk": "/dev/ubda" if disk else ""})

    return machine.run(start, argv, timeout_s, environment)
