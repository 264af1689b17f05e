"""Runs programs on the fake driver, bare and guarded. OOMGUARD_BUILD names the build folder."""
import dataclasses
import os
import pathlib
import subprocess

import pytest

TIMEOUT_S = 120
MIB = 1 << 20
GIB = 1 << 30
# Starts a program as `oomguard run` does, without needing it.
LAUNCH = 'export OOMGUARD_RUN_PROGRAM=$$ LD_PRELOAD="$0"; exec "$@"'


@dataclasses.dataclass
class Ended:
    status: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()


def build():
    folder = os.environ.get("OOMGUARD_BUILD")
    if not folder:
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    return pathlib.Path(folder).resolve()


def gpu_build():
    """The build folder's tests/gpu, where the toolkit was found."""
    folder = build() / "tests" / "gpu"
    if not (folder / "fake" / "libcuda.so.1").exists():
        pytest.skip("CMake found no CUDA toolkit: the fake driver was not built")
    return folder


def run(command, guarded, folder, versioned=False, preload="", **variables):
    """Runs `command` on the fake driver; `folder` takes the session's files."""
    fake = gpu_build() / "fake"
    library = build() / "lib" / "liboomguard.so"
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("LD_PRELOAD", "CUDA_VISIBLE_DEVICES")
                   and not name.startswith(("OOMGUARD", "FAKE_CUDA"))}
    path = [str(fake / "versioned")] if versioned else []
    environment["LD_LIBRARY_PATH"] = ":".join(path + [str(fake)])
    environment["OOMGUARD_ROUTES_FOLDER"] = str(gpu_build() / "routes")
    environment["OOMGUARD_DIR"] = str(folder)
    environment.update({name: str(value) for name, value in variables.items()})
    command = [str(part) for part in command]
    if guarded:
        # Whatever else is preloaded comes first: it stands between the program and the guard.
        command = ["sh", "-c", LAUNCH, f"{preload}:{library}".lstrip(":"), *command]
    elif preload:
        environment["LD_PRELOAD"] = preload
    ended = subprocess.run(command, env=environment, capture_output=True, text=True,
                           timeout=TIMEOUT_S)
    return Ended(ended.returncode, ended.stdout, ended.stderr)
