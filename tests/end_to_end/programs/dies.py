"""Ends in one of the ways in which a program ends that nobody wanted to end so.

    python dies.py WAY
"""
import ctypes
import os
import sys
import time

MIB = 1 << 20
held = []


def grow():
    """Slowly enough to be looked at."""
    while True:
        held.append(b"x" * (2 * MIB + len(held)))
        time.sleep(0.002)


def wait():
    print("ready", flush=True)
    time.sleep(120)


def refused():
    held.append(bytes(1 << 45))


def rust_abort():
    """Rust's allocator aborts where memory is refused."""
    import polars
    polars.zeros(1 << 45, eager=True)


WAYS = {"grow": grow, "wait": wait, "refused": refused,
        "segmentation_fault": lambda: ctypes.string_at(0), "abort": os.abort,
        "rust_abort": rust_abort,
        "sys_exit": lambda: sys.exit(3), "os_exit": lambda: os._exit(4),
        "exec": lambda: os.execv("/bin/sh", ["/bin/sh", "-c", "exit 5"])}
WAYS[sys.argv[1]]()
