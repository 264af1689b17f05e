"""The kernel provisioner, installed as a person does it and found by its entry point."""
import os
import signal
import subprocess

import harness
import pytest
import test_successor
from kernels import Kernel


@pytest.fixture
def provisioner(tmp_path, monkeypatch):
    """What names it in a kernelspec."""
    folder = os.environ.get("OOMGUARD_VENV_LAB")
    if not folder:
        pytest.skip("OOMGUARD_VENV_LAB is not set: nothing can build the package")
    subprocess.run([folder + "/bin/python", "-m", "pip", "install", "-q", "--no-index", "--no-deps",
                    "--no-build-isolation", "--target", tmp_path, harness.ROOT / "tools/jupyter"],
                   check=True, timeout=120, env=harness.bare_environment())
    monkeypatch.syspath_prepend(str(tmp_path))
    return {"provisioner_name": "oomguard-provisioner", "config": {
        "command": str(harness.command()), "options": ["--budget", "512MiB"]}}


def after_death(kernel):
    test_successor.wait_for_death(kernel)
    kernel.restart(now=True)
    return kernel.run("1 + 1")


def test_a_kernel_is_guarded_and_its_successor_knows_the_signal(provisioner, disk):
    kernel = Kernel(disk, provisioner=provisioner)
    try:
        assert kernel.run("import oomguard; oomguard.usage().limit >> 20") == "512"
        kernel.client.execute("import ctypes; ctypes.string_at(0)")
        told = after_death(kernel)
        assert " crashed at " in told and "SIGSEGV" in told, told

        os.kill(kernel.pid, signal.SIGKILL)
        told = after_death(kernel)
        assert "SIGKILL" in told and "cannot be told" not in told, told

        kernel.restart(now=True)  # by its user
        assert kernel.run("1 + 1") == "2"
    finally:
        kernel.end()


@pytest.mark.parametrize("config, why", (
    ({"command": "/no/such/oomguard"}, "No such file"),
    ({"options": ["--budget", "much"]}, "'much'")))
def test_where_it_cannot_the_kernel_starts_all_the_same(provisioner, disk, caplog, config, why):
    provisioner["config"].update(config)
    kernel = Kernel(disk, provisioner=provisioner)
    try:
        assert "ModuleNotFoundError" in kernel.run("import oomguard")
    finally:
        kernel.end()
    said = [one.getMessage() for one in caplog.records if "not guarded" in one.getMessage()]
    assert len(said) == 1 and why in said[0], said
