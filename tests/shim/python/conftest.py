"""What the tests of the embedded module share: interpreters, the preload libraries, runs.

OOMGUARD_BUILD   build directory (its tests/liboomguard_fake_engine.so is used)
OOMGUARD_PYTHONS interpreters to run under, colon separated; default: all that are found
OOMGUARD_VENV    virtual environment with ipykernel and nbclient; default: the one running pytest
OOMGUARD_NOTEBOOKS interpreters with other versions of IPython and ipykernel, colon separated
"""

import glob
import os
import shutil
import subprocess
import sys

import pytest

SUPPORTED = [(3, minor) for minor in range(9, 15)]


def found_pythons():
    named = os.environ.get("OOMGUARD_PYTHONS")
    if named:
        return [path for path in named.split(":") if path]
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    paths = [shutil.which("python3", path="/usr/bin")]
    paths += sorted(glob.glob(os.path.join(root, "versions", "*", "bin", "python")))
    paths += [shutil.which("python%d.%d" % version) for version in SUPPORTED]
    return [path for path in paths if path]


def identity_of(path):
    """(version, the real file that runs), or None. A name on PATH may be a wrapper script."""
    code = "import os, sys; print(*sys.version_info[:2]); print(os.path.realpath(sys.executable))"
    found = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=30)
    if found.returncode != 0:
        return None
    version, real = found.stdout.splitlines()
    return tuple(map(int, version.split())), real


def distinct(paths):
    """The supported interpreters among the paths, each once; and one that is too old, or None."""
    supported, old, seen = [], None, set()
    for path in paths:
        version, real = identity_of(path) or (None, None)
        if version in SUPPORTED and real not in seen:
            supported.append((path, version))
        elif version is not None and (3, 0) < version < SUPPORTED[0]:
            old = path
        seen.add(real)
    return supported, old


PYTHONS, OLD_PYTHON = distinct(found_pythons())


def name_of(python):
    kind = "pyenv" if "versions" in python[0] else "system"
    return "%s-%d.%d" % (kind, *python[1])


@pytest.fixture(params=PYTHONS, ids=name_of, scope="session")
def python(request):
    """Path of an interpreter; the tests run under each."""
    return request.param[0]


@pytest.fixture(scope="session")
def fake_library():
    build = os.environ.get("OOMGUARD_BUILD")
    if not build:
        pytest.skip("OOMGUARD_BUILD does not name a build directory")
    path = os.path.join(build, "tests", "liboomguard_fake_engine.so")
    if not os.path.exists(path):
        pytest.skip("the build directory has no tests/liboomguard_fake_engine.so")
    return os.path.abspath(path)


class Run:
    """One finished program: status, output, and what the engine was told, a line each."""

    def __init__(self, finished, told):
        self.status, self.out, self.err = finished.returncode, finished.stdout, finished.stderr
        self.told = told

    def __repr__(self):
        return "status %s\n%s\n%s\ntold %s" % (self.status, self.out, self.err, self.told)


@pytest.fixture
def guarded(fake_library, tmp_path):
    """Runs a command under the fake engine, which refuses requests of 1 GiB and more."""

    def run(*command, stdin=None, timeout=60, cwd=None, **variables):
        log = tmp_path / "told"
        if log.exists():
            log.unlink()
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PYTHON")
        }
        environment.update(
            LD_PRELOAD=fake_library, FAKE_LOG=str(log), FAKE_REFUSE_BYTES=str(1 << 30), **variables
        )
        finished = subprocess.run(
            [str(part) for part in command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=str(cwd or tmp_path),
            env=environment,
        )
        return Run(finished, log.read_text().splitlines() if log.exists() else [])

    return run


@pytest.fixture
def script(guarded, python, tmp_path):
    """Runs source text as a script of the user's own."""

    def run(source, *options, **keywords):
        path = tmp_path / "program.py"
        path.write_text(source)
        return guarded(python, *options, path, **keywords)

    return run


@pytest.fixture(scope="session")
def notebook_python():
    """An interpreter that has ipykernel and nbclient."""
    venv = os.environ.get("OOMGUARD_VENV")
    path = os.path.join(venv, "bin", "python") if venv else sys.executable
    found = subprocess.run(
        [path, "-c", "import ipykernel, nbclient, nbformat"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if found.returncode != 0:
        reason = found.stderr.strip().splitlines()[-1:] or ["it does not start"]
        pytest.skip("no notebooks with %s: %s" % (os.path.basename(path), reason[0]))
    return path


def other_notebooks():
    return [one for one in os.environ.get("OOMGUARD_NOTEBOOKS", "").split(":") if one] or [None]


@pytest.fixture(params=other_notebooks(), ids=lambda one: one and one.split(os.sep)[-3])
def other_notebook_python(request):
    """An interpreter with other versions of IPython and ipykernel."""
    if request.param is None:
        pytest.skip("OOMGUARD_NOTEBOOKS names no interpreters")
    return request.param
