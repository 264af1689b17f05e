"""The loop of every framework's part: fill the card until the framework's own exception, live on,
use the memory again. The last line is the result as JSON."""
import json
import time

GIB = 1 << 30
SMALLEST = 16 << 20


def fill(allocate, is_out_of_memory, let_go, use, block=GIB):
    """`allocate(bytes)` gives a block, `let_go()` gives cached memory back, `use(blocks)` computes
    with some and returns how many bytes it saw right."""
    kept = []
    exceptions = {}
    taken, size = 0, block
    while size >= SMALLEST:  # at the end in small steps, so that what is left is little
        try:
            kept.append(allocate(size))
            taken += size
        except Exception as error:  # each framework has its own
            exceptions[f"{type(error).__module__}.{type(error).__name__}"] = is_out_of_memory(error)
            size //= 4
    time.sleep(0.3)  # for whoever watches the card
    kept.clear()
    let_go()
    again = [allocate(block) for _ in range(min(4, taken // block))]
    reused = bool(again) and use(again) == len(again) * block
    finish(exception=" ".join(exceptions), own=all(exceptions.values()), taken=taken, reused=reused)


def finish(**result):
    print(json.dumps(result), flush=True)
