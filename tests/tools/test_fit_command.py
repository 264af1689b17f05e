"""`oomguard fit`: what it prints of a checkpoint."""

import json
import struct
import tempfile
import zipfile

import pytest


def write_safetensors(path, tensors):
    """A sparse file; `tensors` are names with their number of bfloat16 elements."""
    header, offset = {}, 0
    for name, elements in tensors.items():
        end = offset + 2 * elements
        header[name] = {"dtype": "BF16", "shape": [elements // 1024, 1024], "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


@pytest.fixture
def model(tmp_path):
    """8 GiB of bfloat16, on a few blocks of the disk."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    write_safetensors(folder / "model.safetensors",
                      {f"model.layers.{i}.mlp.weight": 1 << 29 for i in range(8)})
    return folder


def test_the_table_and_the_call_to_paste(tool, model):
    result = tool("fit", model, "--limit", "6G")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "4.3 B parameters, 8.0 GiB on disk in 1 file" in lines[1]
    (as_stored,) = [line for line in lines if line.startswith("dtype=torch.bfloat16 ")]
    assert as_stored.split()[1:] == ["5,", "4", "~0.00", "~8.0", "fits,", "reads", "~8.0"]
    (converted,) = [line for line in lines if line.startswith("dtype=torch.float32 ")]
    assert converted.endswith("short ~10.4")
    assert lines[-1].strip() == (
        'model = LlamaForCausalLM.from_pretrained("%s", '
        "quantization_config=BitsAndBytesConfig(load_in_8bit=True))" % model
    )
    assert all(len(line) <= 100 for line in lines[2:-1]), result.stdout


def test_json_has_every_way_in_bytes(tool, model):
    result = tool("fit", model, "--limit", "40G", "--gpu", "24G,24G", "--json")
    page = json.loads(result.stdout)
    assert page["schema"] == "oomguard.fit/1"
    assert page["parameters"] == 1 << 32
    assert page["left_bytes"] == 40 << 30
    assert page["gpu_left_bytes"] == [24 << 30, 24 << 30]
    best = page["ways"][page["best"]["way"]]
    assert (best["device_map"], best["dtype"], best["verdict"]) == ("cuda", None, "fits")
    for way in page["ways"]:
        assert way["verdict"] in ("fits", "reads-again", "does-not-fit")
        assert len(way["gpu_bytes"]) == 2


def test_without_a_limit_it_is_what_the_kernel_leaves(tool, model):
    left = json.loads(tool("fit", model, "--json").stdout)["left_bytes"]
    limit = json.loads(tool("limits", "--json").stdout)["left_bytes"]
    assert abs(left - limit) < 1 << 30  # other programs run


def test_training_is_another_table(tool, model):
    result = tool("fit", model, "--limit", "40G", "--train", "adamw")
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("dtype=torch.bfloat16")]
    assert row.split()[-2:] == ["~8.0", "fits"] and "~32.0" in row


@pytest.mark.parametrize("arguments, named", [
    (["--limit", "much"], "--limit"), (["--gpu", "24"  "X"], "--gpu"), (["--train", "sgd"], "--train")])
def test_a_bad_value_is_named(tool, model, arguments, named):
    result = tool("fit", model, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert named in result.stderr and "accepted" in result.stderr


def test_what_is_no_checkpoint_is_one_line(tool, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 99) + b"{")
    for path, why in ((tmp_path / "x.safetensors", "does not fit into the file"),
                      (tmp_path / "none", "No such file"), (tmp_path, "does not fit into the file")):
        result = tool("fit", path)
        assert (result.returncode, result.stdout) == (1, "")
        assert why in result.stderr and result.stderr.count("\n") == 1


def test_a_pickle_that_is_not_torchs_is_of_unknown_dtype_and_not_executed(tool, tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/ran'\ntR.")
        archive.writestr("m/data/0", bytes(64))
    result = tool("fit", path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "stored as unknown 64 bytes" in result.stdout and "mmap=True" in result.stdout
    assert not (tmp_path / "ran").exists()
    path.write_bytes(path.read_bytes()[:-30])
    assert "without its end (an unfinished download?)" in tool("fit", path).stderr
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/other", b"")
    assert "no data.pkl" in tool("fit", path).stderr


def test_absurd_sizes_stay_the_largest_number(tool):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # takes sparse files of any size
        for i in range(5):
            size = (1 << 61) - 1
            text = json.dumps({"w": {"dtype": "I8", "shape": [size], "data_offsets": [0, size]}}).encode()
            with open(f"{folder}/{i}.safetensors", "wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                file.truncate(8 + len(text) + size)
        result = tool("fit", folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "stored as int8" in result.stdout.splitlines()[1]
    assert " -" not in result.stdout


def test_a_pipeline_shows_its_components(tool, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps(
        {"_class_name": "LTX2Pipeline", "transformer": ["diffusers", "T"], "vae": ["diffusers", "V"]}))
    for name, elements in (("transformer", 1 << 32), ("vae", 1 << 30)):
        (tmp_path / name).mkdir()
        write_safetensors(tmp_path / name / "diffusion_pytorch_model.safetensors", {"w": elements})
    result = tool("fit", tmp_path, "--limit", "32G", "--gpu", "9G")
    assert (result.returncode, result.stderr) == (0, "")
    assert "  transformer: 4.3 B parameters, bfloat16 8.0 GiB" in result.stdout
    assert result.stdout.splitlines()[-1].strip() == "pipe.enable_model_cpu_offload()"
    assert "not there" not in result.stdout


def test_a_component_that_is_missing_is_named_and_a_variant_that_fits_is_the_call(tool, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps(
        {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"],
         "safety_checker": [None, None]}))
    (tmp_path / "unet").mkdir()
    for ending, elements in (("safetensors", 1 << 33), ("fp16.safetensors", 1 << 32)):
        write_safetensors(tmp_path / "unet" / f"diffusion_pytorch_model.{ending}", {"w": elements})
    result = tool("fit", tmp_path, "--limit", "12G")
    assert (result.returncode, result.stderr) == (0, "")
    assert "  Named in model_index.json, and not there: vae\n" in result.stdout
    call = f'pipe = StableDiffusionPipeline.from_pretrained("{tmp_path}", torch_dtype=torch.bfloat16, variant="fp16")'
    assert result.stdout.splitlines()[-1].strip() == call, result.stdout
    page = json.loads(tool("fit", tmp_path, "--limit", "12G", "--json").stdout)
    assert page["missing"] == ["vae"]
    assert [way["variant"] for way in page["ways"]] == [None, None, None, "fp16"]
    assert page["ways"][page["best"]["way"]]["variant"] == "fp16"


def test_a_model_of_the_hubs_cache_is_found_by_its_name(tool, model, tmp_path):
    cached = tmp_path / "hub" / "models--org--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("1f2e")
    (cached / "snapshots").mkdir()
    model.rename(cached / "snapshots" / "1f2e")
    result = tool("fit", "org/name", "--limit", "6G", env={"HF_HOME": str(tmp_path)})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(str(cached / "snapshots" / "1f2e"))
    (cached / "refs" / "main").write_text("../../..")
    result = tool("fit", "org/name", env={"HF_HOME": str(tmp_path)})
    assert result.returncode == 1 and "org/name: No such file" in result.stderr
