"""The variables of a namespace with what they hold; and other kernels of the same user."""
import os
import subprocess
import sys

import pytest

SURVEY = """
import oomguard, sys
MiB = 1 << 20
def survey(names, **options):
    found, unfinished = oomguard._load("variables").survey(names, **options)
    return {one.name: one for one in found}, unfinished
def sizes(**names):
    return {name: round(one.held() / MiB, 1) for name, one in survey(names)[0].items()}
"""


def test_plain_objects_and_containers(script):
    run = script(
        SURVEY
        + "one = bytearray(3 * MiB)\n"
        "print(sizes(text='x' * (5 * MiB), data=bytes(2 * MiB), number=7))\n"
        "print(sizes(rows=[bytearray(MiB) for _ in range(20)], same=[one] * 100_000))\n"
        "print(sizes(nested={'a': ({'b': [bytearray(MiB)]}, bytearray(MiB)), 2: {bytes(MiB)}}))\n"
        "import collections\n"
        "print(sizes(q=collections.deque(bytearray(MiB) for _ in range(9)),\n"
        "            d=collections.OrderedDict(a=bytearray(MiB)), c=collections.Counter()))\n"
    )
    assert run.out.splitlines() == [
        "{'text': 5.0, 'data': 2.0, 'number': 0.0}",
        "{'rows': 20.0, 'same': 3.8}",
        "{'nested': 3.0}",
        "{'q': 9.0, 'd': 1.0, 'c': 0.0}",
    ], run


def test_what_two_names_hold_is_counted_with_the_first(script):
    run = script(
        SURVEY
        + "big = bytearray(8 * MiB)\n"
        "found, _ = survey({'big': big, 'again': big, 'holder': [big, bytearray(2 * MiB)]})\n"
        "for one in found.values():\n"
        "    print(one.name, one.bytes // MiB, one.shared // MiB, one.shared_with)\n"
    )
    lines = ["holder 2 8 big", "big 8 0 ", "again 0 8 big"]
    assert sorted(run.out.splitlines()) == sorted(lines), run


def test_objects_are_looked_into_without_their_own_code(script):
    run = script(
        SURVEY + "class Trap(type):\n"
        "    def __getattribute__(self, name): print('touched', name); raise MemoryError\n"
        "class Model(metaclass=Trap):\n"
        "    def __init__(self): self.weights = bytearray(4 * MiB)\n"
        "    def __getattribute__(self, name): print('touched', name); raise MemoryError\n"
        "    __len__ = __sizeof__ = __iter__ = __bool__ = __eq__ = __hash__ = \\\n"
        "        lambda self, *_: print('touched')\n"
        "    @property\n"
        "    def __class__(self): print('touched class')\n"
        "class Rows(list):\n"
        "    def __len__(self): print('touched rows')\n"
        "    __iter__ = __getitem__ = __sizeof__ = __len__\n"
        "rows = Rows(); list.extend(rows, [bytearray(MiB), bytearray(MiB)])\n"
        "model = object.__new__(Model); object.__getattribute__(model, '__init__')()\n"
        "class Slots:\n"
        "    __slots__ = ['a']\n"
        "slots = Slots(); slots.a = bytearray(MiB)\n"
        "others = dict(module=sys, function=sizes, kind=Model)\n"
        "print(sizes(model=model, rows=rows, slots=slots, **others))\n"
    )
    assert run.out == "{'model': 4.0, 'rows': 2.0, 'slots': 1.0}\n", run


def test_of_large_containers_some_elements_stand_for_all(script):
    run = script(
        SURVEY + "rows = [bytes(1000) for _ in range(100_000)]\n"
        "table = {i: [bytes(500), bytes(500)] for i in range(30_000)}\n"
        "found, unfinished = survey({'rows': rows, 'table': table}, seconds=30)\n"
        "real = 100_000 * (sys.getsizeof(rows[0]) + 8), 30_000 * (2 * 533 + 28 + 72)\n"
        "for one, size in zip((found['rows'], found['table']), real):\n"
        "    print(one.estimated, 0.8 < one.bytes / size < 1.2)\n"
        "print(unfinished)\n"
    )
    assert run.out == "True True\nTrue True\n0\n", run


def test_time_and_objects_are_bounded(script):
    run = script(
        SURVEY + "names = {'a': [[i] for i in range(1000)], 'big': bytearray(9 * MiB)}\n"
        "found, unfinished = survey(names, seconds=0)\n"
        "print(unfinished)\n"
        "found, unfinished = survey(names, most_objects=100)\n"
        "print(unfinished, found['big'].bytes // MiB)\n"
    )
    assert run.out == "2\n1 9\n", run


