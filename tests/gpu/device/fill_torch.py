"""Fills the card by PyTorch, with the allocator that PYTORCH_CUDA_ALLOC_CONF chooses."""
import torch
from filling import fill


def main():
    fill(lambda size: torch.empty(size, dtype=torch.uint8, device="cuda"),
         lambda error: isinstance(error, torch.OutOfMemoryError), torch.cuda.empty_cache,
         lambda blocks: sum(int(block.fill_(1).sum(dtype=torch.int64)) for block in blocks))


main()
