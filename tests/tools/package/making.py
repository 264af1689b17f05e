"""Runs what makes and installs packages."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]


def done(*command, timeout=120, **options):
    """What the command printed; what it complained of where it failed."""
    ran = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def make_wheel(packager, build, folder):
    done(
        *(packager, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "-w", folder),
        *("-C", f"cmake.define.OOMGUARD_PREBUILT={build}"),
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    (wheel,) = folder.glob("*.whl")
    return wheel
