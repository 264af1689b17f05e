"""A cell that loads a model shows memory against the limit in one line, which is updated in place."""
import cgroup
import pytest
from kernels import Kernel

PREPARE = """
import time, torch
class Part:
    def __reduce__(self):
        return rebuild, ()
def rebuild():
    time.sleep(0.4 if len(held) > 6 else 0)  # half of the limit is in use then
    held.append(b'x' * (40 << 20))
held = []
torch.save([Part() for _ in range(16)], 'parts.pt')
"""


@pytest.fixture
def kernel(disk):
    kernel = Kernel(disk, cgroup.GIB)
    kernel.run(f"import os; os.chdir({disk!r})" + PREPARE)
    yield kernel
    kernel.end()


def lines_about_loading(text):
    return [line for line in text.splitlines() if "emory while loading: " in line]


def test_a_load_shows_its_progress_and_other_growth_does_not(kernel):
    told = lines_about_loading(kernel.run("torch.load('parts.pt', weights_only=False); len(held)"))
    assert len(told) > 2, told
    assert all(line.startswith("Memory while loading: ██") for line in told[:-1]), told
    assert told[-1].startswith("Most memory while loading: ██"), told
    assert all(line.endswith(" of 1.0 GiB") for line in told), told
    kernel.run("held.clear()")
    assert lines_about_loading(kernel.run("for _ in range(14): rebuild()")) == []
