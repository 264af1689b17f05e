"""What a program is told of the card, after it took BYTES (the first argument)."""
import ctypes
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "device"))

from driver import Driver  # noqa: E402
from nvml import Card  # noqa: E402


def main():
    driver = Driver()
    driver.allocate(int(sys.argv[1]))
    total = ctypes.c_size_t()
    driver.call("cuDeviceTotalMem_v2", ctypes.byref(total), 0)
    # The second is NVML's number of the card that is CUDA's first.
    card = Card(int(sys.argv[2]))
    print("cuda", driver.free_bytes(), total.value)
    print("nvml", *card.memory()[:2])


main()
