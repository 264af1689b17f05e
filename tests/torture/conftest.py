"""Prints the figures of a run of random programs at its end."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import run  # noqa: E402


def pytest_terminal_summary(terminalreporter):
    if run.figures:
        terminalreporter.section("figures")
        for line in run.figures:
            terminalreporter.write_line(line)
