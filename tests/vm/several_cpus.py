"""Runs the cases of guest/several_cpus.py in qemu and prints how each went, a line for each kind.
Started by tests/repeat.sh --only cpus.

Bare, the kernel has to kill each program; guarded, it has to raise, to be refused, or to be ended
with its report, or a file has carried what did not fit; nobody may be killed.
"""
import os

import judge
import machine
import packages
import qemu

GUARDED = ("guarded", "first", "second")


def _judged(case):
    """What is wrong with a case, or None."""
    try:
        if "bare" in case:
            judge.was_killed(case["bare"])
        for name in GUARDED:
            if name in case:
                judge.raised_ended_or_carried(case[name])
        return None
    except (AssertionError, KeyError) as error:
        return f"{type(error).__name__}: {error}"


def _row(name, cases):
    wrong = [text for text in map(_judged, cases) if text]
    runs = [case[part] for case in cases for part in GUARDED if part in case]
    held = sorted(run["result"].get("held_mib", 0) for run in runs)
    ended = sum(run["status"] == judge.ENDED for run in runs)
    kills = sum(run["events"]["oom_kill"] for run in runs)
    print(f"{name:32} {len(cases) - len(wrong):>3} of {len(cases):<3} oom_kill {kills:<3} "
          f"ended with a report {ended:<3} held {held[0]} to {held[-1]} MiB", flush=True)
    for text in wrong:
        print(f"  {text}", flush=True)
    return not wrong


def main(times, cpus, names=()):
    """Exit status: 0, also where there is no guest (and says why), or 1 if a case failed.

    `names`: of some cases alone ("bytes 0").
    """
    build, python = os.environ["OOMGUARD_BUILD"], os.environ["OOMGUARD_VENV"] + "/bin/python"
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONDONTWRITEBYTECODE": "1",
                   "VM_PYTHON": python, "VM_LIBRARY": build + "/lib/liboomguard.so",
                   "VM_COMMAND": build + "/bin/oomguard", "VM_FILL": build + "/tests/programs/fill",
                   "VM_TIMES": str(times)}
    try:
        outcome = qemu.run([python, machine.GUEST / "several_cpus.py", *names], 1 << 30,
                           300 + times * 1500, environment, cpus)
    except packages.Unavailable as error:
        print(f"skipped: no guest with several CPUs: {error}")
        return 0
    kinds = {}
    for name, case in outcome.cases.items():
        kinds.setdefault(name.rpartition(" ")[0], []).append(case)
    good = all([_row(name, cases) for name, cases in kinds.items()])
    if not outcome.finished:
        print(f"the guest did not come to its end\n{outcome.log[-2000:]}\n"
              f"{outcome.kernel[-2000:]}\n{outcome.console[-2000:]}")
    return 0 if good and outcome.finished else 1
