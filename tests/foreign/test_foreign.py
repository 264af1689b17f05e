"""A slice of CPython's own suite ends guarded as it ends bare (run.py runs more of it)."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SLICE = ["test_mmap", "test_gc", "test_fork1", "test_threadsignals", "test_array", "test_resource",
         "test_atexit", "test_wait4"]


def interpreters():
    return [python for python in os.environ.get("OOMGUARD_PYTHONS", "").split(":") if python]


def test_a_slice_of_cpythons_suite_ends_the_same_bare_and_guarded():
    if not os.environ.get("OOMGUARD_BUILD"):
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    for python in reversed(interpreters() or [sys.executable]):
        done = subprocess.run([sys.executable, HERE / "run.py", "--python", python, "--modules",
                               *SLICE], capture_output=True, text=True, timeout=280, check=False)
        if done.returncode != 2:
            assert done.returncode == 0, done.stdout + done.stderr
            return
    pytest.skip("no interpreter here brings CPython's own suite, or no memory group can be made: " +
                done.stdout.strip())
