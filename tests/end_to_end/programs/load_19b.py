"""Loads the sparse checkpoint of examples/load_19b in one way and says how that went.

    python load_19b.py CHECKPOINT WAY

Prints one JSON line: `loaded`, or the exception and that a variable made before is intact.
"""
import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

WAYS = {
    "float32": {"dtype": torch.float32},
    "float16": {"dtype": torch.float16},
    "device_map": {"dtype": torch.float32, "device_map": "auto"},
    "offload": {"dtype": torch.float32, "device_map": "auto", "offload_folder": sys.argv[1] + "/offloaded"},
    "bfloat16": {"dtype": torch.bfloat16},
    "default": {},
    "v4_bfloat16": {"torch_dtype": torch.bfloat16},
    "v4_default": {},
}


def anonymous_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("RssAnon"))


def main():
    checkpoint, way = sys.argv[1:]
    kept = {"answer": list(range(1000))}
    result = {}
    try:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, **WAYS[way])
        parameters = list(model.parameters())
        result.update(loaded=True, billions=round(sum(p.numel() for p in parameters) / 1e9, 1),
                      dtype=str(parameters[0].dtype), device=str(parameters[-1].device),
                      devices=sorted({str(one) for one in getattr(model, "hf_device_map", {}).values()}))
    except BaseException as error:  # the third of an incident is no Exception: oomguard.MemoryLimit
        result.update(loaded=False, exception=type(error).__name__, text=str(error)[:300],
                      notes=list(getattr(error, "__notes__", ())))
    result.update(at=time.monotonic(), intact=kept == {"answer": list(range(1000))},
                  anonymous_mib=anonymous_mib())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
