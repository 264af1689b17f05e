"""A wheel of the build that is tested, and environments to install it into.

OOMGUARD_VENV_PACKAGE   virtual environment with scikit-build-core, auditwheel and a pip of today
OOMGUARD_PYTHONS        interpreters whose environments it is installed into, colon separated
"""

import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import making  # noqa: E402


@pytest.fixture(scope="session")
def packager():
    """The interpreter that makes packages."""
    if not os.environ.get("OOMGUARD_VENV_PACKAGE"):
        pytest.skip("OOMGUARD_VENV_PACKAGE names no environment with scikit-build-core")
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        pytest.skip("not installed: apt-get install cmake ninja-build")
    return os.environ["OOMGUARD_VENV_PACKAGE"] + "/bin/python"


@pytest.fixture(scope="session")
def wheel(packager, build, tmp_path_factory):
    if not (build / "package/oomguard").exists():
        pytest.skip("the build has no portable command (-DOOMGUARD_PORTABLE=ON)")
    return making.make_wheel(packager, build, tmp_path_factory.mktemp("wheel"))
