"""The first process of a guest: makes a writable root, mounts what programs expect, runs one program
and switches the machine off.

    python init.py SETTINGS.json      (machine.py writes it)

Uses system calls alone, so the machine that lends its root needs no tool for loading modules.
"""
import ctypes
import json
import os
import subprocess
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
SYS_FINIT_MODULE = 313  # x86-64
RB_POWER_OFF = 0x4321FEDC
SYSLOG_ACTION_READ_ALL = 3
NEW_ROOT = "/mnt/root"


def check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def mount(source, target, kind, flags=0, options=""):
    os.makedirs(target, exist_ok=True)
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()),
          f"mount {kind} at {target}")


def load(path):
    with open(path, "rb") as module:
        check(libc.syscall(SYS_FINIT_MODULE, module.fileno(), b"", 0), f"load {path}")


def make_root(settings):
    mount("proc", "/proc", "proc")
    mount("writable", "/mnt", "tmpfs", 0, "size=60%")
    for folder in ("upper", "work", "root"):
        os.mkdir("/mnt/" + folder)
    for module in settings["modules"]:
        load(module)
    mount("overlay", NEW_ROOT, "overlay", 0, "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work")
    mount("proc", NEW_ROOT + "/proc", "proc")
    mount("sys", NEW_ROOT + "/sys", "sysfs")
    mount("dev", NEW_ROOT + "/dev", "devtmpfs")
    mount("shm", NEW_ROOT + "/dev/shm", "tmpfs")
    mount("run", NEW_ROOT + "/run", "tmpfs")
    if not os.path.exists(NEW_ROOT + "/dev/fd"):
        os.symlink("/proc/self/fd", NEW_ROOT + "/dev/fd")
    mount("cgroup2", NEW_ROOT + "/sys/fs/cgroup", "cgroup2", 0, "memory_recursiveprot")
    with open(NEW_ROOT + "/sys/fs/cgroup/cgroup.subtree_control", "w") as control:
        control.write("+memory")
    kind, source, options = settings["results"]
    mount(source, NEW_ROOT + "/results", kind, 0, options)
    if settings["disk"]:
        mount(settings["disk"], NEW_ROOT + "/disk", "ext4")


def run(settings):
    os.chroot(NEW_ROOT)
    os.chdir("/")
    environment = dict(settings["environment"], VM_RESULTS="/results")
    with open("/results/log", "wb") as log:
        return subprocess.run(settings["argv"], stdin=subprocess.DEVNULL, stdout=log,
                              stderr=subprocess.STDOUT, env=environment).returncode


def kernel_messages():
    text = ctypes.create_string_buffer(1 << 18)
    size = libc.klogctl(SYSLOG_ACTION_READ_ALL, text, len(text))
    return text.raw[:max(size, 0)]


def main():
    with open(sys.argv[1]) as file:
        settings = json.load(file)
    try:
        make_root(settings)
        status = run(settings)
        with open("/results/dmesg", "wb") as file:
            file.write(kernel_messages())
        with open("/results/done", "w") as file:
            file.write(str(status))
    except Exception as error:  # the console is all there is
        print(f"guest: {error!r}", file=sys.stderr, flush=True)
    os.sync()
    libc.reboot(RB_POWER_OFF)
    time.sleep(60)


main()
