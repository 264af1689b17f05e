"""The budget of GPU memory in whole programs, on the fake driver: a process, and a tree of them."""
import json
import shutil
import subprocess
import sys

import pytest

import fake_driver
from fake_driver import GIB, MIB

# Takes blocks of a size until there are no more, or so many; prints how many it got and what it was
# answered last.
TAKE = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
size, most = int(sys.argv[1]), int(sys.argv[2])
context, address = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
taken = status = 0
while taken < most and status == 0:
    status = cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
    taken += status == 0
free, total = ctypes.c_size_t(), ctypes.c_size_t()
assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
print(taken, status, free.value >> 20, total.value >> 20, flush=True)
"""


@pytest.fixture
def take(tmp_path):
    script = tmp_path / "take.py"
    script.write_text(TAKE)

    def run(size, most, **variables):
        ended = fake_driver.run([sys.executable, script, size, most], True, tmp_path / "dir",
                                **variables)
        assert ended.status == 0, ended
        return [int(number) for number in ended.out.split()]

    run.script = script
    run.folder = tmp_path / "dir"
    return run


def test_a_size(take):
    assert take(256 * MIB, 99, OOMGUARD_GPU_BUDGET="1G") == [4, 2, 0, 1024]


def test_a_share_of_the_card(take):
    assert take(GIB, 99, OOMGUARD_GPU_BUDGET="50%", FAKE_CUDA_DEVICES="8G")[:2] == [4, 2]


def test_one_for_each_card(take):
    assert take(256 * MIB, 9, OOMGUARD_GPU_BUDGET="0=512M,1=1G",
                FAKE_CUDA_DEVICES="8G,8G") == [2, 2, 0, 512]
    assert take(256 * MIB, 9, OOMGUARD_GPU_BUDGET="1=512M", FAKE_CUDA_DEVICES="8G,8G")[0] == 9


def test_auto_is_what_the_card_has_free(take):
    taken = take(64 * MIB, 99, FAKE_CUDA_DEVICES="4G", FAKE_CUDA_OTHERS="0:4242:3G")
    assert taken[:2] == [15, 2]


def test_the_view_may_be_the_hosts(take):
    assert take(256 * MIB, 1, OOMGUARD_GPU_BUDGET="1G", OOMGUARD_VIEW="host",
                FAKE_CUDA_DEVICES="8G") == [1, 0, 7936, 8192]


def test_switched_off_it_is_the_drivers_alone(take):
    assert take(GIB, 99, OOMGUARD="0", OOMGUARD_GPU_BUDGET="1G",
                FAKE_CUDA_DEVICES="8G")[:2] == [8, 2]


def test_a_context_is_part_of_the_budget(take, tmp_path):
    assert take(256 * MIB, 99, OOMGUARD_GPU_BUDGET="1G", FAKE_CUDA_CONTEXT="300M",
                FAKE_CUDA_STATE=tmp_path / "state") == [2, 2, 212, 1024]


USED = TAKE + """
import threading, time
nvml = ctypes.CDLL("libnvidia-ml.so.1")
card, made = ctypes.c_void_p(), ctypes.c_void_p()
assert nvml.nvmlInit_v2() == 0
assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(card)) == 0
def show():
    memory = (ctypes.c_ulonglong * 3)()
    assert nvml.nvmlDeviceGetMemoryInfo(card, memory) == 0
    print(memory[2] >> 20)
show()
"""

CONTEXTS = USED + """
for _ in range(2):
    assert cuda.cuCtxCreate_v2(ctypes.byref(made), 0, 0) == 0
    show()
    assert cuda.cuCtxDestroy_v2(made) == 0
    assert cuda.cuCtxSetCurrent(context) == 0
    assert cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(1 << 20)) == 0
    assert cuda.cuMemFree_v2(address) == 0
    show()
