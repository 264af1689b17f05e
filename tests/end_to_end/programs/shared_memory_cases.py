"""Fills memory that is a file until it is refused, one way per run, and says how that went.

    python shared_memory_cases.py CASE FOLDER      (FOLDER on tmpfs)

Bare, the kernel kills inside the call that fills. Guarded, the call fails as it does on a full
tmpfs; then what was made is removed and as much memory is used again. Prints one JSON line.
"""
import ctypes
import json
import mmap
import os
import shutil
import sys
import tempfile
import time
from multiprocessing import shared_memory

try:
    import oomguard
except ImportError:
    oomguard = None

MIB = 1 << 20
PATH = os.path.join(*sys.argv[2:], "file")
libc = ctypes.CDLL(None, use_errno=True)
held = []


def memfd():
    held.append(os.memfd_create("oomguard-test"))
    return held[-1]


def check(status):
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def shared_memory_object():
    block = shared_memory.SharedMemory(create=True, size=900 * MIB)
    block.unlink()
    block.buf[:] = bytes(1) * len(block.buf)


def shared_memory_pieces():
    """Each of them fits."""
    while True:
        block = shared_memory.SharedMemory(create=True, size=40 * MIB)
        held.append(block)
        block.unlink()
        block.buf[:] = b"s" * len(block.buf)


def map_anonymous_shared():
    area = mmap.mmap(-1, 900 * MIB)
    area[:] = bytes(1) * len(area)


def map_sparse_file():
    """A file that got its size by one byte at its end, as numpy's memmap makes it."""
    with open(PATH, "wb+") as file:
        file.seek(900 * MIB - 1)
        file.write(b"\0")
        file.flush()
        area = mmap.mmap(file.fileno(), 900 * MIB)
        for offset in range(0, len(area), mmap.PAGESIZE):
            area[offset] = 1


def write_large():
    block = b"w" * (200 * MIB)
    with open(PATH, "wb") as file:
        for _ in range(4):
            file.write(block)


def write_small():
    """Through Python's buffer, in turns with writes that go elsewhere."""
    null, line = os.open("/dev/null", os.O_WRONLY), b"l" * 1024
    with open(PATH, "wb") as file:
        for _ in range(900 * 1024):
            file.write(line)
            os.write(null, line)


def append_small():
    fd, block = os.open(PATH, os.O_WRONLY | os.O_CREAT | os.O_APPEND), b"a" * 4096
    for _ in range(900 * 256):
        os.write(fd, block)


