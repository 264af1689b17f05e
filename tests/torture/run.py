#!/usr/bin/env python3
"""Runs random programs, guarded, in memory groups that are too small for many of them.

    tests/torture/run.py --seeds 100              seeds 0 to 99
    tests/torture/run.py --seeds 2000 --first 500
    tests/torture/run.py --replay 17 [--bare]     prints the plan of seed 17, then each step of it

Even seeds are a C program, odd ones a Python (engine.py). A seed says how large its group is (64 MiB
to 1 GiB) and how much its plan wants (0.3 to 3 times that). Whatever happens, the kernel may kill
nothing, no program may hang or crash, and no block may lose what was written into it. A program that is
owed no refusal gets none; one that touches more than there is may be ended with a report, or by an
exception. Needs OOMGUARD_BUILD and OOMGUARD_VENV (tests/run.sh sets them). Exit status: 0, 1 if a seed
failed, 2 if it cannot be run here.
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "end_to_end"))

import cgroup  # noqa: E402
import harness  # noqa: E402

TIMEOUT_S = 90
BASE = {"c": 4 * cgroup.MIB, "python": 40 * cgroup.MIB}  # of the process before its plan
HEAP_OVERHEAD = 1.25                                      # of malloc's own: headers, arenas, what is cached
ENDED = 137                                               # by `oomguard run`: with a report
figures = []             # lines for the summary at the end of a test run
FOLDER = harness.build() / "tests/torture" if os.environ.get("OOMGUARD_BUILD") else None


@dataclasses.dataclass
class Case:
    seed: int
    engine: str
    limit: int
    bytes: int       # that the plan may use at once

    def argv(self):
        numbers = [str(self.seed), str(self.bytes)]
        if self.engine == "c":
            return [str(FOLDER / "torture")] + numbers
        return [harness.main_python(), str(HERE / "engine.py"), str(FOLDER / "torture.abi3.so")] + numbers

    def module_bytes(self):
        return self.bytes if self.engine == "c" else self.bytes * 3 // 4

    def plan(self):
        return subprocess.run([FOLDER / "torture", "--print", str(self.seed), str(self.module_bytes())],
                              capture_output=True, text=True, check=True, timeout=20).stdout

    def bounds(self):
        """The most that the program ever holds, and the most that it ever touches."""
        head = self.plan().splitlines()[0]
        granted, touched = map(int, re.search(r"granted at most (\d+), touched at most (\d+)",
                                              head).groups())
        objects = (self.bytes - self.module_bytes()) * (2 if "forks 0" not in head else 1)
        return tuple(int((part + objects) * HEAP_OVERHEAD) + BASE[self.engine]
                     for part in (granted, touched))


def case_of(seed, largest):
    chance = random.Random(seed)
    engine = "c" if seed % 2 == 0 else "python"
    smallest = 64 if engine == "c" else 96
    limit = int(2 ** chance.uniform(math.log2(smallest), math.log2(largest))) * cgroup.MIB
    factor = 2 ** chance.uniform(math.log2(0.3), math.log2(3))
    return Case(seed, engine, limit, int(factor * (limit - BASE[engine])))


def stacks(pid):
    """Where every thread of a process is."""
    lines = []
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*"), key=lambda t: int(t.name)):
        said = []
        for name in ("comm", "wchan", "syscall", "stack"):
            try:
                said.append(f"{name} {(task / name).read_text().strip()}")
            except OSError as error:
                said.append(f"{name} ({error.strerror})")
        lines.append(f"task {task.name}: " + "; ".join(said))
    if shutil.which("gdb"):
        try:
            lines.append(subprocess.run(
                ["gdb", "-p", str(pid), "-batch", "-nx", "-ex", "thread apply all bt 30"],
                capture_output=True, text=True, timeout=30).stdout[-12000:])
        except subprocess.TimeoutExpired:
            lines.append("gdb came to no end")
    return "\n".join(lines)


@dataclasses.dataclass
class Outcome:
    case: Case
    status: int
    oom_kills: int
    peak: int
    seconds: float
    hang: str        # where it hung, "" where it did not
    output: str
    result: dict
    sessions: list

    def refusals(self):
        return sum(session.refusal_count for session in self.sessions)

    def kill(self):
        """The fault that depends on how busy the machine is: [] or one line."""
        return [f"the kernel killed {self.oom_kills}"] if self.oom_kills else []

    def faults(self):
        """What may never be, besides a kill and its consequences; [] where the seed passes."""
        wrong = []
        if self.hang:
            wrong.append(f"hangs\n{self.hang}")
        granted, touched = self.case.bounds()
        names_it = "MemoryError" in self.output or "oomguard.MemoryLimit" in self.output
        ended = self.status == ENDED or (self.case.engine == "python" and self.status == 1 and names_it)
        if self.status != 0 and not ended and not self.hang and not (self.oom_kills and self.lost_one()):
            wrong.append(f"ended with status {self.status}")
        line = max((refusal.line_bytes for session in self.sessions for refusal in session.refusals),
                   default=0)
        if granted + line <= self.case.limit and (self.refusals() or self.result.get("refusals")):
            wrong += ["was refused what fits"] + [str(refusal) for session in self.sessions
                                                  for refusal in session.refusals[:4]]
        if ended and not self.oom_kills and touched + line + 16 * cgroup.MIB < self.case.limit:
            wrong.append("was ended although everything fits")
        return wrong

    def lost_one(self):
        """Its end is what the kill of the program, or of a child that it waited for, leads to."""
        return self.status in (ENDED, -signal.SIGKILL) or "a child ended by signal 9" in self.output

    def kind(self):
        if self.faults():
            return "failed"
        if self.kill():
            return "killed"
        if self.status != 0:
            return "ended with a report"
        return "refused and went on" if self.refusals() else "ran as planned"


def run(case, bare=False, **extra):
    folder = tempfile.mkdtemp(prefix="oomguard-torture-",
                              dir=os.environ.get("OOMGUARD_TEST_DISK", "/var/tmp"))
    argv = case.argv()
    if not bare:
        argv = [str(harness.command()), "run", "--dir", folder, "--"] + argv
    try:
        with cgroup.MemoryGroup(case.limit) as group, open(folder + "/output", "w+b") as output:
            started = time.monotonic()
            process = group.start(argv, env=harness.bare_environment(**extra), stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=output, start_new_session=True)
            hang = ""
            try:
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                hang = "\n".join(stacks(pid) for pid in group.processes()) or "nothing is left of it"
            group.kill_all()
            process.wait(30)
            output.seek(0)
            text = output.read().decode(errors="replace")
            return Outcome(case, process.returncode, group.oom_kills(), group.peak_bytes(),
                           time.monotonic() - started, hang, text, harness._last_json(text),
                           harness.session_files.read_all(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def describe(outcome):
    case = outcome.case
    return (f"seed {case.seed}: {case.engine}, limit {case.limit // cgroup.MIB} MiB, plan "
            f"{case.bytes / case.limit:.2f} of it, status {outcome.status}, peak "
            f"{outcome.peak / case.limit:.1%}, refusals {outcome.refusals()}, {outcome.seconds:.1f} s")


def replay(seed, largest, bare):
    case = case_of(seed, largest)
    print(case.plan())
    outcome = run(case, bare, TORTURE_TRACE="1")
    print(outcome.output[-6000:])
    print(describe(outcome), "--", outcome.kind())
    for fault in outcome.faults() + outcome.kill():
        print("  " + fault)
    return 1 if outcome.faults() or outcome.oom_kills else 0


def failure(outcome, faults, largest):
    """What is printed of a seed that failed: everything that is needed to see it again."""
    return (describe(outcome) + "".join("\n  " + fault for fault in faults) +
            f"\n  again: tests/torture/run.py --replay {outcome.case.seed} --largest {largest}\n" +
            outcome.output[-1500:])


def run_all(seeds, largest, jobs):
    """Every seed's Outcome, in their order."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda seed: run(case_of(seed, largest)), seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="at once")
    parser.add_argument("--largest", type=int, default=1024, help="MiB of the largest group")
    parser.add_argument("--engine", choices=("c", "python"), help="only the seeds of one")
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--bare", action="store_true", help="with --replay: without oomguard")
    options = parser.parse_args()
    reason = cgroup.why_unavailable() or (None if FOLDER else "OOMGUARD_BUILD is not set")
    if reason:
        print(f"cannot run here: {reason}", file=sys.stderr)
        return 2
    if options.replay is not None:
        return replay(options.replay, options.largest, options.bare)
    seeds = range(options.first, options.first + options.seeds)
    seeds = [seed for seed in seeds if options.engine in (None, case_of(seed, 1024).engine)]
    kinds, failed = collections.Counter(), []
    for outcome in run_all(seeds, options.largest, options.jobs):
        kinds[outcome.kind()] += 1
        if faults := outcome.faults() + outcome.kill():
            failed.append(outcome.case.seed)
            print(failure(outcome, faults, options.largest), flush=True)
    print(json.dumps(dict(kinds)))
    if failed:
        print("failed:", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
