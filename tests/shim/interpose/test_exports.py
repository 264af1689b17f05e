"""What liboomguard.so needs and what it exports: libc alone, and the names alone that hooks.def,
driver.def and nvml.def have."""

import pathlib
import re
import shutil
import subprocess

import pytest

SHIM = pathlib.Path(__file__).parents[3] / "shim"

# What the linker and the C start files leave in every shared library.
WEAK = {
    "__cxa_finalize",
    "__gmon_start__",
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
}


def tool(*arguments):
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} (binutils) is not installed")
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def undefined(library):
    """Name without version, and the kind letter of nm."""
    lines = tool("nm", "-D", "--undefined-only", str(library)).splitlines()
    return {line.split()[-1].split("@")[0]: line.split()[-2] for line in lines}


@pytest.fixture
def hooks():
    lists = (SHIM / "interpose" / "hooks.def", SHIM / "gpu" / "driver.def",
             SHIM / "gpu" / "nvml.def")
    names = re.findall(r"^OOMGUARD_(?:HOOK\(\w+, |DRIVER\(\w+, |NVML\()(\w+)[,)]",
                       "".join(each.read_text() for each in lists), re.MULTILINE)
    assert len(names) == len(set(names)) > 30
    return set(names)


def test_exports_exactly_the_hooks(library, hooks):
    lines = tool("nm", "-D", "--defined-only", str(library)).splitlines()
    assert {line.split()[-1].split("@")[0] for line in lines} == hooks


def test_needs_libc_and_its_loader_only(library):
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", tool("readelf", "-d", str(library)))
    assert "libc.so.6" in needed
    # libdl is in libc since glibc 2.34; what is installed elsewhere needs it (OOMGUARD_PORTABLE).
    assert all(re.fullmatch(r"libc\.so\.6|libdl\.so\.2|ld-linux-.*", name) for name in needed), needed


def test_has_no_weak_surprises(library):
    weak = {name for name, kind in undefined(library).items() if kind in "wv"}
    assert weak <= WEAK


def test_contains_no_exception_run_time(library):
    # libstdc++'s allocates at load, and its thread-local state is dynamic.
    names = tool("nm", "-C", str(library))
    assert "__cxa_allocate_exception" not in names
    assert "std::locale" not in names


def test_uses_no_dynamic_tls_and_no_stdio(library):
    names = set(undefined(library))
    assert "__tls_get_addr" not in names
    assert not names & {"printf", "fprintf", "fputs", "fwrite", "fopen", "stdout", "stderr"}


def test_takes_little_static_tls(library):
    # Preloaded libraries share 2 KiB or less of surplus with everything that is opened later.
    segments = tool("readelf", "-W", "-l", str(library))
    sizes = re.findall(r"^ +TLS +\S+ +\S+ +\S+ +\S+ +(0x[0-9a-f]+)", segments, re.MULTILINE)
    assert sum(int(size, 16) for size in sizes) <= 512


def test_has_no_executable_stack_and_no_text_relocations(library):
    stack = re.search(r"GNU_STACK.*", tool("readelf", "-W", "-l", str(library))).group()
    assert "RWE" not in stack
    assert "TEXTREL" not in tool("readelf", "-d", str(library))


def test_is_bound_at_load(library):
    # A lazy binding would be resolved between vfork and exec, or in a signal handler.
    assert re.search(r"FLAGS.*NOW", tool("readelf", "-d", str(library)))
