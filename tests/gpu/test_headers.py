"""What the shim's lists of driver functions say, held against the toolkit's headers."""
import re
import shutil

import driver_list
import pytest

GPU = driver_list.ROOT / "shim" / "gpu"


@pytest.fixture(scope="module")
def headers():
    folder = driver_list.include_folder()
    if folder is None:
        pytest.skip("CMake found no CUDA toolkit: there are no headers to compare the lists with")
    return folder


@pytest.fixture(scope="module")
def declarations(headers):
    found = driver_list.declared(headers / "cuda.h")
    assert len(found) > 400
    return found


def unlisted(declarations, folder=GPU):
    listed = {hook.symbol for hook in driver_list.hooks(folder)} | driver_list.ignored(folder)
    return driver_list.to_be_listed(declarations) - listed


def test_every_function_that_takes_memory_is_hooked_or_left_alone_with_a_reason(declarations):
    assert sorted(unlisted(declarations)) == []


@pytest.mark.parametrize("symbol", ["cuMemCreate", "cuMemAllocAsync_ptsz", "cuIpcOpenMemHandle_v2"])
def test_a_function_that_stands_in_no_list_is_named(declarations, tmp_path, symbol):
    for name in ("driver.def", "ignored.def"):
        shutil.copy(GPU / name, tmp_path / name)
        lines = (tmp_path / name).read_text().splitlines()
        kept = [line for line in lines if not re.search(rf"\b{symbol}[,)]", line)]
        (tmp_path / name).write_text("\n".join(kept) + "\n")
    assert unlisted(declarations, tmp_path) == {symbol}


@pytest.mark.parametrize("declaration, named", [
    ("CUresult cuMemAlloc_v3(CUdeviceptr *out, size_t bytes, unsigned long long flags);", True),
    ("CUresult cuTensorMemoryMake(CUtensor t, CUmemGenericAllocationHandle *handle);", True),
    ("CUresult cuCtxCreate_v5(CUcontext *out, CUdevice device);", True),
    ("CUresult cuMemcpyBatchAsync_v3(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t count);", False),
    ("CUresult cuTexRefGetArray_v2(CUarray *out, CUtexref from);", False),
    ("CUresult cuEventCreate_v2(CUevent *out, unsigned flags);", False),
])
def test_what_a_new_toolkit_adds_is_named(tmp_path, declaration, named):
    (tmp_path / "cuda.h").write_text(declaration)
    found = unlisted(driver_list.declared(tmp_path / "cuda.h"))
    assert bool(found) is named


def test_the_hooks_are_the_forms_that_the_headers_name(headers, declarations):
    typedefs = driver_list.typedefs(headers / "cudaTypedefs.h")
    toolkit = int(re.search(r"#define CUDA_VERSION (\d+)", (headers / "cuda.h").read_text())[1])
    hooks = [hook for hook in driver_list.hooks() if hook.version <= toolkit]
    assert [hook for hook in hooks if hook.symbol not in declarations] == []
    assert [hook for hook in hooks
            if (hook.name, hook.version, hook.per_thread) not in typedefs] == []


def test_both_stream_flavours_are_hooked(declarations):
    symbols = {hook.symbol for hook in driver_list.hooks()}
    assert [symbol for symbol in symbols
            if symbol + "_ptsz" in declarations and symbol + "_ptsz" not in symbols] == []


def test_no_function_is_both_hooked_and_ignored():
    hooked = [hook.symbol for hook in driver_list.hooks()]
    assert len(hooked) == len(set(hooked))
    assert driver_list.ignored() & set(hooked) == set()
