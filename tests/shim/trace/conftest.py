"""Interpreters to run under, and the library that they ask.

OOMGUARD_BUILD   build folder (its tests/liboomguard_python_stack_probe.so is used)
OOMGUARD_PYTHONS interpreters, colon separated; default: the one that runs pytest
"""

import os
import pathlib
import subprocess
import sys

import pytest


def pythons():
    named = os.environ.get("OOMGUARD_PYTHONS") or sys.executable
    return [path for path in named.split(":") if path]


def name_of(path):
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    return subprocess.run([path, "-c", code], capture_output=True, text=True).stdout.strip()


@pytest.fixture(params=pythons(), ids=name_of, scope="session")
def python(request):
    return request.param


@pytest.fixture(scope="session")
def library():
    build = os.environ.get("OOMGUARD_BUILD")
    if not build:
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    path = pathlib.Path(build).resolve() / "tests" / "liboomguard_python_stack_probe.so"
    if not path.exists():
        pytest.skip(f"{path} was not built")
    return path
