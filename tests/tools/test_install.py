"""An installed copy works from its prefix alone."""

import os
import shutil
import subprocess

import pytest


def install(build, prefix):
    subprocess.run(
        ["cmake", "--install", build, "--prefix", prefix],
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.fixture
def installed(build, tool_at, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    prefix = tmp_path / "prefix"
    install(build, prefix)
    return prefix, tool_at(prefix / "bin/oomguard")


def test_the_prefix_holds_the_command_and_the_library(installed):
    prefix, _ = installed
    files = [
        os.path.relpath(os.path.join(folder, name), prefix)
        for folder, _, names in os.walk(prefix)
        for name in names
    ]
    assert "bin/oomguard" in files
    assert [name for name in files if name.endswith("liboomguard.so")]
    assert not [name for name in files if name.endswith((".a", ".h"))]


def test_an_installed_command_preloads_the_installed_library(installed, python):
    prefix, tool = installed
    code = "print([l.split()[-1] for l in open('/proc/self/maps') if 'liboomguard' in l][0])"
    result = tool("run", python, "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(prefix))


def test_installing_again_leaves_the_file_of_running_programs_alone(installed, build):
    """Its pages are mapped: a copy over it would end every one of them by SIGBUS."""
    prefix, _ = installed
    library, = prefix.rglob("liboomguard.so")
    os.utime(library, (1, 1))  # else nothing is to be done
    with open(library, "rb") as mapped:
        install(build, prefix)
        assert library.stat().st_ino != os.fstat(mapped.fileno()).st_ino
        assert mapped.read() == library.read_bytes()
