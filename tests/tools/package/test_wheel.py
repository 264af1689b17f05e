"""`pip install`: what the wheel holds, what it asks of the machine, and that it guards from there."""

import os
import pathlib
import re
import shutil
import subprocess
import zipfile

import pytest
from making import ROOT, done, make_wheel

OLDEST_GLIBC = (2, 28)
PYTHONS = [path for path in os.environ.get("OOMGUARD_PYTHONS", "").split(":") if path]
REFUSED = """
import oomguard
try:
    bytearray(1 << 40)
except MemoryError as error:
    assert oomguard.is_refusal(error)
    print("refused", oomguard.__spec__.origin)
"""


@pytest.fixture(scope="session")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_it_holds_the_command_the_library_and_the_module(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    version = wheel.name.split("-")[1]
    assert sorted(names) == [
        f"oomguard-{version}.data/data/bin/oomguard",
        f"oomguard-{version}.data/data/lib/liboomguard.so",
        "oomguard/__init__.py",
    ]


def asked_versions(file):
    """Of glibc, by the symbols that the file takes from others."""
    symbols = done("readelf", "--dyn-syms", "--wide", file)
    taken = [line for line in symbols.splitlines() if " UND " in line]
    return {tuple(map(int, found)) for line in taken for found in re.findall(r"@GLIBC_(\d+)\.(\d+)", line)}


def test_it_asks_for_no_newer_glibc_than_the_oldest_supported(unpacked):
    (library,) = unpacked.rglob("liboomguard.so")
    asked = asked_versions(library)
    assert asked and max(asked) <= OLDEST_GLIBC, sorted(asked)
    (command,) = unpacked.rglob("bin/oomguard")
    assert asked_versions(command) == set()
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", done("readelf", "--dynamic", "--wide", library))
    assert [name for name in needed if not name.startswith("ld-linux-")] == ["libdl.so.2", "libc.so.6"]
    assert "NEEDED" not in done("readelf", "--dynamic", "--wide", command)


def test_auditwheel_finds_it_fit_for_every_such_machine(packager, wheel):
    report = done(packager, "-m", "auditwheel", "show", wheel)
    found = re.search(r'"manylinux_(\d+)_(\d+)_\w+"', report)
    assert found and tuple(map(int, found.groups())) <= OLDEST_GLIBC, report


@pytest.mark.parametrize("python", PYTHONS)
def test_a_guarded_program_is_refused_from_a_clean_environment(
    python, packager, wheel, environment, tmp_path
):
    place = tmp_path / "environment"
    base = done(python, "-c", "import sys; print(sys.base_prefix + '/bin/python%d.%d' % sys.version_info[:2])")
    done(base.strip(), "-m", "venv", "--without-pip", place)
    before = sorted(place.rglob("*"))
    pip = (packager, "-m", "pip", "--python", place / "bin/python")
    done(*pip, "install", "--no-index", wheel, env=environment)
    guarded = done(place / "bin/oomguard", "run", place / "bin/python", "-c", REFUSED, env=environment)
    assert guarded == "refused embedded in liboomguard.so\n"
    bare = "import oomguard; print(oomguard.__file__, oomguard.headroom(), oomguard.report())"
    assert done(place / "bin/python", "-c", bare, env=environment).startswith(str(place))
    done(*pip, "uninstall", "--yes", "oomguard", env=environment)
    left = [path for path in sorted(place.rglob("*")) if path not in before and path.is_file()]
    assert [path for path in left if "__pycache__" not in path.parts] == []
    # pip itself asks other tools for their versions, and they leave something.
    assert [path for path in pathlib.Path(environment["HOME"]).rglob("*oomguard*")] == []


def test_the_same_build_makes_the_same_wheel(packager, build, wheel, tmp_path):
    assert make_wheel(packager, build, tmp_path).read_bytes() == wheel.read_bytes()


def stripped(library, folder):
    copy = folder / f"{len(list(folder.iterdir()))}.so"
    shutil.copyfile(library, copy)
    done("strip", copy)
    return copy.read_bytes()


@pytest.mark.timeout(900)
def test_the_same_commit_built_elsewhere_is_the_same_library(build, tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are no git checkout")
    if "ccache" in (build / "CMakeCache.txt").read_text():
        pytest.skip("the tested build went through ccache, which writes paths of its own into files")
    sources = tmp_path / "a folder of another length"
    done("git", "-c", f"safe.directory={ROOT}/.git", "clone", "--quiet", "--no-hardlinks", ROOT, sources)
    changes = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "diff", "HEAD", "--binary"], capture_output=True, check=True)
    if changes.stdout:
        subprocess.run(["git", "-C", sources, "apply"], input=changes.stdout, check=True)
    environment = {**os.environ, "CCACHE_DISABLE": "1"}
    done("cmake", "--preset", "release", "-DOOMGUARD_BUILD_TESTS=OFF", cwd=sources, env=environment)
    done("cmake", "--build", "build/release", "--parallel", "2", "--target", "oomguard",
         timeout=700, cwd=sources, env=environment)
    tested = stripped(build / "lib/liboomguard.so", tmp_path)
    assert stripped(sources / "build/release/lib/liboomguard.so", tmp_path) == tested


def test_the_debian_package_guards_from_where_it_is_unpacked(build, environment, python, tmp_path):
    for tool, package in (("cpack", "cmake"), ("dpkg-deb", "dpkg"), ("dpkg-shlibdeps", "dpkg-dev")):
        if shutil.which(tool) is None:
            pytest.skip(f"not installed: apt-get install {package}")
    done("cpack", "-G", "DEB", "-B", tmp_path / "made", "--config", build / "CPackConfig.cmake",
         timeout=300)
    (package,) = (tmp_path / "made").glob("*.deb")
    assert re.search(r"^ Depends: .*libc6", done("dpkg-deb", "--info", package), re.MULTILINE)
    done("dpkg-deb", "-x", package, tmp_path / "root")
    command = tmp_path / "root/usr/bin/oomguard"
    guarded = done(command, "run", python, "-c", REFUSED, env=environment)
    assert guarded == "refused embedded in liboomguard.so\n"
