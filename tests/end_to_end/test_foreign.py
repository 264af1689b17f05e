"""Beside libraries, allocators and tools that are not written for it, the guard holds or says no."""
import glob
import os
import shutil
import subprocess

import pytest

import cgroup
import harness

PROGRAM = harness.PROGRAMS / "foreign.py"
LIMIT = 300 * cgroup.MIB
GROUP_OF_WORKERS = 960 * cgroup.MIB  # three processes with torch
ALLOCATORS = {"jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
              "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
              "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0")}
# PanicException is what PyO3 makes of a NULL from Python's C API.
RAISED = ("MemoryError", "MemoryLimit", "PanicException", "ArrowMemoryError")
# Torch's own, and what a pool says whose thread of its own could not read a result.
RAISED_AROUND_WORKERS = (*RAISED, "RuntimeError", "BrokenProcessPool", "TerminatedWorkerError")


def needs_module(name):
    if not harness.foreign_python():
        pytest.skip("the environment of foreign packages could not be made")
    if not harness.has_package(harness.foreign_python(), name):
        pytest.skip(f"not installed: pip install {name}")


def needs_allocator(name):
    file, package = ALLOCATORS[name]
    found = glob.glob(f"/usr/lib/*/{file}") + glob.glob(f"/usr/lib*/{file}")
    if not found:
        pytest.skip(f"not installed: apt-get install {package}")
    return found[0]


def check_raised_and_lived(run, raised=RAISED):
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] in raised, run
    assert run.refusals > 0, run


@pytest.mark.parametrize("case,module", (
    ("tokenizers", "tokenizers"), ("safetensors", "safetensors"), ("orjson_dumps", "orjson"),
    ("orjson_loads", "orjson"), ("openblas", "numpy"), ("mkl", "mkl"), ("numba", "numba"),
    ("polars", "polars")))
def test_callers_that_abort_on_null_end_in_an_exception(case, module):
    needs_module(module)
    check_raised_and_lived(harness.run([harness.foreign_python(), PROGRAM, case],
                                       harness.SMALL_LIMIT, True, 120, NUMBA_NUM_THREADS="1",
                                       RUST_BACKTRACE="0"))


# Workers hold memory in processes of their own, and the exception reaches who waits for them.
@pytest.mark.parametrize("case,package", (
    ("joblib_workers", "joblib"), ("joblib_results", "joblib"), ("torch_loader", "torch"),
    ("torch_shared", "torch")))
def test_a_library_whose_workers_meet_the_limit_ends_in_an_exception(case, package):
    if package != "torch":
        needs_module(package)
    python = harness.main_python() if package == "torch" else harness.foreign_python()
    limit = GROUP_OF_WORKERS if package == "torch" else harness.SMALL_LIMIT
    run = harness.run([python, PROGRAM, case, "100"], limit, True, 120)
    check_raised_and_lived(run, RAISED_AROUND_WORKERS)
    assert run.result["again"] == 100, run


def test_arrow_that_uses_the_systems_allocator_is_refused():
    needs_module("pyarrow")
    check_raised_and_lived(harness.run([harness.foreign_python(), PROGRAM, "pyarrow"],
                                       harness.SMALL_LIMIT, True, 120,
                                       ARROW_DEFAULT_MEMORY_POOL="system"))


@pytest.mark.parametrize("case", ("bytearrays", "texts", "numpy_ones"))
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_an_allocator_behind_the_library_is_guarded_and_its_memory_comes_back(allocator, case):
    library = needs_allocator(allocator)
    run = harness.run([harness.main_python(), PROGRAM, case, "100"], LIMIT, True, 60,
                      LD_PRELOAD=f"{harness.library()}:{library}")
    check_raised_and_lived(run)
    assert run.result["again"] == 100, run


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_before_an_allocator_that_stands_first_the_guard_is_off_and_says_so(allocator, disk):
    library = needs_allocator(allocator)
    environment = harness.guarded_environment(disk, LD_PRELOAD=f"{library}:{harness.library()}")
    done = subprocess.run([harness.main_python(), "-c", "import numpy; print(numpy.ones(9).sum())"],
                          env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "9.0\n"), done
    assert done.stderr.count("oomguard: off in this process") == 1 and library in done.stderr, done


# These complain about NULL with a crash, so nothing is refused to them: the exception comes by a signal.
def test_scalene_beside_the_guard(disk):
    needs_module("scalene")
    script = os.path.join(disk, "grow.py")  # the profiler changes a program's arguments
    with open(script, "w") as file:
        file.write(f"import runpy, sys\nsys.argv = ['', 'bytearrays']\n"
                   f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n")
    for _ in range(6):
        run = harness.run([harness.foreign_python(), "-m", "scalene", "run", "--cli", "--memory", "--outfile",
                           os.path.join(disk, "profile.json"), script], LIMIT, True, 120)
        assert run.finished.stderr.count("libscalene.so comes before this liboomguard.so") == 1, run
        assert run.oom_kills == 0, run
        # An exception that interrupts the profiler in the wrong place crashes it, which is why it is named;
        # on a busy machine it may come too late, and the program ends with its report.
        late = run.finished.status == 137 and "no exception could be raised in time" in run.finished.stderr
        if "received signal SIGSEGV" not in run.finished.stdout and not late:
            break
    else:
        pytest.skip("Scalene crashed, or was ended, six times when the exception interrupted it")
    check_raised_and_lived(run)


def efence():
    found = glob.glob("/usr/lib/libefence.so.0") + glob.glob("/usr/lib/*/libefence.so.0")
    if not found:
        pytest.skip("not installed: apt-get install electric-fence")
    return found[0]


@pytest.mark.parametrize("order", ("{efence}:{library}", "{library}:{efence}"))
def test_electric_fence_before_and_behind_the_library(order):
    preload = order.format(efence=efence(), library=harness.library())
    run = harness.run([harness.main_python(), PROGRAM, "bytearrays"], LIMIT, True, 60, LD_PRELOAD=preload,
                      EF_ALLOW_MALLOC_0="1", OOMGUARD_SAMPLE="64KiB")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] in RAISED, run
    first = preload.startswith(efence())
    assert run.finished.stderr.count("comes before this liboomguard.so") == first, run


