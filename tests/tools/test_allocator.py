"""`--allocator jemalloc`: preloaded behind the library; where it is missing, what to install."""

import glob
import json
import os
import subprocess

import pytest

HIDES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
int stat(const char* path, struct stat* out) {
  if (strstr(path, "libjemalloc") != NULL) {
    errno = ENOENT;
    return -1;
  }
  return ((int (*)(const char*, struct stat*))dlsym(RTLD_NEXT, "stat"))(path, out);
}
"""


@pytest.fixture
def jemalloc():
    found = glob.glob("/usr/lib/*/libjemalloc.so.2") + glob.glob("/usr/lib*/libjemalloc.so.2")
    if not found:
        pytest.skip("not installed: apt-get install libjemalloc2")
    return found[0]


@pytest.fixture
def hidden(compiler, tmp_path):
    """An environment in which the library is not found, wherever it is."""
    path = tmp_path / "hides.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, "-x", "c", "-"], input=HIDES.encode(),
                   check=True, timeout=60)
    return {"LD_PRELOAD": str(path)}


@pytest.fixture
def source(environment):
    folder = os.path.join(environment["HOME"], ".local/share/jupyter/kernels/python3")
    os.makedirs(folder)
    with open(os.path.join(folder, "kernel.json"), "w") as file:
        json.dump({"argv": ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                   "display_name": "Python 3", "language": "python"}, file)
    return folder


@pytest.mark.parametrize("verb", (("run", "--allocator", "jemalloc", "--", "true"),
                                  ("env", "--allocator", "jemalloc"),
                                  ("kernelspec", "install", "--allocator", "jemalloc")))
def test_where_it_is_missing_the_package_is_named(tool, source, hidden, verb):
    result = tool(*verb, env=hidden)
    assert (result.returncode, result.stdout) == (5, "")
    assert "--allocator jemalloc: libjemalloc.so.2 was not found" in result.stderr
    assert "libjemalloc2 (Debian, Ubuntu)" in result.stderr
    assert not os.path.exists(os.path.join(os.path.dirname(source), "oomguard-python3"))


def test_a_kernelspec_preloads_it_behind_the_library(tool, source, library, jemalloc):
    result = tool("kernelspec", "install", "--allocator", "jemalloc")
    assert (result.returncode, result.stderr) == (0, "")
    with open(os.path.join(os.path.dirname(source), "oomguard-python3/kernel.json")) as file:
        environment = json.load(file)["env"]
    assert environment["LD_PRELOAD"] == f"{library}:{jemalloc}"
    assert environment["OOMGUARD_ALLOCATOR"] == "jemalloc"


def test_what_a_kernelspec_sets_is_guarded_on_that_allocator(tool, source, python, environment, jemalloc):
    tool("kernelspec", "install", "--allocator", "jemalloc", "--budget", "256MiB")
    with open(os.path.join(os.path.dirname(source), "oomguard-python3/kernel.json")) as file:
        settings = json.load(file)["env"]
    code = ("import oomguard\n"
            "print('libjemalloc' in open('/proc/self/maps').read(), oomguard.usage().limit >> 20)\n"
            "try: bytearray(1 << 30)\nexcept MemoryError as error: print(oomguard.is_refusal(error))")
    done = subprocess.run([python, "-c", code], env={**environment, **settings}, capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True 256\nTrue\n", "")
