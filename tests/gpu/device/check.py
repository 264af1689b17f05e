"""check.py --library LIBOOMGUARD [--only WORD]: runs the cases on this machine's first card and
prints a table. The status is 0 if all are as they should be, 1 if one is not, 77 where there is no
card to try them on."""
import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import cases
import nvml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NOTHING_TO_TRY_ON = 77
ALL_S = 400  # the library is built in the rest of the eight minutes
ONE_S = 100
STEP_RATIO = 1.01
GIB = 1 << 30


class Machine:
    def __init__(self, library, folder):
        self.card = nvml.Card()
        self.library, self.folder = library, folder
        self.said = []  # what the last program said on stderr
        self.end = time.monotonic() + ALL_S

    def left_s(self):
        return min(ONE_S, self.end - time.monotonic())

    def run(self, command, budget="", **variables):
        """The last line that the command prints, from JSON; None if it did not end well."""
        environment = dict(os.environ, OOMGUARD_DIR=str(self.folder), **variables)
        if budget:
            environment.update(LD_PRELOAD=str(self.library), OOMGUARD_GPU_BUDGET=budget)
        try:
            ended = subprocess.run(command, env=environment, capture_output=True, text=True,
                                   timeout=max(self.left_s(), 1))
            self.said = ended.stderr.splitlines()
            return json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else \
                self._failed(ended.stderr)
        except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
            return self._failed(str(error))

    @staticmethod
    def _failed(why):
        print("\n".join("    " + line for line in why.splitlines()[-12:]), file=sys.stderr)
        return None

    @contextlib.contextmanager
    def neighbour(self, wanted):
        if not wanted:
            yield
            return
        size = min(cases.NEIGHBOUR, self.card.memory()[1] // 2)
        holder = subprocess.Popen([sys.executable, HERE / "holder.py", str(size)], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if holder.stdout.readline() != "holding\n":
                raise OSError("the neighbour could not take its memory")
            yield
        finally:
            holder.stdin.close()
            holder.wait(30)

    def settled(self):
        """Waits until what the last process held is free again."""
        until = time.monotonic() + 5
        while self.card.memory()[2] > self.idle + (256 << 20) and time.monotonic() < until:
            time.sleep(0.1)


def row(name, verdict, seconds=None, text=""):
    shown = f"{seconds:6.1f} s" if seconds is not None else " " * 8
    print(f"{name:46} {shown}  {text:46} {verdict}", flush=True)


def check(machine, case):
    if case.module and importlib.util.find_spec(case.module) is None:
        row(case.name, "not installed")
        return True
    if machine.left_s() < 5:
        row(case.name, "MISSED: no time was left")
        return False
    machine.settled()
    start = time.monotonic()
    with machine.neighbour(case.neighbour):
        free_before = machine.card.memory()[1]
        with nvml.Peak(machine.card) as peak:
            result = machine.run([sys.executable, HERE / case.part, *map(str, case.arguments)],
                                 case.budget, **case.variables)
    wrong = cases.complaints(case, result, peak, free_before)
    told = "" if result is None else (result["exception"] or "").split(".")[-1] or "loaded"
    row(case.name, "MISSED: " + ", ".join(wrong) if wrong else "ok", time.monotonic() - start,
        f"peak {(peak.most_used - peak.before) / GIB:6.2f} GiB  {told}")
    return not wrong


def medians(machine, command, key, rounds):
    """Bare and guarded in turn; the medians, or None."""
    figures = {"": [], "auto": []}
    for _ in range(rounds):
        for budget, found in figures.items():
            result = machine.run(command, budget)
            if result is None:
                return None
            found.append(result[key])
    return statistics.median(figures[""]), statistics.median(figures["auto"])


def cost(machine, name, command, key, unit, limit, rounds):
    """A ratio of times; without a limit it is a figure alone."""
    start = time.monotonic()
    found = medians(machine, command, key, rounds)
    if found is None:
        row(name, "MISSED: did not run", time.monotonic() - start)
        return False
    bare, guarded = found
    good = limit is None or guarded <= bare * limit
    row(name, "ok" if good else f"MISSED: more than {limit}", time.monotonic() - start,
        f"{bare:.1f} -> {guarded:.1f} {unit}, ratio {guarded / bare:.3f}")
    return good


def pairs_program(folder):
    program = pathlib.Path(folder) / "pairs"
    compiler = os.environ.get("CXX", "c++")
    built = subprocess.run([compiler, "-O2", "-std=c++17", HERE / "pairs.cc", "-o", program,
                            "-ldl"])
    return program if built.returncode == 0 else None


def costs(machine, only):
    good = True
    program = pairs_program(machine.folder)
    if only in "cost of a pair" and program is not None:
        good &= cost(machine, "cost of a pair of cuMemAlloc and cuMemFree", [program],
                     "nanoseconds", "ns", None, 5)
    if only in "cost of a training step" and importlib.util.find_spec("torch") is not None:
        command = [sys.executable, HERE / "training_step.py"]
        # A noisy machine gets a second try, the guard none that it needs.
        good &= any(cost(machine, "cost of a training step", command, "microseconds", "us",
                         STEP_RATIO, rounds) for rounds in (2, 3))
    return good


def audit(machine, only):
    """The ledger's books and CUPTI's, after PyTorch has filled the budget."""
    name = "CUPTI's books"
    if only not in name or importlib.util.find_spec("torch") is None:
        return True
    if not (machine.library.parent / "liboomguard_cupti.so").exists():
        row(name, "not built: no CUPTI headers here")
        return True
    start = time.monotonic()
    result = machine.run([sys.executable, HERE / "fill_torch.py"], "20G", OOMGUARD_GPU_AUDIT="1")
    lines = [line for line in machine.said if line.startswith("oomguard audit:")]
    compared = [line for line in lines if "difference" in line]
    good = result is not None and bool(compared) and \
        all(line.endswith("difference 0 bytes") for line in compared)
    row(name, "ok" if good else "MISSED: " + "; ".join(lines), time.monotonic() - start,
        f"{len(compared)} classes compared")
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True, type=pathlib.Path)
    parser.add_argument("--only", default="", help="cases with this in their name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oomguard-gpu-") as folder:
        try:
            machine = Machine(arguments.library.resolve(), pathlib.Path(folder))
        except OSError as error:
            print(f"skipped: there is no NVIDIA card here ({error})")
            return NOTHING_TO_TRY_ON
        machine.idle = machine.card.memory()[2]
        total, free, _ = machine.card.memory()
        print(f"{machine.card.name()}, driver {machine.card.driver()}, {total / GIB:.1f} GiB, "
              f"{free / GIB:.1f} GiB free, Python {sys.version.split()[0]}")
        checkpoint = os.path.join(folder, "checkpoint")
        chosen = [case for case in cases.all_cases(checkpoint) if arguments.only in case.name]
        if any(checkpoint in case.arguments for case in chosen):
            subprocess.run([sys.executable, ROOT / "examples/load_19b/make_checkpoint.py",
                            checkpoint], check=True, stdout=subprocess.DEVNULL)
        missed = sum(not check(machine, case) for case in chosen)
        missed += not audit(machine, arguments.only)
        missed += not costs(machine, arguments.only)
        print(f"{missed} missed" if missed else "all as it should be")
        return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
