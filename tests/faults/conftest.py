"""Programs of which some call fails. OOMGUARD_BUILD names the build folder."""
import os
import pathlib
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def build():
    folder = os.environ.get("OOMGUARD_BUILD")
    if not folder:
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    return pathlib.Path(folder).resolve()


@pytest.fixture(scope="session")
def python():
    return os.environ.get("OOMGUARD_VENV", sys.prefix) + "/bin/python"


@pytest.fixture
def run():
    """Runs a program to its end: subprocess.CompletedProcess."""

    def start(argv, **extra):
        kept = {name: value for name, value in os.environ.items()
                if name not in ("LD_PRELOAD", "MEM_LIMIT") and not name.startswith("OOMGUARD")}
        kept.update(extra)
        return subprocess.run([str(part) for part in argv], env=kept, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=60,
                              check=False)

    return start
