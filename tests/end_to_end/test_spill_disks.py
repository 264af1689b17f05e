"""Lending on disks as they are found: nearly full, filled by somebody else meanwhile, and the overlay
that is a container's root. Each is an image that is mounted in a mount namespace of the program's own.
"""
import os
import shutil
import subprocess

import pytest

import harness

pytestmark = pytest.mark.alone
SCRIPT = harness.PROGRAMS / "on_disk.sh"
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def mounted(kind, folder, *command):
    return ["unshare", "-m", "sh", SCRIPT, kind, os.path.join(folder, "image"),
            os.path.join(folder, "mount"), *command]


def why_unavailable(folder):
    for tool in ("unshare", "mkfs.ext4", "fallocate"):
        if shutil.which(tool, path=SEARCH) is None:
            return f"{tool} is not installed"
    done = subprocess.run(mounted("overlay", folder, "true"), capture_output=True, text=True,
                          timeout=60)
    return None if done.returncode == 0 else "nothing can be mounted here: " + done.stderr.strip()


@pytest.fixture
def disk_of():
    """A folder with an ext4 image of that many MiB, all of it a hole, and a place to mount it."""
    folder = harness.disk_folder()

    def make(mib):
        image = os.path.join(folder, "image")
        with open(image, "wb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, timeout=60,
                       env={**os.environ, "PATH": SEARCH})
        os.makedirs(os.path.join(folder, "mount"), exist_ok=True)
        return folder

    if shutil.which("mkfs.ext4", path=SEARCH):
        make(64)
    reason = why_unavailable(folder)
    if reason:
        shutil.rmtree(folder)
        pytest.skip(reason)
    yield make
    shutil.rmtree(folder)


def two_empty(kind, folder):
    """Two blocks of 400 MiB, both filled, in 600 MiB."""
    return harness.run(
        mounted(kind, folder, harness.command(), "run", "--dir", os.path.join(folder, "sessions"),
                "--spill-dir", os.path.join(folder, "mount"), "--spill-limit", "4G", "--",
                harness.main_python(), harness.PROGRAMS / "touching.py", "two_empty"),
        harness.SMALL_LIMIT, False, 90)


def test_on_the_overlay_of_a_container_a_fill_ends_in_an_exception(disk_of):
    run = two_empty("overlay", disk_of(700))
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] == "MemoryError" and run.result["intact"], run
    assert run.result["written"] > 0, run


def test_an_overlay_in_memory_is_no_disk(disk_of):
    run = two_empty("memory_overlay", disk_of(64))
    assert run.finished.status == 137 and run.oom_kills == 0, run
    assert "its folder is not on a local disk" in run.finished.stderr, run


@pytest.mark.parametrize("kind,mib", (("ext4", 200), ("ext4", 330), ("filling", 700)))
def test_a_disk_that_is_full_or_fills_up_ends_the_program_with_its_report_or_in_an_exception(
        disk_of, kind, mib):
    run = two_empty(kind, disk_of(mib))
    assert run.oom_kills == 0, run
    if run.finished.status == 0:
        assert run.result["exception"] == "MemoryError" and run.result["intact"], run
    else:
        assert run.finished.status == 137, run
        assert run.finished.stderr.count("oomguard ended this program") == 1, run
