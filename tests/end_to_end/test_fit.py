"""What `oomguard fit` predicts, against real loads of real models.

Every case is the text of arguments that the command gives, executed. OOMGUARD_TEST_FIT=all loads every
model in every way that runs without a GPU and prints the table of docs/fit.md.
"""
import json
import os
import pathlib
import subprocess

import pytest

import cgroup
import harness

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
CLASSES = {"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel", "t5": "T5ForConditionalGeneration",
           "bert": "BertModel", "mixtral": "MixtralForCausalLM"}
MODELS = ("llama-bf16-shards", "gpt2-f32-bin", "mixtral-bf16-safetensors")
ALL_MODELS = MODELS + ("llama-bf16-safetensors", "llama-f32-safetensors", "llama-bf16-bin",
                       "gpt2-f32-safetensors", "t5-f32-safetensors", "bert-f32-safetensors",
                       "mixtral-bf16-shards")
SHORT = {"transformers-5": {"llama-bf16-shards": None, "gpt2-f32-bin": ("float16",),
                            "mixtral-bf16-safetensors": (None, "float16")},
         "transformers-4": {"llama-bf16-shards": (None, "float32"), "gpt2-f32-bin": ("float16",)}}
LIMIT = 620 << 20  # what fit plans for: part of llama as float32 goes to the disk
MIB = 1 << 20


def is_long():
    return os.environ.get("OOMGUARD_TEST_FIT") == "all"


@pytest.fixture(scope="module")
def models():
    """A folder with the models; their pages are counted for this process's group, not for a test's."""
    folder = harness.disk_folder()
    names = ALL_MODELS if is_long() else MODELS
    try:
        subprocess.run([harness.main_python(), PROGRAMS / "make_models.py", folder, *names], check=True,
                       stdout=subprocess.DEVNULL, timeout=300, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        yield {name: os.path.join(folder, name) for name in names}
    finally:
        import shutil
        shutil.rmtree(folder)


def fit(folder):
    done = subprocess.run([os.path.join(os.environ["OOMGUARD_BUILD"], "bin/oomguard"), "fit", folder, "--json",
                           "--limit", str(LIMIT)], stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(done.stdout)["ways"]


def cases(models, library):
    for name, folder in models.items():
        dtypes = None if is_long() else SHORT[library].get(name, ())
        for way in fit(folder):
            if way["library"] != library or way["bits"] is not None:
                continue  # what quantizes is not installed
            if name.startswith("t5") and way["low_cpu_mem_usage"]:
                continue  # tied embeddings are made anew (docs/fit.md)
            if dtypes is None or way["dtype"] in dtypes and way["mapped"]:
                yield name, folder, way


def load(python, models, library):
    """[(name, way, measured)], all loaded by one process after the other in one group."""
    found = list(cases(models, library))
    lines = [json.dumps([folder, CLASSES[name.split("-")[0]], way["arguments"]])
             for name, folder, way in found]
    with cgroup.MemoryGroup(6 << 30) as group:
        process = group.start([python, PROGRAMS / "load_models.py"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              cwd=os.path.dirname(found[0][1]), env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            answers, _ = process.communicate("\n".join(lines) + "\n", timeout=250 if not is_long() else 900)
        finally:
            process.kill()
    answers = [json.loads(line) for line in answers.splitlines()]
    assert len(answers) == len(found), answers
    return [(name, way, answer) for (name, _, way), answer in zip(found, answers)]


def is_near(predicted, measured):
    return abs(predicted - measured) <= max(64 * MIB, measured / 10)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("library", ("transformers-5", "transformers-4"))
def test_a_real_load_takes_what_is_predicted(models, library):
    python = harness.main_python() if library == "transformers-5" else harness.transformers4_python()
    if python is None:
        pytest.skip("no environment with transformers 4")
    wrong = []
    for name, way, measured in load(python, models, library):
        arguments = way["arguments"]
        assert "error" not in measured, (name, arguments, measured)
        line = "| %s | `%s` | %d | %d | %d | %d |" % (
            name, arguments, way["anonymous_bytes"] // MIB, measured["anonymous"] // MIB,
            way["mapped_bytes"] // MIB, measured["mapped"] // MIB)
        if is_long():
            harness.figures.append(line)
        if not is_near(way["anonymous_bytes"], measured["anonymous"]):
            wrong.append(line)
        # Of a load with a device map only what is not on the disk is read here.
        elif way["device_map"] == "cpu" and not is_near(way["mapped_bytes"], measured["mapped"]):
            wrong.append(line)
    assert not wrong, "\n".join(["model, arguments, own memory predicted and measured, mapped", *wrong])
