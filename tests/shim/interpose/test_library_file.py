"""A file that is named to be preloaded and cannot be: the program starts as if there were none, and
the dynamic linker says one line."""

import shutil
import subprocess
import sys

import pytest

CODE = "print('ran', 'liboomguard' in open('/proc/self/maps').read())"


def start(bare, path):
    done = bare(sys.executable, "-I", "-S", "-c", CODE, LD_PRELOAD=str(path))
    assert (done.status, done.out) == (0, "ran False\n"), done
    assert len(done.err.splitlines()) == 1, done
    assert f"object '{path}' from LD_PRELOAD cannot be preloaded (" in done.err, done


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True,
                   timeout=60)
    path, = prefix.rglob("liboomguard.so")
    return path


def test_an_installed_library_is_loaded(bare, installed):
    done = bare(sys.executable, "-I", "-S", "-c", CODE, LD_PRELOAD=str(installed))
    assert (done.status, done.out, done.err) == (0, "ran True\n", ""), done


# It would be mapped, and reading it would be SIGBUS, if the program headers were not at its end.
@pytest.mark.parametrize("part", [0, 1e-5, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1])
def test_a_library_that_was_cut_off(bare, installed, tmp_path, part):
    whole = installed.read_bytes()
    cut = tmp_path / "liboomguard.so"
    cut.write_bytes(whole[: min(int(part * len(whole)), len(whole) - 1)])
    start(bare, cut)


def text(path, whole):
    path.write_text("this is no library\n" * 100)


def other_machine(path, whole):
    path.write_bytes(whole[:18] + b"\xf3\x00" + whole[20:])  # e_machine: RISC-V


def folder(path, whole):
    path.mkdir()


def missing(path, whole):
    pass


@pytest.mark.parametrize("make", [text, other_machine, folder, missing], ids=lambda make: make.__name__)
def test_what_is_no_library_for_this_machine(bare, library, tmp_path, make):
    path = tmp_path / "liboomguard.so"
    make(path, library.read_bytes())
    start(bare, path)
