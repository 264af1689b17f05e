"""A mapped file that does not fit into the limit and is read over and over is named, once; nothing is
refused for it. What is read once, or fits, is not named."""
import os
import subprocess

import pytest

import cgroup
import harness

LIMIT = 128 * cgroup.MIB
SIZE = 256 * cgroup.MIB


@pytest.fixture(scope="module")
def weights():
    """Real content on a disk, charged to nobody."""
    folder = harness.disk_folder()
    path = os.path.join(folder, "model.safetensors")
    with open(path, "wb") as file:
        for _ in range(SIZE // cgroup.MIB):
            file.write(b"w" * cgroup.MIB)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    yield path
    os.unlink(path)
    os.rmdir(folder)


def read(weights, how, sessions, seconds=3, guarded=True):
    environment = harness.guarded_environment(sessions) if guarded else harness.bare_environment()
    with cgroup.MemoryGroup(LIMIT) as group:
        done = group.run([harness.main_python(), str(harness.PROGRAMS / "read_file.py"), weights, how,
                          str(seconds)], 60, env=environment)
        assert done.status == 0 and group.oom_kills() == 0, done
    return done


def sessions_of(folder):
    path = os.path.join(folder, "sessions")
    return [name for name in os.listdir(path) if name.endswith(".flight")]


def test_a_file_that_does_not_fit_and_is_read_over_and_over_is_named_once(weights, disk):
    done = read(weights, "over_and_over", disk, seconds=6)
    assert done.stderr.count("\n") == 1, done
    for part in ("oomguard: warning: process ", " reads model.safetensors from disk over and over",
                 "(256 MiB)", "the limit of 128 MiB", "nothing is refused for it"):
        assert part in done.stderr, done
    [name] = sessions_of(disk)
    report = subprocess.run([harness.command(), "report", "--dir", disk, name.removesuffix(".flight")],
                            env=harness.bare_environment(), capture_output=True, text=True, timeout=60,
                            check=True).stdout
    assert " ".join(done.stderr.split()) in " ".join(report.split()), report  # it is wrapped there
    assert "Nothing was refused." in report
    report = subprocess.run([harness.command(), "report", "--dir", disk, "--format", "json",
                             name.removesuffix(".flight")], env=harness.bare_environment(),
                            capture_output=True, text=True, timeout=60, check=True).stdout
    assert '"file": "model.safetensors"' in report


@pytest.mark.parametrize("how", ("once", "fitting"))
def test_what_is_read_once_or_fits_is_not_named(weights, disk, how):
    # The kernel remembers what it evicted: the second time every page counts as read again.
    for _ in range(2):
        assert read(weights, how, disk).stderr == ""
    assert sessions_of(disk) == []


def test_bare_the_same_program_says_nothing(weights, disk):
    assert read(weights, "over_and_over", disk, guarded=False).stderr == ""
