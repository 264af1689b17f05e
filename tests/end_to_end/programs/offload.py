"""Loads a small Llama as float32, and runs one token through it.

    python offload.py make FOLDER    bfloat16 weights, as safetensors and (in FOLDER/bin) as torch saves them
    python offload.py auto FOLDER    device_map="auto", with an offload folder
    python offload.py bin FOLDER     the same of torch's file, without an offload folder

The last line is JSON: where the layers are, and the token's largest logits, or the exception.
"""
import json
import os
import shutil
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: E402


def make(folder):
    config = LlamaConfig(hidden_size=1024, intermediate_size=2816, num_hidden_layers=12,
                         num_attention_heads=16, vocab_size=8192)
    torch.manual_seed(1)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    os.mkdir(folder + "/bin")
    shutil.copy(folder + "/config.json", folder + "/bin")
    torch.save(model.state_dict(), folder + "/bin/pytorch_model.bin")
    return run(model.to(torch.float32))


def run(model):
    with torch.inference_mode():
        best = model(torch.tensor([[7]])).logits[0, -1].topk(5)
    return {"tokens": best.indices.tolist(), "logits": best.values.tolist()}


def load(folder, **options):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="auto", **options)
    return {"devices": sorted({str(device) for device in model.hf_device_map.values()}), **run(model)}


def main():
    way, folder = sys.argv[1:]
    try:
        if way == "make":
            result = make(folder)
        elif way == "auto":
            result = load(folder, offload_folder=folder + "/offloaded")
        else:
            result = load(folder + "/bin")
    except Exception as error:
        result = {"exception": type(error).__name__, "text": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
