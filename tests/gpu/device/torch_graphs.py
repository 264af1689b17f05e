"""CUDA graphs in PyTorch: one is captured and replayed, a second is refused while it is captured,
and the first works after that."""
import torch
from filling import finish

GIB = 1 << 30


def main():
    small = torch.ones(1 << 20, device="cuda")
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        doubled = small * 2
    graph.replay()
    exception, own, kept = None, False, []
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            while True:
                kept.append(torch.empty(GIB, dtype=torch.uint8, device="cuda"))
    except Exception as error:
        exception, own = type(error).__name__, isinstance(error, torch.OutOfMemoryError)
    taken = len(kept) * GIB
    kept.clear()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    small.fill_(3)
    graph.replay()
    finish(exception=exception, own=own, taken=taken, reused=float(doubled.sum()) == 6 * (1 << 20))


main()
