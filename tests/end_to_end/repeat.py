#!/usr/bin/env python3
"""Repeats the end-to-end cases many times and prints a table of figures. Started by tests/repeat.sh.

Each row: how many guarded runs lived (exception, program or kernel alive, oom_kill 0), how much of
the limit was reached at least (peak plus refused request), and how long the exception took as a
multiple of the bare run's time to its death (least, median, greatest).
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import cgroup
import harness

GROWTH = ("bytearray", "dict", "list_of_str", "numpy_ones", "numpy_empty", "torch_ones", "threads")
TOUCHING_FITS = ("exact_fit", "skeletons")
TOUCHING = ("two_empty", "two_read_first", "ten_threads", "random_fancy", "random_loop", "map_fill",
            "slow", "cow_child", "cow_parent", "private_file", "recursion", "locked",
            "c_loop") + TOUCHING_FITS
CONVERSIONS = ("float32", "float16", "device_map")


def spread(values, form):
    if not values:
        return "-"
    values = sorted(values)
    return " / ".join(form % value for value in
                      (values[0], statistics.median(values), values[-1]))


def show(name, lived, runs, oom_kills, reached, ratios):
    least = f"{min(reached):.1%}" if reached else "-"
    print(f"{name:34} {lived:>3} of {runs:<3}  oom_kill {oom_kills:<3} reached >= {least:7} "
          f"time ratio {spread(ratios, '%.2f')}", flush=True)
    return lived == runs


def repeat_growth(python, case, times):
    """Bare and guarded runs alternate, so that both see the same machine."""
    lived, oom_kills, reached, ratios = 0, 0, [], []
    for _ in range(times):
        bare = harness.growth(python, case, guarded=False)
        run = harness.growth(python, case, guarded=True)
        oom_kills += run.oom_kills
        reached.append(run.reached)
        good = run.finished.status == 0 and run.oom_kills == 0 and run.result.get("alive", False)
        lived += good
        if not good:
            print(f"{case}: {run}", file=sys.stderr)
        elif bare.finished.killed:
            ratios.append(run.seconds_to_exception / bare.finished.seconds)
    name = f"{case}, CPython {harness.python_label(python)}"
    return show(name, lived, times, oom_kills, reached, ratios)


def repeat_touching(case, weights, times):
    lived, oom_kills, reached = 0, 0, []
    for _ in range(times):
        run = harness.touching(case, True, weights)
        oom_kills += run.oom_kills
        reached.append(run.peak_bytes / run.limit_bytes)
        good = run.oom_kills == 0 and (
            run.finished.status == 137 if case == "c_loop" else
            run.finished.status == 0 and run.result.get("intact") and run.result.get("alive")
            and (run.result["exception"] is None) == (case in TOUCHING_FITS))
        lived += bool(good)
        if not good:
            print(f"touching {case}: {run}", file=sys.stderr)
    return show(f"touching {case}", lived, times, oom_kills, reached, [])


def repeat_room(case, times):
    lived, oom_kills, reached, seconds = 0, 0, [], []
    for _ in range(times):
        run = harness.room(case)
        oom_kills += run.oom_kills
        reached.append(run.peak_bytes / run.limit_bytes)
        good = (run.finished.status == 0 and run.oom_kills == 0 and run.result.get("intact")
                and run.result["exception"] == "MemoryError" and run.result["lent"] > 0
                and run.result.get("rest", 0) == 0)
        lived += bool(good)
        if "took" in run.result:
            seconds.append(run.result["took"])
        if not good:
            print(f"room {case}: {run}", file=sys.stderr)
    if seconds:
        print(f"room: seconds until all was back {spread(seconds, '%.1f')}", flush=True)
    return show(f"room {case}", lived, times, oom_kills, reached, [])


def repeat_load(checkpoint, way, times):
    bare = harness.load(harness.main_python(), checkpoint, way, guarded=False)
    lived, oom_kills, reached, ratios = 0, 0, [], []
    for _ in range(times):
        run = harness.load(harness.main_python(), checkpoint, way, guarded=True)
        oom_kills += run.oom_kills
        reached.append(run.reached)
        good = (run.finished.status == 0 and run.oom_kills == 0
                and run.result.get("loaded") is False and run.result["intact"])
        lived += good
        if not good:
            print(f"{way}: {run}", file=sys.stderr)
        elif bare.finished.killed:
            ratios.append(run.seconds_to_exception / bare.finished.seconds)
    note = "" if bare.finished.killed else f" (bare hung for {bare.finished.seconds:.0f} s)"
    return show(f"script {way}{note}", lived, times, oom_kills, reached, ratios)


def repeat_notebook(checkpoint, kernel, times):
    lived, oom_kills, reached, seconds = 0, 0, [], []
    for _ in range(times):
        run = harness.notebook(checkpoint, *kernel)
        cells = {cell["id"]: cell for cell in run.result["cells"]}
        oom_kills += run.oom_kills
        reached.append(run.reached)
        seconds.append(cells["too-big"]["seconds"])
        good = (run.result["kernel"] == "lived" and run.oom_kills == 0
                and cells["too-big"]["exception"] in ("MemoryError", "RuntimeError")
                and "an hour of work" in cells["still-there"]["text"]
                and "19.1 B parameters" in cells["fits"]["text"])
        lived += good
        if not good:
            print(f"notebook: {run}\n{run.result}", file=sys.stderr)
    print(f"notebook: seconds to the exception {spread(seconds, '%.1f')}", flush=True)
    return show("notebook float32, then bfloat16", lived, times, oom_kills, reached, [])


def repeat_share(times):
    """How much of a limit is used before the first refusal: peak / limit, and with what was refused
    (a bytearray asks for an eighth more at a time)."""
    good = True
    for limit, goal in ((600 * cgroup.MIB, 0.94), (2 * cgroup.GIB, 0.975), (6 * cgroup.GIB, 0.985)):
        for case in ("bytearray", "numpy_ones", "list_of_str"):
            runs = [harness.run([harness.main_python(), harness.PROGRAMS / "growth.py", case], limit,
                                True, 150) for _ in range(times)]
            good &= all(run.finished.status == 0 and run.oom_kills == 0 for run in runs)
            peaks = [100 * run.peak_bytes / limit for run in runs]
            reached = min(run.reached for run in runs)
            print(f"{case:12} in {limit // cgroup.MIB:5} MiB: peak {spread(peaks, '%.1f%%')}, with the "
                  f"refused request >= {reached:.1%} (goal {goal:.1%}), oom_kill {sum(run.oom_kills for run in runs)}", flush=True)
    return good


def allocator_line(case, name, runs):
    peaks = [100 * run.peak_bytes / run.limit_bytes for run in runs]
    seconds = [run.seconds_to_exception for run in runs if run.result]
    lived = sum(run.finished.status == 0 and run.oom_kills == 0 for run in runs)
    print(f"{case:12} {name:9} {lived} of {len(runs)}  peak {spread(peaks, '%.1f%%')}  reached >= "
          f"{min(run.reached for run in runs):.1%}  exception after {spread(seconds, '%.2f')} s", flush=True)
    return lived == len(runs)


def repeat_allocators(times):
    """The growth programs in 600 MiB on both allocators, in turns: peak, usable share, time."""
    good = True
    found = subprocess.run([harness.command(), "env", "--allocator", "jemalloc", "--format", "json"],
                           capture_output=True, text=True)
    if found.returncode != 0:
        print(found.stderr.strip(), flush=True)
        return True
    preload = {"system": str(harness.library()), "jemalloc": json.loads(found.stdout)["LD_PRELOAD"]}
    for case in GROWTH:
        runs = {name: [] for name in preload}
        for _ in range(times):
            for name, libraries in preload.items():
                runs[name].append(harness.run(
                    [harness.main_python(), harness.PROGRAMS / "growth.py", case], harness.SMALL_LIMIT,
                    True, 60, LD_PRELOAD=libraries))
        for name in preload:
            good &= allocator_line(case, name, runs[name])
    return good


def run_cycles(count):
    run = harness.cycles(count, 3600)
    print(harness.cycles_line(run) if run.result else run, flush=True)
    return bool(run.result) and run.oom_kills == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", choices=("growth", "touching", "room", "interpreters", "load",
                                           "notebook", "share", "allocators", "cycles", "cpus"))
    parser.add_argument("--cpus", type=int, default=2, help="of the guest of --only cpus")
    options = parser.parse_args()
    if options.only == "cpus":
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "vm"))
        import several_cpus
        return several_cpus.main(options.times, options.cpus)
    reason = cgroup.why_unavailable()
    if reason:
        print(f"nothing to repeat here: {reason}", file=sys.stderr)
        return 2
    wanted = (lambda part: options.only in (None, part))
    good = True
    print(f"{options.times} times each; least / median / greatest of time ratios")
    if wanted("growth"):
        for case in GROWTH:
            good &= repeat_growth(harness.main_python(), case, options.times)
    if wanted("touching"):
        folder = pathlib.Path(harness.disk_folder())
        try:
            with open(folder / "weights", "wb") as file:
                file.truncate(900 << 20)
            for case in TOUCHING:
                good &= repeat_touching(case, str(folder / "weights"), options.times)
        finally:
            shutil.rmtree(folder)
    if wanted("room"):
        for case in ("comes_back", "full_file"):
            good &= repeat_room(case, options.times)
    if wanted("interpreters"):
        for python in harness.pythons():
            for case in GROWTH:
                if case != "torch_ones" and ("numpy" not in case or harness.has_numpy(python)):
                    good &= repeat_growth(python, case, max(1, options.times // 4))
    if wanted("share"):
        good &= repeat_share(max(1, options.times // 4))
    if wanted("allocators"):
        good &= repeat_allocators(max(1, options.times // 4))
    if options.only == "cycles":
        good &= run_cycles(options.times)
    if wanted("load") or wanted("notebook"):
        checkpoint = harness.disk_folder()
        prefix = tempfile.mkdtemp(prefix="oomguard-prefix-")
        try:
            harness.make_checkpoint(checkpoint)
            if wanted("load"):
                for way in CONVERSIONS:
                    good &= repeat_load(checkpoint, way, max(1, options.times // 4))
            if wanted("notebook"):
                kernel = harness.install_kernel(prefix)
                good &= repeat_notebook(checkpoint, kernel, options.times)
        finally:
            shutil.rmtree(checkpoint)
            shutil.rmtree(prefix)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
