"""A hundred random programs: no hang, no crash, no corrupted block, no false refusal, and no kill that
comes again.

Whether the kernel kills first is a race: on a busy machine the watchdog gets its turn late, and in 1,700
runs beside a load of 13 to 24 on two cores two seeds were killed, once each. So a seed fails by a kill
where it is killed again, twice of two times, and the test where many are killed at all. How many were is
among the figures.
"""
import collections
import os
import pathlib
import sys

import pytest

if not os.environ.get("OOMGUARD_BUILD") or not os.environ.get("OOMGUARD_VENV"):
    pytest.skip("OOMGUARD_BUILD and OOMGUARD_VENV are not set: start through tests/run.sh",
                allow_module_level=True)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import run  # noqa: E402

SEEDS = 100
LARGEST_MIB = 256
MOST_KILLED = 5  # once each


def is_killed_again(outcome):
    return all(run.run(outcome.case).oom_kills for _ in range(2))


@pytest.mark.skipif(run.cgroup.why_unavailable() is not None,
                    reason=str(run.cgroup.why_unavailable()))
@pytest.mark.timeout(600)
def test_no_random_program_hangs_crashes_loses_what_it_wrote_or_is_refused_what_fits():
    kinds, killed, failures = collections.Counter(), [], []
    for outcome in run.run_all(range(SEEDS), LARGEST_MIB, jobs=2):
        kinds[outcome.kind()] += 1
        faults = outcome.faults()
        if outcome.oom_kills:
            killed.append(outcome.case.seed)
            if is_killed_again(outcome):
                faults = faults + outcome.kill()
        if faults:
            failures.append(run.failure(outcome, faults, LARGEST_MIB))
    run.figures.append(f"torture, {SEEDS} seeds: " +
                       ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    if killed:
        run.figures.append("torture, killed: " + " ".join(map(str, killed)))
    assert not failures, "\n".join(failures)
    assert len(killed) <= MOST_KILLED, killed
    # Both must come: programs that meet their limit, and programs that never see it.
    assert kinds["ran as planned"] > 0 and kinds["refused and went on"] > 0, kinds
