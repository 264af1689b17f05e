"""Memory that fills right after a fork, in one call into C each: nobody comes to a slow path."""
import ctypes
import mmap
import os
import sys
import time

MIB = 1 << 20
libc = ctypes.CDLL(None)
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def private(size):
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return area, ctypes.addressof(ctypes.c_char.from_buffer(area))


def fill_parent():
    """The parent of a waiting child fills what was granted before."""
    area, start = private(400 * MIB)
    more, next_start = private(400 * MIB)
    if os.fork() == 0:
        libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG
        time.sleep(30)
        os._exit(0)
    libc.memset(start, 1, 400 * MIB)
    libc.memset(next_start, 1, 400 * MIB)


def copy_child():
    """The child writes to what it shares with its parent: no process's own counters grow."""
    area, start = private(400 * MIB)
    libc.memset(start, 1, 400 * MIB)
    child = os.fork()
    if child == 0:
        libc.memset(start, 2, 400 * MIB)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("child", os.waitstatus_to_exitcode(status), area[0], area[399 * MIB])


CASES = {"fill_parent": fill_parent, "copy_child": copy_child}

if __name__ == "__main__":
    print("begins", flush=True)
    CASES[sys.argv[1]]()
    print("survives")
