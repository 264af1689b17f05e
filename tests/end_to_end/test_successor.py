"""What a kernel tells of the one that it replaces: a death, once; of a wanted end, nothing."""
import json
import os
import pathlib
import subprocess
import time

import harness
import pytest
import session_files

LOAD = "def load(token='hf_0123456789abcdefgh'):\n    return b'x' * (1 << 20)"
FILL_IN_C = """import ctypes, mmap
area = mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # no reserve
ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(area)), 1, 4 << 30)
"""
GROW = "held = []\n\n\n\nwhile True: held.append(load())"


@pytest.fixture
def kernel(start_kernel, request):
    kernel = start_kernel(JPY_SESSION_NAME="work/train.ipynb", **getattr(request, "param", {}))
    kernel.manager.shutdown_wait_time = 2
    return kernel


def wait_for_death(kernel):
    end = time.monotonic() + 60
    while kernel.manager.is_alive():
        assert time.monotonic() < end, "it lives"
        time.sleep(0.05)


def tells_nothing(kernel):
    assert kernel.run("1 + 1") == "2"


@pytest.mark.parametrize("kernel", [{"OOMGUARD_ON_LIMIT": "warn"}], indirect=True)
def test_a_death_is_told_with_the_next_kernels_first_cell_and_once(kernel):
    tells_nothing(kernel)
    kernel.restart(now=False)
    tells_nothing(kernel)

    kernel.run("import os")
    kernel.client.execute("os.kill(os.getpid(), 9)")
    wait_for_death(kernel)
    kernel.restart(now=True)
    told = kernel.run("1 + 1")
    assert told.startswith("The previous kernel of train.ipynb died at "), told
    assert " in cell [3].\nIt crashed, or somebody killed it" in told, told
    assert told.splitlines()[-1] == "2" and "\nMore: oomguard report " in told, told
    assert "Memory" not in told and "Largest" not in told, told
    tells_nothing(kernel)

    kernel.client.execute("import time; time.sleep(600)")
    kernel.restart(now=False)  # it is busy, or about to be: killed after a while
    tells_nothing(kernel)

    kernel.run(LOAD)
    kernel.client.execute(GROW)
    wait_for_death(kernel)
    assert kernel.group.oom_kills() == 1
    kernel.restart(now=True)
    told = kernel.run("1 + 1")
    assert " in cell [3], line 5.\n" in told, told
    assert "ut of memory: container limit 600 MiB" in told, told
    assert "\n      1  held = []\n" in told, told
    assert "\n-->   5  while True: held.append(load())\nAt: cell [2] line 2 load\n" in told, told
    assert "\nLargest: cell [2] line 2 " in told, told
    assert "Not prevented because only reports were asked for" in told, told
    assert "Its variables are lost; files are untouched." in told, told
    tells_nothing(kernel)


@pytest.mark.alone
def test_ends_that_somebody_wanted_tell_nothing_and_one_by_oomguard_says_why(kernel):
    kernel.client.execute("import time; time.sleep(600)")
    kernel.manager.interrupt_kernel()
    kernel.restart(now=False)
    tells_nothing(kernel)

    kernel.client.execute("import os; os.execv('/bin/true', ['true'])")
    wait_for_death(kernel)
    kernel.restart(now=True)
    tells_nothing(kernel)

    kernel.client.execute(FILL_IN_C)
    wait_for_death(kernel)
    assert kernel.group.oom_kills() == 0
    kernel.restart(now=True)
    told = kernel.run("1 + 1")
    assert told.startswith("The previous kernel of train.ipynb was ended by oomguard at "), told
    assert "oomguard ended it before the kernel would have killed it for want of memory" in told, told
    assert "no exception could be raised in time" in told and "      2  area = mmap" in told, told
    tells_nothing(kernel)


@pytest.mark.parametrize("kernel", [{"OOMGUARD_ON_LIMIT": "exit"}], indirect=True)
def test_an_end_at_the_limit_that_was_asked_for_is_told_as_one(kernel):
    kernel.client.execute("held = bytearray(1 << 30)")
    wait_for_death(kernel)
    kernel.restart(now=True)
    told = kernel.run("1 + 1")
    assert told.startswith("The previous kernel of train.ipynb was ended by oomguard at "), told
    assert ", as --on-limit exit asks for.\n" in told, told


def test_a_kernel_that_was_culled_is_nothing_to_explain(disk):
    folder = os.environ.get("OOMGUARD_VENV_LAB")
    if not folder:
        pytest.skip("OOMGUARD_VENV_LAB is not set: no server")
    done = subprocess.run(
        [folder + "/bin/python", harness.PROGRAMS / "culls.py", harness.library(), disk],
        env=harness.bare_environment(JUPYTER_RUNTIME_DIR=disk + "/runtime"), capture_output=True,
        text=True, timeout=200)
    assert done.returncode == 0 and json.loads(done.stdout) == ["True", "2"], done


def damaged(disk):
    """The file of the newest session, as another version of the library writes it."""
    path = max(pathlib.Path(disk).glob("sessions/*.flight"), key=lambda file: file.stat().st_mtime)
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(b"\x63")


def test_what_cannot_be_told_is_one_line_in_the_first_cell(kernel, disk):
    kernel.client.execute("import os; os.kill(os.getpid(), 9)")
    wait_for_death(kernel)
    damaged(disk)
    kernel.restart(now=True)
    told = kernel.run("1 + 1").split()
    assert " ".join(told).startswith("oomguard: why an earlier kernel ended cannot be told: /")
    assert " ".join(told).endswith(f" this one reads format {session_files.VERSION}) 2"), told
    tells_nothing(kernel)
