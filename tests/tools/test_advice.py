"""What a refused cell's report advises, in real kernels and with the real libraries."""

import os
import pathlib

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
from jupyter_client.kernelspec import KernelSpec  # noqa: E402


@pytest.fixture
def advised(library, environment, tmp_path):
    """Runs cells in a guarded kernel with a budget; the lines of advice of each."""

    def run(python, budget, *sources):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        client = nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=200, allow_errors=True,
                                         resources={"metadata": {"path": str(tmp_path)}})
        client.km = client.create_kernel_manager()
        client.km._kernel_spec = KernelSpec(
            argv=[python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], display_name="guarded",
            language="python")
        client.execute(env={**environment, "LD_PRELOAD": library, "OOMGUARD_BUDGET": budget,
                            "PATH": os.environ["PATH"]})
        texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]
        for text in texts:
            print(text)  # shown where the test fails
        return [[line for line in text.splitlines() if line.startswith("Try:")] for text in texts]

    return run


def main_python():
    venv = os.environ.get("OOMGUARD_VENV")
    if not venv:
        pytest.skip("OOMGUARD_VENV is not set: start through tests/run.sh")
    return venv + "/bin/python"


def notebook_python(package):
    for python in os.environ.get("OOMGUARD_NOTEBOOKS", "").split(":"):
        if list(pathlib.Path(python).parent.parent.glob(f"lib/python*/site-packages/{package}/__init__.py")):
            return python
    pytest.skip(f"no environment of OOMGUARD_NOTEBOOKS has {package}")


PREPARE = """
import numpy, torch
numpy.save("large.npy", numpy.zeros(40_000_000))
"""
PROMOTES = """
pixels = numpy.zeros((100, 1000, 1000), numpy.uint8)
scaled = pixels / 255.0
"""
ARRAYS = "rows = numpy.load('large.npy'); more = numpy.load('large.npy')"
GRAPHS = """
weight = torch.zeros(1 << 22, requires_grad=True)
losses = []
for _ in range(1000):
    losses.append((weight.exp() * 2).sin())
"""
EVAL = """
del losses, weight
model = torch.nn.Sequential(*[torch.nn.Linear(1 << 10, 1 << 10) for _ in range(20)]).eval()
model(torch.zeros(1 << 14, 1 << 10))
"""
LOADER = """
del model
class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return torch.ones(1 << 28)
for batch in torch.utils.data.DataLoader(Rows(), num_workers=1):
    pass
"""
DATASET = """
class Images(torch.utils.data.Dataset):
    def __init__(self):
        self.images = []
        for _ in range(1000):
            self.images.append(read())
def read():
    return numpy.ones((4, 1000, 1000))
Images()
"""
HISTORY = "Out[1] = numpy.ones(20_000_000)\nmore = bytearray(1 << 30)"
CAUSES = [  # cells, and what the advice begins with
    (PROMOTES, "pixels is uint8, and the result would be float64, 763 MiB: pixels.astype('float32')"),
    ("del pixels\n" + ARRAYS, "numpy.load(..., mmap_mode='r'): the array stays in its file of 305 MiB"),
    ("del rows\n" + GRAPHS, "losses holds "),
    (EVAL, "model is in eval mode, and what it computes is kept for gradients"),
    (LOADER, "DataLoader(num_workers=1): each worker gets its own copy"),
    (HISTORY, "Out holds 153 MiB of results that cells showed: %reset -f out"),
    ("del Out[1]\n" + DATASET, "Images holds "),
    ("bytearray(1 << 30)", None),
]


def test_each_cause_gets_its_line_and_an_unknown_one_none(advised):
    first, *lines = advised(main_python(), "700MiB", PREPARE, *(cell for cell, _ in CAUSES))
    assert first == []
    for (cell, begins), found in zip(CAUSES, lines):
        if begins is None:
            assert found == [], cell
        else:
            (line,) = found
            assert line.startswith("Try:   " + begins), cell


def test_a_text_file_is_read_in_pieces(advised, tmp_path):
    python = notebook_python("pandas")
    with open(tmp_path / "rows.csv", "w") as file:
        file.write("a,b,c\n")
        for _ in range(100):
            file.write("1.25,text that is no number,77\n" * 50_000)
    (_, (line,)) = advised(python, "400MiB", "import pandas", "rows = pandas.read_csv('rows.csv')")
    os.unlink(tmp_path / "rows.csv")
    assert line.startswith("Try:   the file has 148 MiB: pandas.read_csv(..., chunksize=100_000)"), line


FIGURES = """
for _ in range(100):
    plt.figure()
    plt.imshow(numpy.zeros((1000, 2000)))
"""


def test_plots_that_hold_their_data_are_named(advised):
    python = notebook_python("matplotlib")
    _, (figures,), _, (history,) = advised(
        python, "400MiB", "import gc, numpy\nimport matplotlib.pyplot as plt\nplt.switch_backend('agg')", FIGURES,
        "plt.close('all')\ngc.collect()\nplt.imshow(numpy.zeros((2000, 3000)))", "more = bytearray(1 << 30)")
    assert figures.startswith("Try:   ") and " figures are open, which hold " in figures, figures
    assert history.startswith("Try:   Out holds "), history
