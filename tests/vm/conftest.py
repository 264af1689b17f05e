"""Boots the guests, two at once, and gives the tests what their cases did."""
import concurrent.futures
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import judge  # noqa: E402
import packages  # noqa: E402
import uml  # noqa: E402

MIB = 1 << 20


def _boot(script, memory_mib, limit_s=judge.LIMIT_S, **extra):
    python = os.environ["OOMGUARD_VENV"] + "/bin/python"
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONDONTWRITEBYTECODE": "1",
                   "VM_PYTHON": python,
                   "VM_LIBRARY": os.environ["OOMGUARD_BUILD"] + "/lib/liboomguard.so",
                   "VM_COMMAND": os.environ["OOMGUARD_BUILD"] + "/bin/oomguard", **extra}
    return uml.run([python, HERE / "guest" / script], memory_mib * MIB, limit_s, environment)


def _earlyoom():
    try:
        return str(packages.unpacked("earlyoom") / "usr/bin/earlyoom")
    except packages.Unavailable:
        return ""


@pytest.fixture(scope="session")
def _machines(request):
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
    guests = {"groups": ("groups.py", 704, {}),
              "whole_machine": ("whole_machine.py", 512, {"VM_EARLYOOM": _earlyoom()}),
              "verdicts": ("verdicts.py", 384, {"VM_TIMES": str(judge.VERDICTS),
                                                "limit_s": judge.VERDICTS_LIMIT_S})}
    asked_for = {name for test in request.session.items for name in test.fixturenames}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(_boot, script, memory_mib, **more)
               for name, (script, memory_mib, more) in guests.items() if name in asked_for}


@pytest.fixture(scope="session")
def groups(_machines):
    return _machines["groups"].result()


@pytest.fixture(scope="session")
def verdicts(_machines):
    return _machines["verdicts"].result()


@pytest.fixture(scope="session")
def whole_machine(_machines):
    return _machines["whole_machine"].result()
