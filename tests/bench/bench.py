#!/usr/bin/env python3
"""Measures what the guard costs: paired, interleaved runs (bare, forwarder, guarded, bare, …).

Started by run.sh. Prints a table of ratios: medians over the rounds of (guarded / bare) and
(guarded / forwarder) of the same round. Figures, not a gate: the exit status is 0 either way.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BARE, FORWARDER, GUARDED, JEMALLOC = "bare", "forwarder", "guarded", "guarded with jemalloc"


class Bench:
    def __init__(self, options):
        self.options = options
        self.sessions = tempfile.mkdtemp(prefix="oomguard-bench-", dir="/var/tmp")
        self.environment = {name: value for name, value in os.environ.items()
                            if name != "LD_PRELOAD" and not name.startswith("OOMGUARD")}
        self.environment.update(PYTHONDONTWRITEBYTECODE="1", OPENBLAS_NUM_THREADS="1")

    def run(self, kind, argv, budget=None):
        """Runs one command one way and returns the line that it printed."""
        environment = dict(self.environment)
        if kind == FORWARDER:
            environment["LD_PRELOAD"] = self.options.forwarder
        elif kind in (GUARDED, JEMALLOC):
            environment["OOMGUARD_DIR"] = self.sessions
            if budget:
                environment["OOMGUARD_BUDGET"] = budget
            # `run` marks the program, so that a program that is not Python is guarded too.
            allocator = ["--allocator", "jemalloc"] if kind == JEMALLOC else []
            argv = [self.options.build + "/bin/oomguard", "run", *allocator, "--"] + argv
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, timeout=300, check=True,
                              stdin=subprocess.DEVNULL, text=True)
        return done.stdout.strip()

    def rounds(self, argv, kinds=(BARE, FORWARDER, GUARDED), measure=None):
        """Figures of each kind, one a round; the first round warms up and is dropped."""
        measure = measure or (lambda kind: float(self.run(kind, argv)))
        figures = {kind: [] for kind in kinds}
        for number in range(self.options.rounds + 1):
            for kind in kinds:
                figure = measure(kind)
                if number:
                    figures[kind].append(figure)
        return figures


def ratio_text(figures, of, over):
    if over not in figures:
        return ""
    ratios = sorted(a / b for a, b in zip(figures[of], figures[over]))
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})"


def ratio_row(name, figures, aim, of=GUARDED):
    print(f"{name:34} {statistics.median(figures[BARE]):9.3f} s  {ratio_text(figures, of, BARE):22} "
          f"{ratio_text(figures, of, FORWARDER):22} {aim}", flush=True)


def jemalloc_rows(bench, script):
    """The guard with --allocator jemalloc, over the unguarded program on libc's allocator."""
    try:
        bench.run(JEMALLOC, ["true"])
    except subprocess.CalledProcessError:
        return  # the command has said what to install
    for threads in (1, 2):
        ratio_row(f"pairs on jemalloc, {threads} thread{'s' * (threads > 1)}",
                  bench.rounds([bench.options.pairs, str(threads), "20000000"], kinds=(BARE, JEMALLOC)),
                  "<= 0.70", of=JEMALLOC)
    for name, workload in (("JSON", "json_round_trips"), ("numpy temporaries, 800 KB", "numpy_800_kb")):
        ratio_row(f"{name}, on jemalloc", bench.rounds(script + [workload], kinds=(BARE, JEMALLOC)), "",
                  of=JEMALLOC)


def start_milliseconds(bench, python):
    def measure(kind):
        environment = dict(bench.environment)
        if kind == GUARDED:
            environment.update(LD_PRELOAD=bench.options.build + "/lib/liboomguard.so",
                               OOMGUARD_DIR=bench.sessions)
        before = time.perf_counter()
        for _ in range(10):
            subprocess.run([python, "-c", "pass"], env=environment, check=True, timeout=60)
        return 100 * (time.perf_counter() - before)
    return bench.rounds(None, kinds=(BARE, GUARDED), measure=measure)


def difference_row(name, figures, unit, aim):
    differences = sorted(a - b for a, b in zip(figures[GUARDED], figures[BARE]))
    print(f"{name:34} {statistics.median(figures[BARE]):9.2f} {unit:3}"
          f"+{statistics.median(differences):.2f} {unit} ({differences[0]:+.2f} to "
          f"{differences[-1]:+.2f})   {aim}", flush=True)


def refusal_row(bench, python, name, workload):
    lines = [bench.run(GUARDED, [python, HERE + "/workloads.py", workload], budget="600M").split()
             for _ in range(bench.options.rounds)]
    first = statistics.median(float(line[0]) for line in lines)
    mean = statistics.median(float(line[1]) for line in lines)
    print(f"{name:34} first {first:.2f} ms, then {mean:.2f} ms each   aim: <= 5 ms", flush=True)


def write_rows(bench):
    on_disk = os.path.join(bench.sessions, "written")
    for path, name in ((os.devnull, os.devnull), (on_disk, "a file")):
        for size, text, count in ((1, "1 byte", 1000000), (4096, "4 KiB", 500000),
                                  (1 << 20, "1 MiB", 500000 if path == os.devnull else 1000)):
            argv = [bench.options.writes, path, str(size), str(count)]
            ratio_row(f"write, {text} to {name}", bench.rounds(argv, kinds=(BARE, GUARDED)), "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="build folder")
    parser.add_argument("--pairs", required=True, help="the compiled pairs.c")
    parser.add_argument("--blocks", required=True, help="the compiled blocks.c")
    parser.add_argument("--writes", required=True, help="the compiled writes.c")
    parser.add_argument("--forwarder", required=True, help="the compiled forwarder.c")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    python, bench = sys.executable, Bench(options)
    script = [python, HERE + "/workloads.py"]
    print(f"{options.rounds} rounds; processor time; median of paired ratios (least-greatest)\n")
    print(f"{'workload':34} {'bare':>11}  {'guarded / bare':22} {'guarded / forwarder':22} aim")
    try:
        for threads in (1, 2):
            ratio_row(f"malloc/free pairs, {threads} thread{'s' * (threads > 1)}",
                      bench.rounds([options.pairs, str(threads), "20000000"]),
                      "<= 1.08 bare, <= 1.05 forwarder")
        ratio_row("blocks of 64 KiB to 4 MiB", bench.rounds([options.blocks, "3000"]), "<= 1.10 bare")
        for name, workload, aim in (
                ("JSON", "json_round_trips", "<= 1.03"), ("classes", "class_heavy", "<= 1.03"),
                ("numpy temporaries, 8 KB", "numpy_8_kb", "<= 1.02"),
                ("numpy temporaries, 800 KB", "numpy_800_kb", "<= 1.02")):
            ratio_row(name, bench.rounds(script + [workload]), aim)
        jemalloc_rows(bench, script)
        write_rows(bench)
        difference_row("interpreter start", start_milliseconds(bench, python), "ms", "aim: <= +15 ms")
        difference_row("private memory, idle", bench.rounds(script + ["private_memory"],
                       kinds=(BARE, GUARDED)), "MiB", "aim: <= +8 MiB")
        refusal_row(bench, python, "refused bytes(2 GiB)", "refused_bytes")
        refusal_row(bench, python, "refused malloc(2 GiB)", "refused_malloc")
    finally:
        shutil.rmtree(bench.sessions, ignore_errors=True)


if __name__ == "__main__":
    main()
