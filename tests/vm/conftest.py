"""Boots the guests, two at once, and gives the tests what their cases did."""
import concurrent.futures
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import packages  # noqa: E402
import uml  # noqa: E402

MIB = 1 << 20
LIMIT_S = 540  # about 80 where nothing else runs


def _boot(script, memory_mib, **extra):
    python = os.environ["OOMGUARD_VENV"] + "/bin/python"
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONDONTWRITEBYTECODE": "1",
                   "VM_PYTHON": python,
                   "VM_LIBRARY": os.environ["OOMGUARD_BUILD"] + "/lib/liboomguard.so",
                   "VM_COMMAND": os.environ["OOMGUARD_BUILD"] + "/bin/oomguard", **extra}
    return uml.run([python, HERE / "guest" / script], memory_mib * MIB, LIMIT_S, environment)


def _earlyoom():
    try:
        return str(packages.unpacked("earlyoom") / "usr/bin/earlyoom")
    except packages.Unavailable:
        return ""


@pytest.fixture(scope="session")
def _machines():
    if not os.environ.get("OOMGUARD_BUILD") or not os.environ.get("OOMGUARD_VENV"):
        pytest.skip("OOMGUARD_BUILD and OOMGUARD_VENV are not set: start through tests/run.sh")
    try:
        uml.kernel()
        works = uml.run(["/bin/true"], 128 * MIB, 60, {})
    except packages.Unavailable as error:
        pytest.skip(f"no guest: {error}")
    if not works.finished:
        pytest.skip("no guest: User Mode Linux does not start here: "
                    + " ".join(works.console[-300:].split()))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {"groups": pool.submit(_boot, "groups.py", 704),
               "whole_machine": pool.submit(_boot, "whole_machine.py", 512,
                                            VM_EARLYOOM=_earlyoom()),
               "verdicts": pool.submit(_boot, "verdicts.py", 384,
                                       VM_TIMES=os.environ.get("OOMGUARD_TEST_VERDICTS", "1"))}


@pytest.fixture(scope="session")
def groups(_machines):
    return _machines["groups"].result()


@pytest.fixture(scope="session")
def verdicts(_machines):
    return _machines["verdicts"].result()


@pytest.fixture(scope="session")
def whole_machine(_machines):
    return _machines["whole_machine"].result()
