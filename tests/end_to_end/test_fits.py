"""What fits is owed no refusal: guarded programs print what bare ones print, and nothing is counted."""
import os
import sys

import pytest

import harness

sys.path.insert(0, str(harness.PROGRAMS))
import fits  # noqa: E402


@pytest.mark.parametrize("case", fits.CASES)
def test_program_that_fits_gets_no_refusal(case, disk):
    argv = [harness.main_python(), harness.PROGRAMS / "fits.py", case]
    runs = []
    for guarded in (False, True):
        folder = os.path.join(disk, str(guarded))
        os.mkdir(folder)
        runs.append(harness.run(argv + [folder], harness.SMALL_LIMIT, guarded, timeout_s=60))
    bare, guarded = runs
    assert bare.finished.status == 0 and bare.refusals == 0, bare
    assert guarded.finished.status == 0 and guarded.oom_kills == 0, guarded
    assert guarded.finished.stdout == bare.finished.stdout, guarded
    assert guarded.finished.stderr == bare.finished.stderr, guarded
    assert guarded.refusals == 0, guarded
    with open(os.path.join(disk, "True", "last_refusal")) as answer:  # missing: it ran unguarded
        assert answer.read() == "None", guarded
    assert sum(session.fault_count for session in guarded.sessions) == 0, guarded


def test_a_share_that_comes_to_too_little_is_said_and_left_out():
    run = harness.run([harness.main_python(), "-c", "print(len(bytearray(100 << 20)))"],
                      harness.SMALL_LIMIT, True, timeout_s=60, OOMGUARD_BUDGET="1%")
    assert run.finished.status == 0, run
    assert run.finished.stdout == "104857600\n", run
    assert run.finished.stderr == (
        "oomguard: OOMGUARD_BUDGET comes to 6 MiB here, less than the 16 MiB that a program needs; "
        "using the default, auto\n"), run
