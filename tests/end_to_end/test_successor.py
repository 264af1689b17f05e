"""What a kernel tells of the one that it replaces: a death, once; of a wanted end, nothing."""
import time

import cgroup
import pytest
from kernels import Kernel

LOAD = "def load(token='hf_0123456789abcdefgh'):\n    return b'x' * (1 << 20)"
GROW = "held = []\n\n\n\nwhile True: held.append(load())"


@pytest.fixture
def kernel(disk):
    reason = cgroup.why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    kernel = Kernel(disk, OOMGUARD_ON_LIMIT="warn", JPY_SESSION_NAME="work/train.ipynb")
    kernel.manager.shutdown_wait_time = 2
    yield kernel
    kernel.end()


def wait_for_death(kernel):
    end = time.monotonic() + 60
    while kernel.manager.is_alive():
        assert time.monotonic() < end, "it lives"
        time.sleep(0.05)


def tells_nothing(kernel):
    assert kernel.run("1 + 1") == "2"


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
