"""Fills the card by CuPy."""
import cupy
from filling import fill


def main():
    fill(lambda size: cupy.empty(size, dtype=cupy.uint8),
         lambda error: isinstance(error, cupy.cuda.memory.OutOfMemoryError),
         cupy.get_default_memory_pool().free_all_blocks,
         lambda blocks: sum(_ones(block) for block in blocks))


def _ones(block):
    block.fill(1)
    return int(block.sum(dtype=cupy.int64))


main()
