"""audited.py TOLD: takes 64 MiB of the card, and says of TOLD bytes to the fake CUPTI."""
import ctypes
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "device"))

from driver import Driver  # noqa: E402

MEMORY2, ALLOCATION, DEVICE = 49, 1, 3


class Memory(ctypes.Structure):
    """CUpti_ActivityMemory4."""
    _pack_ = 8
    _fields_ = [("kind", ctypes.c_int), ("operation", ctypes.c_int), ("memory", ctypes.c_int),
                ("correlation", ctypes.c_uint), ("address", ctypes.c_uint64),
                ("bytes", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 14)]


def main():
    driver = Driver()
    address = driver.allocate(64 << 20)
    record = Memory(MEMORY2, ALLOCATION, DEVICE, 0, address, int(sys.argv[1]))
    ctypes.CDLL("libcupti.so.13").fake_cupti_record(ctypes.byref(record))


main()
