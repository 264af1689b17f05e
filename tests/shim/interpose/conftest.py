"""Starts programs bare and guarded. OOMGUARD_BUILD names the build folder."""

import dataclasses
import os
import pathlib
import subprocess

import pytest

TIMEOUT_S = 120

# Starts a program as `oomguard run` does, without needing it: the shell is not preloaded itself,
# and exec keeps its process number, which is what marks the program.
LAUNCH = 'export OOMGUARD_RUN_PROGRAM=$$ LD_PRELOAD="$0"; exec "$@"'


@dataclasses.dataclass
class Ended:
    status: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture(scope="session")
def build():
    folder = os.environ.get("OOMGUARD_BUILD")
    if not folder:
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    return pathlib.Path(folder).resolve()


@pytest.fixture(scope="session")
def library(build):
    path = build / "lib" / "liboomguard.so"
    assert path.exists(), f"{path} was not built"
    return path


@pytest.fixture(scope="session")
def program(build):
    def find(name):
        path = build / "tests" / "programs" / name
        if not path.exists():
            pytest.skip(f"{name} was not built (its compiler or library option is missing here)")
        return str(path)

    return find


def clean_environment(extra):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "MEM_LIMIT") and not name.startswith("OOMGUARD")
    }
    environment.update(extra)
    return environment


@pytest.fixture
def bare():
    def run(*arguments, **extra):
        done = subprocess.run(
            arguments,
            check=False,
            env=clean_environment(extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def guarded(bare, library, tmp_path):
    def run(*arguments, **extra):
        extra.setdefault("OOMGUARD_DIR", str(tmp_path / "oomguard"))
        return bare("/bin/sh", "-c", LAUNCH, str(library), *arguments, **extra)

    return run


@pytest.fixture
def session_files(tmp_path):
    """The flight files that guarded programs of this test left behind."""

    def find():
        return sorted((tmp_path / "oomguard" / "sessions").glob("*"))

    return find
