#!/usr/bin/env python3
"""Prints what execute.py said of several kernels side by side, then the guarded kernel's refusal.

    python compare.py NOTEBOOK TITLE=FILE...     (FILE: execute.py --json; TITLE alone: did not run)

The exit status is 0 where the last kernel did its job: a cell of it raised, and every other cell ran.
"""
import json
import sys
import textwrap

import nbformat

WIDTH = 46
FATES = {"died": "the kernel died", "hung": "the kernel hung at its limit, ended here"}


def last_lines(text, count):
    """The end of a cell's output; a progress bar's line is what it showed last."""
    lines = [line.split("\r")[-1].rstrip() for line in text.splitlines()]
    return [line for line in lines if line][-count:]


def verdict(outcome, cell_id):
    """What happened to one cell, in a line or two."""
    if outcome is None:
        return "not run: nothing here limits it"
    cells = outcome["cells"]
    cell = next(cell for cell in cells if cell["id"] == cell_id)
    ran = [cell for cell in cells if cell["ran"]]
    if not cell["ran"]:
        return "lost"
    after = f"  ({cell['seconds']:.0f} s)" if cell["seconds"] >= 1 else ""
    if outcome["kernel"] != "lived" and cell is ran[-1]:
        return FATES[outcome["kernel"]] + after
    if cell["exception"]:
        return f"{cell['exception']}, the kernel lives" + after
    return "\n".join(last_lines(cell["text"], 1) or ["done"]) + after


def print_row(left, columns):
    wrapped = [textwrap.wrap(left, WIDTH) or [""]] + [textwrap.wrap(text, WIDTH) for text in columns]
    for number in range(max(map(len, wrapped))):
        print(" | ".join((part[number] if number < len(part) else "").ljust(WIDTH)
                         for part in wrapped).rstrip())


def did_its_job(outcome):
    if outcome is None or outcome["kernel"] != "lived":
        return False
    raised = [cell for cell in outcome["cells"] if cell["exception"]]
    return len(raised) == 1 and all(cell["ran"] for cell in outcome["cells"])


def main():
    notebook = nbformat.read(sys.argv[1], as_version=4)
    outcomes = {}
    for argument in sys.argv[2:]:
        title, _, path = argument.partition("=")
        if path:
            with open(path) as file:
                outcomes[title] = json.load(file)
        else:
            outcomes[title] = None
    print_row("cell", outcomes)
    print("-" * (WIDTH * (len(outcomes) + 1) + 3 * len(outcomes)))
    for cell in notebook.cells:
        if cell["cell_type"] == "code":
            print_row(cell["source"].splitlines()[-1],
                      [verdict(outcome, cell["id"]) for outcome in outcomes.values()])
    last = list(outcomes.values())[-1]
    for cell in last["cells"]:
        if cell["exception"]:
            print("\nThe end of what the second cell shows in the guarded kernel:\n")
            print(textwrap.indent("\n".join(last_lines(cell["text"], 14)), "    "))
    return 0 if did_its_job(last) else 1


if __name__ == "__main__":
    sys.exit(main())
