"""load_model.py FOLDER to|auto: loads the checkpoint of 19.1 billion parameters in bfloat16 onto
the card, whole or by device_map="auto"."""
import gc
import sys

import torch
from filling import finish
from transformers import AutoModelForCausalLM

GIB = 1 << 30


def load(folder, way):
    if way == "auto":
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16,
                                                    device_map="auto")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to("cuda")


def main():
    folder, way = sys.argv[1:]
    exception, own, devices = None, False, []
    try:
        model = load(folder, way)
        devices = sorted({str(parameter.device) for parameter in model.parameters()})
        taken = torch.cuda.memory_allocated()
        del model
    except Exception as error:
        exception, own = type(error).__name__, isinstance(error, torch.OutOfMemoryError)
        taken = 0
    gc.collect()
    torch.cuda.empty_cache()
    again = torch.ones(GIB, dtype=torch.uint8, device="cuda")
    finish(exception=exception, own=own, taken=taken, devices=devices,
           reused=int(again.sum(dtype=torch.int64)) == GIB)


main()
