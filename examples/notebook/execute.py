#!/usr/bin/env python3
"""Executes a notebook in a kernel and says, cell by cell, how that went.

    python execute.py NOTEBOOK --kernel NAME [--cell-timeout SECONDS] [--json FILE]

A cell that raises does not stop the notebook; a kernel that dies or hangs does. The exit status is
0 where the kernel lived to the end and 1 where it did not, whatever the cells said.
"""
import argparse
import json
import re
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def text_of(output):
    """What a person reads of one output, without colours."""
    if output["output_type"] == "stream":
        text = output["text"]
    elif output["output_type"] == "error":
        text = "\n".join(output["traceback"])
    else:
        text = output.get("data", {}).get("text/plain", "")
    text = TERMINAL_COLOURS.sub("", text)
    return text if text.endswith("\n") else text + "\n"  # one may be followed by another's


class Timed(NotebookClient):
    """Notes when each cell started and ended."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seconds = {}

    async def async_execute_cell(self, cell, cell_index, *args, **options):
        started = time.monotonic()
        try:
            return await super().async_execute_cell(cell, cell_index, *args, **options)
        finally:
            self.seconds[cell_index] = time.monotonic() - started


def execute(notebook, kernel, cell_timeout_s):
    """Runs all cells. Returns {"kernel": lived|died|hung, "cells": [...]}"""
    client = Timed(notebook, kernel_name=kernel, timeout=cell_timeout_s, allow_errors=True)
    fate = "lived"
    try:
        client.execute()
    except DeadKernelError:
        fate = "died"
    except CellTimeoutError:
        fate = "hung"
    cells = []
    for index, cell in enumerate(notebook.cells):
        if cell["cell_type"] != "code":
            continue
        errors = [o for o in cell["outputs"] if o["output_type"] == "error"]
        cells.append({
            "id": cell["id"],
            "ran": index in client.seconds,
            "seconds": round(client.seconds.get(index, 0.0), 2),
            "exception": errors[0]["ename"] if errors else None,
            "text": "".join(text_of(output) for output in cell["outputs"]),
        })
    return {"kernel": fate, "cells": cells}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook")
    parser.add_argument("--kernel", default="python3")
    parser.add_argument("--cell-timeout", type=float, default=120, metavar="SECONDS")
    parser.add_argument("--json", metavar="FILE", help="write the outcome there")
    options = parser.parse_args()
    notebook = nbformat.read(options.notebook, as_version=4)
    outcome = execute(notebook, options.kernel, options.cell_timeout)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(outcome, file, indent=1)
    else:
        json.dump(outcome, sys.stdout, indent=1)
    return 0 if outcome["kernel"] == "lived" else 1


if __name__ == "__main__":
    sys.exit(main())