assert cuda.cuCtxCreate_v2(ctypes.byref(made), 0, 0) == 0
assert cuda.cuDevicePrimaryCtxReset_v2(0) == 0
show()
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxDestroy_v2(made) == 0
assert cuda.cuDevicePrimaryCtxReset_v2(0) == 0
show()
"""


@pytest.mark.parametrize("named", [False, True])
def test_what_a_context_takes_ends_with_it(take, tmp_path, named):
    take.script.write_text(CONTEXTS)
    container = {} if named else {"FAKE_CUDA_CONTAINER": "1"}
    ended = fake_driver.run([sys.executable, take.script, MIB, 0], True, take.folder,
                            OOMGUARD_GPU_BUDGET="4G", FAKE_CUDA_CONTEXT="300M",
                            FAKE_CUDA_STATE=tmp_path / "state", **container)
    assert ended.status == 0, ended
    assert ended.lines[1:] == ["300", *["600", "300"] * 2, "300", "0"], ended


FREES = USED + """
other = threading.Thread(target=lambda: cuda.cuCtxCreate_v2(ctypes.byref(made), 0, 0))
other.start()
time.sleep(0.1)
assert cuda.cuMemFree_v2(address) == 0
other.join()
show()
"""


def test_what_is_freed_while_the_card_is_asked_is_no_contexts(take, tmp_path):
    take.script.write_text(FREES)
    ended = fake_driver.run([sys.executable, take.script, 512 * MIB, 1], True, take.folder,
                            OOMGUARD_GPU_BUDGET="4G", FAKE_CUDA_CONTEXT="300M",
                            FAKE_CUDA_STATE=tmp_path / "state", FAKE_CUDA_TELLS_US="300000")
    assert ended.status == 0, ended
    assert ended.lines[1] == "812"
    assert int(ended.lines[2]) <= 600, ended


NVML = TAKE + """
class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]
class Memory2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint)] + [
        (name, ctypes.c_ulonglong) for name in ("total", "reserved", "free", "used")]
nvml = ctypes.CDLL("libnvidia-ml.so.1")
card = ctypes.c_void_p()
assert nvml.nvmlInit_v2() == 0
assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(card)) == 0
memory, memory2 = Memory(), Memory2(version=ctypes.sizeof(Memory2) | 2 << 24)
assert nvml.nvmlDeviceGetMemoryInfo(card, ctypes.byref(memory)) == 0
assert nvml.nvmlDeviceGetMemoryInfo_v2(card, ctypes.byref(memory2)) == 0
print(*(number >> 20 for number in (memory.total, memory.free, memory.used,
                                    memory2.total, memory2.free, memory2.used)))
"""


def test_the_management_library_shows_the_budget_too(take, tmp_path):
    take.script.write_text(NVML)
    variables = {"FAKE_CUDA_STATE": tmp_path / "state", "FAKE_CUDA_DEVICES": "8G"}
    assert take(256 * MIB, 1, OOMGUARD_GPU_BUDGET="1G",
                **variables)[4:] == [1024, 768, 256, 1024, 768, 256]
    assert take(256 * MIB, 1, OOMGUARD_GPU_BUDGET="1G", OOMGUARD_VIEW="host",
                **variables)[4:] == [8192, 7936, 256, 8192, 7936, 256]


OTHER_LIBRARY = USED + """
def place():
    return ctypes.cast(nvml.nvmlDeviceGetMemoryInfo, ctypes.c_void_p).value
