"""Slices of CPython's and numpy's own tests end guarded as they end bare (run.py runs more of them)."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SLICE = ["test_mmap", "test_gc", "test_fork1", "test_threadsignals", "test_array", "test_resource",
         "test_atexit", "test_wait4"]
NUMPY_SLICE = ["fft", "_core.tests.test_memmap", "_core.tests.test_mem_overlap"]


def interpreters():
    return [python for python in os.environ.get("OOMGUARD_PYTHONS", "").split(":") if python]


def run(python, *arguments):
    return subprocess.run([sys.executable, HERE / "run.py", "--python", python, *arguments],
                          capture_output=True, text=True, timeout=280, check=False)


def test_a_slice_of_cpythons_suite_ends_the_same_bare_and_guarded():
    if not os.environ.get("OOMGUARD_BUILD"):
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    for python in reversed(interpreters() or [sys.executable]):
        done = run(python, "--modules", *SLICE)
        if done.returncode != 2:
            assert done.returncode == 0, done.stdout + done.stderr
            return
    pytest.skip("no interpreter here brings CPython's own suite, or no memory group can be made: " +
                done.stdout.strip())


def test_a_slice_of_numpys_tests_ends_the_same_bare_and_guarded():
    if not os.environ.get("OOMGUARD_BUILD") or not os.environ.get("OOMGUARD_VENV_FOREIGN"):
        pytest.skip("OOMGUARD_BUILD or OOMGUARD_VENV_FOREIGN is not set")
    done = run(os.environ["OOMGUARD_VENV_FOREIGN"] + "/bin/python", "--numpy", *NUMPY_SLICE)
    if done.returncode == 2:
        pytest.skip("numpy's tests cannot be run: " + done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    # A part without a test would compare nothing.
    assert done.stdout.count(" tests, status 0, 0 differ") == len(NUMPY_SLICE), done.stdout
    assert ": 0 tests" not in done.stdout, done.stdout
