"""The command as a new user would type it, from the build that is to be tested.

OOMGUARD_BUILD names the build directory (with bin/oomguard and lib/liboomguard.so); without it the
newest of build/* is taken.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIME_LIMIT_S = 60


def find_build():
    if os.environ.get("OOMGUARD_BUILD"):
        return pathlib.Path(os.environ["OOMGUARD_BUILD"]).resolve()
    commands = sorted(ROOT.glob("build/*/bin/oomguard"), key=lambda path: path.stat().st_mtime)
    return commands[-1].parent.parent if commands else None


class Tool:
    def __init__(self, command, environment):
        self.command = str(command)
        self.environment = environment

    def __call__(self, *arguments, env=None, **options):
        """Runs it to its end; the result has returncode, stdout and stderr as text."""
        options.setdefault("timeout", TIME_LIMIT_S)
        return subprocess.run(
            [self.command, *map(str, arguments)],
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def start(self, *arguments, env=None, **options):
        return subprocess.Popen(
            [self.command, *map(str, arguments)],
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


@pytest.fixture(scope="session")
def build():
    path = find_build()
    if path is None or not (path / "bin/oomguard").exists():
        pytest.skip("no build with bin/oomguard; set OOMGUARD_BUILD to the build directory")
    if not (path / "lib/liboomguard.so").exists():
        pytest.skip(f"no lib/liboomguard.so in {path}")
    return path


@pytest.fixture
def environment(tmp_path):
    """A user with nothing: an empty home, sessions of its own, no Jupyter, no settings of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OOMGUARD", "JUPYTER", "XDG_", "PYTHON"))
        and name not in ("LD_PRELOAD", "MEM_LIMIT", "VIRTUAL_ENV", "TMPDIR")
    }
    (tmp_path / "home").mkdir()
    kept["HOME"] = str(tmp_path / "home")
    kept["OOMGUARD_DIR"] = str(tmp_path / "sessions-of-test")
    return kept


@pytest.fixture
def tool_at(environment):
    """The command from another place than the build."""
    return lambda command: Tool(command, environment)


@pytest.fixture
def tool(build, environment):
    return Tool(build / "bin/oomguard", environment)


@pytest.fixture(scope="session")
def library(build):
    return str(build / "lib/liboomguard.so")


@pytest.fixture(scope="session")
def compiler():
    path = shutil.which("cc")
    if path is None:
        pytest.skip("no C compiler (cc)")
    return path


@pytest.fixture
def python():
    """An interpreter by its absolute path, without a virtual environment's start file."""
    return os.path.realpath(sys.executable)
