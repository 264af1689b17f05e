"""Page-locked memory of PyTorch: the host's budget refuses it."""
import torch
from filling import finish

GIB = 1 << 30


def main():
    torch.ones(1, device="cuda")
    exception, own, kept = None, False, []
    try:
        while len(kept) < 64:
            kept.append(torch.empty(GIB // 2, dtype=torch.uint8, pin_memory=True))
    except RuntimeError as error:  # torch.AcceleratorError is one
        exception, own = type(error).__name__, "out of memory" in str(error)
    taken = len(kept) * GIB // 2
    kept.clear()
    torch.cuda.synchronize()
    again = torch.ones(GIB // 4, dtype=torch.uint8, pin_memory=True).to("cuda", non_blocking=True)
    finish(exception=exception, own=own, taken=taken,
           reused=int(again.sum(dtype=torch.int64)) == GIB // 4)


main()