def test_arrays_and_views(script, python, tmp_path):
    if subprocess.run([python, "-c", "import numpy"], capture_output=True, timeout=60).returncode:
        pytest.skip("no numpy")
    run = script(
        SURVEY + "import numpy as np\n"
        "a = np.ones(MiB)\n"
        "lone = np.ones(MiB)[:10]\n"
        "texts = np.array([bytes(MiB), bytes(MiB)], dtype=object)\n"
        "mapped = np.memmap('weights', np.uint8, 'w+', shape=(5 * MiB,))\n"
        "wide = np.broadcast_to(np.ones(4), (MiB, 4))\n"
        "found, _ = survey(dict(a=a, half=a[::2], lone=lone, texts=texts, mapped=mapped,\n"
        "                       wide=wide, both=(a, a[1:]),\n"
        "                       joined=np.frombuffer(bytes(3 * MiB))))\n"
        "for one in found.values():\n"
        "    print(one.name, one.type, *[round(size / MiB) for size in\n"
        "          (one.bytes, one.shared, one.file_bytes)], one.shared_with)\n"
    )
    assert sorted(run.out.splitlines()) == sorted(
        [
            "a ndarray 8 0 0 ",
            "half ndarray 0 4 0 a",
            "lone ndarray 8 0 0 ",
            "texts ndarray 2 0 0 ",
            "mapped memmap 0 0 5 ",
            "wide ndarray 0 0 0 ",
            "both tuple 0 8 0 a",
            "joined ndarray 3 0 0 ",
        ]
    ), run


TORCH = """
import torch
weight = torch.ones(2 * MiB)
model = torch.nn.Linear(1024, 1024)
model(torch.ones(1024)).sum().backward()
found, _ = survey(dict(weight=weight, rows=weight.view(2, -1)[1], model=model,
                       tied=[weight, weight], array=weight.numpy(),
                       skeleton=torch.empty(1 << 40, device='meta'),
                       state={'a': torch.ones(MiB), 'b': torch.ones(MiB)}))
for one in found.values():
    print(one.name, round(one.bytes / MiB), round(one.shared / MiB), one.shared_with)
"""


def test_tensors_by_their_storage(notebook_python, guarded, tmp_path):
    if subprocess.run([notebook_python, "-c", "import torch"], timeout=120).returncode:
        pytest.skip("no torch")
    (tmp_path / "program.py").write_text(SURVEY + TORCH)
    run = guarded(notebook_python, tmp_path / "program.py")
    assert sorted(run.out.splitlines()) == sorted(
        [
            "weight 8 0 ",
            "rows 0 4 weight",
            "model 8 0 ",  # and its gradients
            "tied 0 8 weight",
            "skeleton 0 0 ",
            "array 0 8 weight",
            "state 8 0 ",
        ]
    ), run


PANDAS = """
import numpy as np, pandas as pd
raw = np.ones((MiB, 2))
words = ['x' * 100 + str(i) for i in range(50_000)]
found, _ = survey(dict(raw=raw, df=pd.DataFrame({'a': np.ones(MiB), 'b': np.arange(MiB)}),
                       column=pd.Series(np.ones(MiB), index=np.arange(MiB) * 2),
                       words=pd.DataFrame({'w': pd.Series(words, dtype=object)}),
                       frame_of_raw=pd.DataFrame(raw, copy=False)))
for one in found.values():
    print(one.name, one.type, round(one.bytes / MiB), round(one.shared / MiB), one.shared_with)
"""


def test_frames(other_notebook_python, guarded, tmp_path):
    found = subprocess.run([other_notebook_python, "-c", "import pandas"], capture_output=True,
                           timeout=120)
    if found.returncode:
        pytest.skip("no pandas")
    (tmp_path / "program.py").write_text(SURVEY + PANDAS)
    run = guarded(other_notebook_python, tmp_path / "program.py")
    assert sorted(run.out.splitlines()) == sorted(
        [
            "raw ndarray 16 0 ",
            "df DataFrame 16 0 ",
            "column Series 16 0 ",
            "words DataFrame 7 0 ",
            "frame_of_raw DataFrame 0 16 raw",
        ]
    ), run


def test_other_kernels_have_their_notebooks_name(script, tmp_path):
    """A process that looks like a kernel, one that it forked, and one of this process's own."""
    source = (
        "import os, sys, time\n"
        "held = bytearray(b'x') * (20 << 20)\n"
        "forked = os.fork()\n"
        "if forked: print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    (tmp_path / "kernel.py").write_text(source)
    environment = dict(os.environ, JPY_SESSION_NAME="/home/me/eda.ipynb")
    environment.pop("LD_PRELOAD", None)
    arguments = [sys.executable, tmp_path / "kernel.py", "ipykernel_launcher", "-f", "k.json"]
    with subprocess.Popen([str(one) for one in arguments], env=environment, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as kernel:
        kernel.stdout.readline()
        run = script(
            "import oomguard, time\n"
            "kernels = oomguard._load('kernels')\n"
            "found = kernels.others()\n"
            "found = [one for one in found if one.pid == %d or one.name == 'eda.ipynb']\n"
            "kernels.look_idle(found, time.monotonic())\n"
            "for one in found:\n"
            "    print(one.pid, one.name, one.bytes >> 20 >= 20, one.same_limit, one.idle)\n"
            "print(oomguard._load('magics').name_kernels('held: x, %%s %d 21 MiB'\n"
            "      %% found[0].process_name()))\n" % (kernel.pid, kernel.pid)
        )
        kernel.stdin.close()
    said = "%d eda.ipynb True True True\nheld: x, eda.ipynb (idle) 21 MiB\n" % kernel.pid
    assert run.out == said, run
