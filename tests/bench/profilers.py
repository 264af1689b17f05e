#!/usr/bin/env python3
"""Measures oomguard beside memory profilers: processor time over that of the bare program, in one table.

Started by profilers.sh. Each round runs every tool once on every workload; the table has the median of the
ratios of one round. A dash: the tool cannot run such a program, or cannot be had here. Figures, not a gate.
"""
import argparse
import glob
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = (("JSON", "json_round_trips"), ("classes", "class_heavy"), ("numpy temporaries, 8 KB", "numpy_8_kb"),
          ("numpy temporaries, 800 KB", "numpy_800_kb"))


def library(name):
    found = glob.glob(f"/usr/lib/*-linux-gnu/{name}")
    return found[0] if found else None


class Tool:
    """How a profiler runs a program; `wrap` is None where it cannot be had."""

    def __init__(self, name, wrap, only_python=False, **environment):
        self.name, self.wrap, self.only_python, self.environment = name, wrap, only_python, environment


def tools(options, folder):
    def preload(name, path, **environment):
        return Tool(name, (lambda argv: argv) if path else None, LD_PRELOAD=path or "", **environment)

    def module(name):
        return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode == 0

    oomguard, capture = options.build + "/bin/oomguard", folder + "/capture"
    memray = [sys.executable, "-m", "memray", "run", "-q", "-f", "-o", capture]
    fil = os.path.join(os.path.dirname(sys.executable), "fil-profile")
    heaptrack = shutil.which("heaptrack")
    return [
        Tool("bare", lambda argv: argv),
        Tool("oomguard", lambda argv: [oomguard, "run", "--dir", folder, "--"] + argv),
        Tool("--sample 0", lambda argv: [oomguard, "run", "--dir", folder, "--sample", "0", "--"] + argv),
        preload("jemalloc prof", library("libjemalloc.so.2"), MALLOC_CONF="prof:true,lg_prof_sample:19"),
        preload("tcmalloc prof", library("libtcmalloc.so.4"), HEAPPROFILE=capture),
        Tool("heaptrack", heaptrack and (lambda argv: [heaptrack, "-o", capture] + argv)),
        Tool("memray", module("memray") and (lambda argv: memray + argv[1:]), only_python=True),
        Tool("memray native", module("memray") and (lambda argv: memray + ["--native"] + argv[1:]),
             only_python=True),
        Tool("Fil", os.path.exists(fil) and (lambda argv: [fil, "--no-browser", "-o", capture + "-fil", "run"]
                                             + argv[1:]), only_python=True),
    ]


def seconds(tool, argv):
    environment = {name: value for name, value in os.environ.items()
                   if name != "LD_PRELOAD" and not name.startswith("OOMGUARD")}
    environment.update(tool.environment, PYTHONDONTWRITEBYTECODE="1", OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(tool.wrap(argv), env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=600)
    for line in reversed(done.stdout.splitlines()):
        try:
            return float(line)
        except ValueError:
            continue  # what a profiler says of itself
    raise SystemExit(f"{tool.name}: {' '.join(argv)} printed no figure:\n{done.stdout}{done.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="build folder")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench, folder = options.build + "/bench", tempfile.mkdtemp(prefix="oomguard-bench-", dir="/var/tmp")
    workloads = [("malloc/free pairs, 1 thread", [bench + "/pairs", "1", "5000000"]),
                 ("malloc/free pairs, 2 threads", [bench + "/pairs", "2", "5000000"]),
                 ("blocks of 64 KiB to 4 MiB", [bench + "/blocks", "2000"])]
    workloads += [(name, [sys.executable, HERE + "/workloads.py", workload]) for name, workload in PYTHON]
    try:
        all_tools = tools(options, folder)
        for tool in all_tools:
            if not tool.wrap:
                print(f"{tool.name} cannot be had here")
        measured = [tool for tool in all_tools if tool.wrap]
        print(f"{options.rounds} rounds; processor time over the bare program's, median of paired ratios\n")
        print(f"{'workload':30}" + "".join(f"{tool.name:>15}" for tool in measured))
        for name, argv in workloads:
            is_python = argv[0] == sys.executable
            runs = {tool.name: [] for tool in measured if is_python or not tool.only_python}
            for _ in range(options.rounds):
                for tool in measured:
                    if tool.name in runs:
                        runs[tool.name].append(seconds(tool, argv))
            cells = []
            for tool in measured:
                if tool.name == "bare":
                    cells.append(f"{statistics.median(runs['bare']):.2f} s")
                elif tool.name in runs:
                    ratios = [a / b for a, b in zip(runs[tool.name], runs["bare"])]
                    cells.append(f"{statistics.median(ratios):.2f}")
                else:
                    cells.append("-")
            print(f"{name:30}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
