"""Memory that is a file, and calls that fill what is mapped: the kernel kills inside them at the limit.
Guarded, they fail as a full tmpfs does, and the program goes on."""
import errno
import os
import shutil
import sys
import tempfile

import pytest

import harness

sys.path.insert(0, str(harness.PROGRAMS))
import shared_memory_cases  # noqa: E402

# What the caller sees where it is not an OSError with ENOSPC.
NO_MEMORY = {"map_anonymous_shared", "map_sparse_file", "numpy_memmap", "advise_populate",
             "populate_shared", "map_populated", "lock_memory", "lock_memory_2", "lock_everything",
             "lock_the_future", "protect_in_pieces"}
IN_WORDS = {"numpy_save": "Not enough free space to write",
            "torch_file_descriptor": "No space left on device",
            "torch_file_system": "No space left on device"}
# Small pieces and memory that is filled later: the watchdog's exception may come first.
FILLED_LATER = ("write_small", "shared_memory_pieces", "torch_file_descriptor", "torch_file_system")


def is_of_a_dead_process(name):
    """torch names its shared memory torch_PID_…; a killed program cannot remove it."""
    parts = name.split("_")
    return parts[0] == "torch" and len(parts) > 2 and not os.path.exists("/proc/" + parts[1])


@pytest.fixture
def tmpfs():
    if not os.path.ismount("/dev/shm"):
        pytest.skip("/dev/shm is no file system of its own")
    folder = tempfile.mkdtemp(prefix="oomguard-test-", dir="/dev/shm")
    yield folder
    shutil.rmtree(folder)
    for name in filter(is_of_a_dead_process, os.listdir("/dev/shm")):
        os.unlink("/dev/shm/" + name)


def fill(case, folder, guarded):
    return harness.run([harness.main_python(), harness.PROGRAMS / "shared_memory_cases.py", case,
                        folder], harness.SMALL_LIMIT, guarded, timeout_s=60)


@pytest.mark.parametrize("case", shared_memory_cases.CASES)
def test_bare_program_is_killed(case, tmpfs):
    run = fill(case, tmpfs, guarded=False)
    assert run.finished.killed and run.oom_kills == 1, run


@pytest.mark.parametrize("case", shared_memory_cases.CASES)
def test_guarded_program_gets_the_error_of_that_call(case, tmpfs):
    run = fill(case, tmpfs, guarded=True)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["is_refusal"] and run.refusals >= 1, run
    if case in FILLED_LATER and "memory is running out" in run.result["text"]:
        assert run.result["exception"] == "MemoryError", run
    elif case in IN_WORDS:
        assert IN_WORDS[case] in run.result["text"], run
    else:
        expected = errno.ENOMEM if case in NO_MEMORY else errno.ENOSPC
        assert run.result["errno"] == expected, run
    assert run.reached >= 0.90, run