def test_a_second_copy_is_off_and_says_so(disk):
    copy = shutil.copy(harness.library(), disk)
    environment = harness.guarded_environment(disk, LD_PRELOAD=f"{harness.library()}:{copy}")
    done = subprocess.run([harness.main_python(), "-c", "import oomguard; print(oomguard.usage())"],
                          env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("Usage("), done
    assert done.stderr.count("oomguard: off in this process") == 1, done


def test_allocator_jemalloc_is_preloaded_behind_the_library_and_guarded(disk):
    library = needs_allocator("jemalloc")
    run = harness.run([harness.command(), "run", "--dir", disk, "--allocator", "jemalloc", "--",
                       harness.main_python(), PROGRAM, "numpy_ones", "200"], LIMIT, False, 60)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result == {"exception": "MemoryError", "again": 200}, run
    printed = subprocess.run([harness.command(), "env", "--allocator", "jemalloc", "--format", "json"],
                             env=harness.bare_environment(), capture_output=True, text=True,
                             timeout=60, check=True).stdout
    assert f"{harness.library()}:{library}" in printed


def traced(disk, tool, *arguments):
    """Runs the growth of bytearrays under a Python tool in a group; the tool's own exit counts."""
    return harness.run([harness.foreign_python(), "-m", tool, *arguments, str(PROGRAM), "bytearrays"],
                       LIMIT, True, 120, COVERAGE_FILE=os.path.join(disk, "coverage"))


def test_memray_beside_the_guard(disk):
    needs_module("memray")
    check_raised_and_lived(traced(disk, "memray", "run", "-q", "-o", os.path.join(disk, "trace.bin")))


def test_coverage_beside_the_guard(disk):
    needs_module("coverage")
    check_raised_and_lived(traced(disk, "coverage", "run"))


def test_faulthandler_beside_the_guard():
    check_raised_and_lived(harness.run(
        [harness.main_python(), "-X", "faulthandler", PROGRAM, "bytearrays"], LIMIT, True, 60))


@pytest.mark.parametrize("tool", ("py-spy", "gdb"))
def test_a_debugger_attaches_and_goes_and_the_guard_holds(tool, disk):
    folder = os.path.dirname(harness.foreign_python() or "")
    command = shutil.which(tool) or shutil.which(tool, path=folder)
    if command is None:
        pytest.skip(f"{tool} is not installed")
    code = ("import sys; print('up', flush=True); sys.stdin.readline()\n"
            "held = []\n"
            "try:\n    while True: held.append(bytearray(b'x') * (1 << 20))\n"
            "except MemoryError: held.clear(); print('raised')\n")
    with cgroup.MemoryGroup(LIMIT) as group:
        process = group.start([harness.main_python(), "-c", code], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True,
                              env=harness.guarded_environment(disk))
        assert process.stdout.readline() == "up\n"
        attach = {"py-spy": ["dump", "--pid", str(process.pid)],
                  "gdb": ["-nx", "-batch", "-p", str(process.pid), "-ex", "bt 1", "-ex", "detach"]}
        done = subprocess.run([command, *attach[tool]], capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL)
        if done.returncode != 0 and "ermi" in done.stderr:
            process.kill()
            process.wait(timeout=10)
            pytest.skip(f"{tool} may not attach here: {done.stderr.strip()[-200:]}")
        stdout, _ = process.communicate("\n", timeout=60)
        assert (process.returncode, stdout, group.oom_kills()) == (0, "raised\n", 0), done


def test_in_valgrind_a_program_ends_as_without_the_guard_which_says_that_it_is_off(disk):
    found = sorted(glob.glob("/usr/lib*/valgrind/memcheck-*-linux"))
    if not found:
        pytest.skip("not installed: apt-get install valgrind")
    environment = harness.guarded_environment(disk, OOMGUARD_BUDGET="100M",
                                              VALGRIND_LAUNCHER=shutil.which("valgrind"),
                                              VALGRIND_LIB=os.path.dirname(found[0]))
    code = ("import threading; held = [bytearray(16 << 20) for _ in range(10)]\n"
            "thread = threading.Thread(target=print, args=(len(held),)); thread.start()\n"
            "thread.join()")
    # The launcher takes the library out of LD_PRELOAD, since the tool that it starts is a static program.
    for launched, said in (([found[0], "--tool=memcheck"], 1), (["valgrind"], 0)):
        done = subprocess.run([*launched, "-q", harness.main_python(), "-c", code], env=environment,
                              capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "10\n"), done
        assert done.stderr.count("oomguard: off in this process: a tool such as valgrind") == said, done
