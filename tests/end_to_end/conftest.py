"""Fixtures of the end-to-end tests: they need a build and a memory group of their own."""
import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cgroup  # noqa: E402
import harness  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _needs_a_build():
    if not os.environ.get("OOMGUARD_BUILD") or not os.environ.get("OOMGUARD_VENV"):
        pytest.skip("OOMGUARD_BUILD and OOMGUARD_VENV are not set: start through tests/run.sh")
    assert harness.library().exists(), f"{harness.library()} was not built"


@pytest.fixture(scope="session", autouse=True)
def _needs_a_memory_group(_needs_a_build):
    reason = cgroup.why_unavailable()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def checkpoint():
    """The sparse checkpoint of 19.1 B parameters, on a disk."""
    folder = harness.disk_folder()
    harness.make_checkpoint(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def guarded_kernel(tmp_path_factory):
    """(name, JUPYTER_PATH) of a guarded kernel of the main environment."""
    return harness.install_kernel(str(tmp_path_factory.mktemp("prefix")))


@pytest.fixture
def disk():
    folder = harness.disk_folder()
    yield folder
    shutil.rmtree(folder)


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: races the kernel; tests/run.sh runs it alone")


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # pytest-xdist's, in a worker
        session.config.workeroutput["figures"] = harness.figures


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    harness.figures += getattr(node, "workeroutput", {}).get("figures", [])


@pytest.fixture
def start_kernel(disk):
    """Starts guarded kernels, each in a group of its own, with `extra` variables; ends them all."""
    from kernels import Kernel
    started = []

    def start(**extra):
        started.append(Kernel(disk, **extra))
        return started[-1]

    yield start
    for kernel in started:
        kernel.end()


def pytest_terminal_summary(terminalreporter):
    if harness.figures:
        terminalreporter.section("figures")
        for line in harness.figures:
            terminalreporter.write_line(line)
