"""Runs cells in a kernel and prints what each showed, as JSON. Usage: notebook.py < cells.json

The kernel gets the variables of this process whose names begin with KERNEL_, without that prefix,
and runs in the interpreter that NOTEBOOK_PYTHON names.
"""

import json
import os
import sys

import nbformat
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient


def shown(output):
    if output.output_type == "stream":
        return [output.name, output.text]
    if output.output_type == "error":
        return ["error", "\n".join(output.traceback)]
    return [output.output_type, output.data.get("text/plain", "")]


def main():
    cells = [nbformat.v4.new_code_cell(source) for source in json.load(sys.stdin)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    environment = dict(os.environ)
    for name, value in os.environ.items():
        if name.startswith("KERNEL_"):
            environment[name[len("KERNEL_") :]] = value
    client = NotebookClient(notebook, timeout=90, allow_errors=True)
    client.km = client.create_kernel_manager()
    client.km._kernel_spec = KernelSpec(
        argv=[os.environ["NOTEBOOK_PYTHON"], "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="guarded",
        language="python",
    )
    client.execute(env=environment)
    json.dump([[shown(output) for output in cell.outputs] for cell in notebook.cells], sys.stdout)


main()
