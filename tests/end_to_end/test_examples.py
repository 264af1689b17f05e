"""The notebooks of examples/notebook, executed in guarded kernels with 1 GiB.

The one with the checkpoint of 19.1 billion parameters: test_notebook.py.
"""
import concurrent.futures
import json
import os
import subprocess

import pytest

import harness

FOLDER = harness.ROOT / "examples/notebook"


def execute(name, kernel, jupyter_path):
    path = f"{os.environ['OOMGUARD_BUILD']}/bin:{os.environ['PATH']}"
    environment = harness.bare_environment(JUPYTER_PATH=jupyter_path, OOMGUARD_BUDGET="1GiB", PATH=path,
                                           HF_HUB_OFFLINE="1")
    done = subprocess.run([harness.main_python(), FOLDER / "execute.py", FOLDER / name, "--kernel", kernel],
                          env=environment, stdout=subprocess.PIPE, text=True, timeout=250)
    outcome = json.loads(done.stdout)
    assert outcome["kernel"] == "lived", outcome
    return {cell["id"]: cell for cell in outcome["cells"]}


@pytest.fixture(scope="module")
def notebooks(guarded_kernel):
    """A future of each notebook's cells by their id; two run at once."""
    names = ("fit_before_load", "budget_per_cell", "reading_a_report")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(execute, name + ".ipynb", *guarded_kernel) for name in names}


def test_a_model_is_asked_about_and_loaded_as_advised(notebooks):
    cells = notebooks["fit_before_load"].result()
    assert not any(cell["exception"] for cell in cells.values()), cells
    assert "dtype=torch.float32" in cells["ask"]["text"] and "fits" in cells["ask"]["text"], cells["ask"]
    assert "LlamaForCausalLM.from_pretrained(" in cells["json"]["text"], cells["json"]
    made, predicted = cells["load"]["text"].split(" parameters, predicted ")
    assert made.split()[-1] == predicted.strip(), cells["load"]


def test_a_cell_with_a_budget_raises_alone(notebooks):
    cells = notebooks["budget_per_cell"].result()
    assert [name for name, cell in cells.items() if cell["exception"]] == ["too-much"], cells
    assert "oomguard stopped this cell" in cells["too-much"]["text"], cells["too-much"]
    assert "rows has 10,000,000 still" in cells["after"]["text"], cells["after"]
    assert 32 <= int(cells["block"]["text"].split()[0]) <= 256, cells["block"]


def test_a_report_names_the_line_and_the_variables(notebooks):
    cells = notebooks["reading_a_report"].result()
    assert [name for name, cell in cells.items() if cell["exception"]] == ["refused"], cells
    assert "\nAt:    cell [2] line 1: copies = " in cells["refused"]["text"], cells["refused"]
    assert "ndarray" in cells["vars"]["text"] and "table" in cells["vars"]["text"], cells["vars"]
    assert "MiB asked for" in cells["numbers"]["text"], cells["numbers"]
    assert "copies = " in cells["report"]["text"], cells["report"]
