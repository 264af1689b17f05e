"""Makes small real models of several shapes in FOLDER, with transformers' own classes.

    make_models.py FOLDER NAME...

A NAME is SHAPE-DTYPE-FORMAT, such as llama-bf16-shards: the shapes are in SHAPES; the formats are
safetensors, shards (several files of safetensors) and bin (torch.save).
"""
import json
import os
import sys

import torch
import transformers as t

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def shapes():
    yield "llama", t.LlamaForCausalLM, t.LlamaConfig(
        vocab_size=8000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=6,
        num_attention_heads=16, num_key_value_heads=16)
    yield "gpt2", t.GPT2LMHeadModel, t.GPT2Config(
        vocab_size=30000, n_embd=768, n_layer=8, n_head=12, n_positions=512)
    yield "t5", t.T5ForConditionalGeneration, t.T5Config(
        vocab_size=16000, d_model=768, d_ff=3072, d_kv=64, num_layers=5, num_heads=12)
    yield "bert", t.BertModel, t.BertConfig(
        vocab_size=30000, hidden_size=768, intermediate_size=3072, num_hidden_layers=10,
        num_attention_heads=12)
    yield "mixtral", t.MixtralForCausalLM, t.MixtralConfig(
        vocab_size=8000, hidden_size=768, intermediate_size=1536, num_hidden_layers=4,
        num_attention_heads=12, num_key_value_heads=4, num_local_experts=8,
        max_position_embeddings=2048)


def save_bin(model, folder):
    """As save_pretrained did before safetensors: a key for each name of a shared tensor."""
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), os.path.join(folder, "pytorch_model.bin"))


def main():
    folder, names = sys.argv[1], sys.argv[2:]
    for shape, model_class, config in shapes():
        wanted = [name for name in names if name.split("-")[0] == shape]
        for name in wanted:
            _, dtype, kind = name.split("-")
            path = os.path.join(folder, name)
            os.makedirs(path)
            torch.manual_seed(0)
            config.dtype = None
            model = model_class(config).to(DTYPES[dtype])
            model.config.dtype = DTYPES[dtype]
            model.config.architectures = [model_class.__name__]
            if kind == "bin":
                save_bin(model, path)
            else:
                model.save_pretrained(path, max_shard_size="40MB" if kind == "shards" else "10GB")
    print(json.dumps(names))


main()