hook = place()
nvml = ctypes.CDLL(sys.argv[3])
assert place() != hook
assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(card)) == 0
show()
"""


def test_another_library_with_such_functions_keeps_its_own(take, tmp_path):
    take.script.write_text(OTHER_LIBRARY)
    other = tmp_path / "other.so"
    shutil.copy(fake_driver.gpu_build() / "fake" / "libnvidia-ml.so.1", other)
    ended = fake_driver.run([sys.executable, take.script, MIB, 3, other], True, take.folder,
                            OOMGUARD_GPU_BUDGET="1G", FAKE_CUDA_STATE=tmp_path / "state",
                            FAKE_CUDA_OTHERS="0:4242:2G")
    assert ended.status == 0, ended
    assert ended.lines[1:] == ["3", str(2048 + 3)], ended


def test_a_report_goes_on_with_warn(take):
    assert take(256 * MIB, 8, OOMGUARD_GPU_BUDGET="1G", OOMGUARD_ON_LIMIT="warn")[:2] == [8, 0]


def test_the_report_has_cards_and_refusal(take):
    take(256 * MIB, 99, OOMGUARD_GPU_BUDGET="1G")
    command = fake_driver.build() / "bin" / "oomguard"
    if not command.exists():
        pytest.skip("the command was not built")
    done = subprocess.run([command, "report", "--last", "--format", "json", "--dir", take.folder],
                          capture_output=True, text=True, check=True, timeout=60)
    report = json.loads(done.stdout)
    [card] = report["session"]["gpus"]
    assert card["held_bytes"] == card["peak_bytes"] == card["by_account_bytes"]["device"] == GIB
    assert card["budget_bytes"] == GIB
    [refusal] = report["refusals"]
    assert refusal["outcome"] == "refused" and not refusal["recovered"]
    assert refusal["request"] == "gpu" and refusal["request_bytes"] == 256 * MIB
    assert [level["path"] for level in refusal["levels"]] == ["GPU 0"]


SURFACES = TAKE + """
for attempt in range(2):
    if cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(1 << 29)) == 2 and attempt == 1:
        raise RuntimeError("CUDA out of memory. Tried to allocate 512.00 MiB.")
"""


def test_the_exception_of_a_framework_has_the_report(take):
    take.script.write_text(SURFACES)
    ended = fake_driver.run([sys.executable, take.script, 256 * MIB, 3], True, take.folder,
                            OOMGUARD_GPU_BUDGET="1G")
    assert ended.status != 0
    assert "oomguard stopped this program at the limit on its GPU memory." in ended.err, ended
    assert "Asked for 0.5 GiB of GPU memory" in ended.err
    assert "limit 1.0 GiB (GPU 0)" in ended.err
    assert "Held:  this process 0.8 GiB (largest blocks 0.3, 0.3, 0.3 GiB" in ended.err


RECOVERS = TAKE + """
keep = address.value
assert cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(1 << 29)) == 2
assert cuda.cuMemFree_v2(ctypes.c_uint64(keep)) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(1 << 29)) == 0
raise RuntimeError("CUDA out of memory, but of something else.")
"""


def test_what_recovered_is_blamed_for_nothing(take):
    take.script.write_text(RECOVERS)
    ended = fake_driver.run([sys.executable, take.script, 768 * MIB, 1], True, take.folder,
                            OOMGUARD_GPU_BUDGET="1G")
    assert "but of something else" in ended.err
    assert "oomguard" not in ended.err, ended


# The parent holds some, then three children take the rest at once, one with other cards in view.
TREE = """
import os, runpy, subprocess, sys
script = sys.argv[3]
runpy.run_path(sys.argv[4])
children = [subprocess.Popen([sys.executable, script, sys.argv[1], "99"], text=True,
                             stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                             env={**os.environ, "CUDA_VISIBLE_DEVICES": cards})
            for cards in ("0", "0,1", "0")]
for child in children:
    print(child.stdout.readline(), end="")
for child in children:
    child.communicate()
"""


def test_a_process_tree_shares_its_budget(take, tmp_path):
    waiting = tmp_path / "waiting.py"
    waiting.write_text(TAKE + "sys.stdin.read()\n")
    tree = tmp_path / "tree.py"
    tree.write_text(TREE)
    ended = fake_driver.run([sys.executable, tree, 64 * MIB, 4, waiting, take.script], True,
                            take.folder, OOMGUARD_GPU_BUDGET="1G", FAKE_CUDA_DEVICES="8G,8G",
                            FAKE_CUDA_STATE=tmp_path / "state")
    assert ended.status == 0, ended
    parent, *children = [line.split() for line in ended.lines]
    assert parent[:2] == ["4", "0"]
    assert [answer for _, answer, _, _ in children] == ["2", "2", "2"], ended
    # Two that are refused by each other's requests may leave one block.
    assert 10 <= sum(int(taken) for taken, *_ in children) <= 12, ended
