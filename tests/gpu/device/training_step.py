"""Times the steps of a small training: the median, in microseconds."""
import statistics
import time

import torch
from filling import finish

WARM_UP, STEPS = 30, 200


def main():
    torch.manual_seed(1)
    layer = torch.nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.randn(32, 256, 512, device="cuda")
    times = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(batch).square().mean().backward()
        optimizer.step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    finish(microseconds=statistics.median(times[WARM_UP:]) * 1e6)


main()
