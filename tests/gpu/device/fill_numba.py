"""Fills the card by Numba."""
import numpy
from filling import fill
from numba import cuda


def main():
    fill(lambda size: cuda.device_array(size, dtype=numpy.uint8),
         lambda error: "OUT_OF_MEMORY" in str(error).upper().replace(" ", "_"),
         lambda: cuda.current_context().deallocations.clear(),
         lambda blocks: sum(_whole(block) for block in blocks))


def _whole(block):
    block[-1:].copy_to_device(numpy.ones(1, dtype=numpy.uint8))
    return block.size if block[-1:].copy_to_host()[0] == 1 else 0


main()
