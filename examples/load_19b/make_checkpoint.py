#!/usr/bin/env python3
"""Makes a checkpoint of 19.1 billion parameters that takes about 100 KB of disk.

The eight .safetensors shards are sparse: a real header, then a hole as long as the weights, which
reads as zeros. To the loader it is an ordinary Llama checkpoint in bfloat16 (38.2 GB), so it needs
and fails for memory exactly as a real one does, with nothing to download. Standard library only.

    python3 make_checkpoint.py FOLDER
    AutoModelForCausalLM.from_pretrained("FOLDER", dtype=torch.float32)
"""
import argparse
import json
import math
import os
import struct

SHARDS = 8
BYTES_PER_PARAMETER = 2  # bfloat16

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "initializer_range": 0.02,
    "intermediate_size": 13824,
    "max_position_embeddings": 4096,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 40,
    "num_hidden_layers": 59,
    "num_key_value_heads": 40,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 38400,
}


def tensors(config):
    """Yields (name, shape) of every weight of a Llama model, in the order of its layers."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    key_value = head * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "self_attn.q_proj.weight", (hidden, hidden)
        yield prefix + "self_attn.k_proj.weight", (key_value, hidden)
        yield prefix + "self_attn.v_proj.weight", (key_value, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, hidden)
        yield prefix + "mlp.gate_proj.weight", (inner, hidden)
        yield prefix + "mlp.up_proj.weight", (inner, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, inner)
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (config["vocab_size"], hidden)


def split(all_tensors, total_bytes, shards):
    """Cuts the list into `shards` runs of about equal size."""
    runs, current, taken = [], [], 0
    for name, shape in all_tensors:
        current.append((name, shape))
        taken += math.prod(shape) * BYTES_PER_PARAMETER
        if taken >= total_bytes * (len(runs) + 1) / shards:
            runs.append(current)
            current = []
    if current:
        runs.append(current)
    return runs


def write_shard(path, run):
    """Writes the header of one shard and leaves its data a hole."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in run:
        end = offset + math.prod(shape) * BYTES_PER_PARAMETER
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as shard:
        shard.write(struct.pack("<Q", len(text)) + text)
        shard.truncate(8 + len(text) + offset)


def make(folder):
    """Makes the checkpoint in `folder` and returns its number of parameters."""
    os.makedirs(folder, exist_ok=True)
    every = list(tensors(CONFIG))
    parameters = sum(math.prod(shape) for _, shape in every)
    total = parameters * BYTES_PER_PARAMETER
    runs = split(every, total, SHARDS)
    weight_map = {}
    for number, run in enumerate(runs, 1):
        name = f"model-{number:05d}-of-{len(runs):05d}.safetensors"
        write_shard(os.path.join(folder, name), run)
        weight_map.update((tensor, name) for tensor, _ in run)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as index:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, index, indent=1)
    with open(os.path.join(folder, "config.json"), "w") as config:
        json.dump(CONFIG, config, indent=1)
    return parameters


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    parameters = make(folder)
    print(f"{folder}: {parameters / 1e9:.1f} B parameters, "
          f"{parameters * BYTES_PER_PARAMETER / 1e9:.1f} GB of bfloat16, sparse")


if __name__ == "__main__":
    main()
