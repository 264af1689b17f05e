"""Libraries that have workers, allocators or thread pools of their own print the same guarded as bare."""
import os
import sys

import pytest

import cgroup
import harness

PROGRAM = harness.PROGRAMS / "libraries_fit.py"
LIMIT = 2 * cgroup.GIB
sys.path.insert(0, str(harness.PROGRAMS))
import libraries_fit  # noqa: E402

# What each case needs, and which environment has it.
PACKAGES = {"torch_workers": "torch", "joblib_workers": "joblib", "polars_queries": "polars",
            "arrow_pools": "pyarrow", "mkl_products": "mkl", "exceptions": "torch"}
OPTIONS = {"exceptions": {"OOMGUARD_SAMPLE": "4KiB"}}


def python_with(package):
    """The interpreter of ours that has a package, or None."""
    for python in (harness.main_python(), harness.foreign_python()):
        if python and harness.has_package(python, package):
            return python
    return None


@pytest.mark.parametrize("case", libraries_fit.CASES)
def test_a_library_with_room_works_as_without_the_guard(case, disk):
    python = python_with(PACKAGES[case])
    if python is None:
        pytest.skip(f"not installed: pip install {PACKAGES[case]}")
    runs = []
    for guarded in (False, True):
        folder = os.path.join(disk, str(guarded))
        os.mkdir(folder)
        runs.append(harness.run([python, PROGRAM, case, folder], LIMIT, guarded, timeout_s=120,
                                **OPTIONS.get(case, {})))
    bare, guarded = runs
    assert bare.finished.status == 0, bare
    assert guarded.finished.status == 0 and guarded.oom_kills == 0, guarded
    assert guarded.finished.stdout == bare.finished.stdout, (str(bare), str(guarded))
    assert guarded.finished.stderr == bare.finished.stderr, (str(bare), str(guarded))
    assert guarded.refusals == 0, guarded
    with open(os.path.join(disk, "True", "last_refusal")) as answer:  # missing: it ran unguarded
        assert answer.read() == "None", guarded
    assert sum(session.fault_count for session in guarded.sessions) == 0, guarded