def write_vectors():
    fd, parts = memfd(), [b"v" * (MIB // 2)] * 2
    for _ in range(900):
        os.writev(fd, parts)


def write_at_offsets():
    fd, block = memfd(), b"p" * MIB
    for number in range(900):
        os.pwrite(fd, block, number * MIB)


def allocate_file():
    os.posix_fallocate(memfd(), 0, 900 * MIB)


def allocate_raw():
    check(libc.fallocate64(ctypes.c_int(memfd()), 0, ctypes.c_int64(0), ctypes.c_int64(900 * MIB)))


def source_file():
    """900 MiB on a disk that take no room there."""
    fd, path = tempfile.mkstemp(prefix="oomguard-test-", dir="/var/tmp")
    os.unlink(path)
    os.truncate(fd, 900 * MIB)
    return fd


def send_file():
    source, target = source_file(), memfd()
    while os.sendfile(target, source, None, 100 * MIB):
        pass


def copy_file():
    """shutil uses sendfile or copy_file_range."""
    source = source_file()
    shutil.copyfile("/proc/self/fd/%d" % source, PATH)


def splice_pipe():
    source, target = source_file(), memfd()
    back, front = os.pipe()
    splice = libc.splice
    splice.restype = ctypes.c_ssize_t
    while True:
        if splice(source, None, front, None, ctypes.c_size_t(65536), 0) <= 0:
            return
        moved = splice(back, None, target, None, ctypes.c_size_t(65536), 0)
        if moved < 0:
            check(moved)


def write_stream():
    """libc's own stream, whose writes come from inside libc."""
    fopen, fwrite = libc.fopen, libc.fwrite
    fopen.restype, fwrite.restype = ctypes.c_void_p, ctypes.c_size_t
    stream, block = ctypes.c_void_p(fopen(PATH.encode(), b"wb")), b"f" * MIB
    for _ in range(900):
        if fwrite(block, ctypes.c_size_t(1), ctypes.c_size_t(MIB), stream) != MIB:
            error = ctypes.get_errno()
            assert libc.ferror(stream), "the stream does not remember"
            libc.fclose(stream)
            raise OSError(error, os.strerror(error))


def numpy_save():
    array = numpy.ones(50 * MIB // 8)
    for number in range(18):
        numpy.save(PATH + str(number), array)


def numpy_memmap():
    array = numpy.memmap(PATH, dtype=numpy.uint8, mode="w+", shape=(900 * MIB,))
    array[:] = 1


def torch_shared(strategy):
    torch.multiprocessing.set_sharing_strategy(strategy)
    while True:
        held.append(torch.zeros(40 * MIB, dtype=torch.uint8).share_memory_())


def torch_file_descriptor():
    torch_shared("file_descriptor")


def torch_file_system():
    torch_shared("file_system")


def private_area(size, flags=0):
    address = mapped(None, size, mmap.PROT_READ | mmap.PROT_WRITE,
                     mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags)
    return address


def mapped(hint, size, protection, flags):
    call = libc.mmap64
    call.restype = ctypes.c_void_p
    address = call(hint, ctypes.c_size_t(size), protection, flags, -1, ctypes.c_int64(0))
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return address


NORESERVE, POPULATE, POPULATE_WRITE = 0x4000, 0x8000, 23


def advise_populate():
    """Three parts of what was reserved; two of them fit."""
    address = private_area(900 * MIB, NORESERVE)
    for part in range(3):
        check(libc.madvise(ctypes.c_void_p(address + part * 300 * MIB),
                           ctypes.c_size_t(300 * MIB), POPULATE_WRITE))


def populate_shared():
    area = mmap.mmap(-1, 500 * MIB)
    held.append(area)
    held.append(bytearray(b"x") * (300 * MIB))
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    check(libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(500 * MIB), POPULATE_WRITE))


def map_populated():
    while True:
        private_area(100 * MIB, NORESERVE | POPULATE)


def lock_memory():
    for part in range(9):
        address = private_area(100 * MIB, NORESERVE)
        check(libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(100 * MIB)))


def lock_memory_2():
    address = private_area(900 * MIB, NORESERVE)
    check(libc.mlock2(ctypes.c_void_p(address), ctypes.c_size_t(900 * MIB), 0))


def lock_everything():
    private_area(900 * MIB, NORESERVE)
    check(libc.mlockall(1))


def lock_the_future():
    check(libc.mlockall(2))
    while True:
        private_area(100 * MIB, NORESERVE)


def protect_in_pieces():
    address = mapped(None, 2048 * MIB, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    for part in range(64):
        at = ctypes.c_void_p(address + part * 32 * MIB)
        check(libc.mprotect(at, ctypes.c_size_t(32 * MIB), mmap.PROT_READ | mmap.PROT_WRITE))
        ctypes.memset(at, 1, 32 * MIB)


CASES = {case.__name__: case for case in (
    shared_memory_object, shared_memory_pieces, map_anonymous_shared, map_sparse_file, write_large,
    write_small, append_small, write_vectors, write_at_offsets, allocate_file, allocate_raw,
    send_file, copy_file, splice_pipe, write_stream, numpy_save, numpy_memmap,
    torch_file_descriptor, torch_file_system, advise_populate, populate_shared, map_populated,
    lock_memory, lock_memory_2, lock_everything, lock_the_future, protect_in_pieces)}


def main():
    case = CASES[sys.argv[1]]
    try:
        case()
    except (MemoryError, OSError, RuntimeError) as error:
        at = time.monotonic()
        answer = {"exception": type(error).__name__, "errno": getattr(error, "errno", None),
                  "text": str(error), "at": at,
                  "is_refusal": oomguard.is_refusal(error) if oomguard else None}
    held.clear()
    with open(os.devnull, "wb") as null:
        answer["writes"] = null.write(b"o" * 100000)
    print(json.dumps(answer))


if __name__ == "__main__":
    if "numpy" in sys.argv[1]:
        import numpy
    if "torch" in sys.argv[1]:
        import torch
        import torch.multiprocessing
    main()
