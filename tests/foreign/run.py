#!/usr/bin/env python3
"""Runs test suites that other people wrote, bare and guarded, and prints what differs.

    tests/foreign/run.py --python 3.12 --modules test_threading test_mmap
    tests/foreign/run.py --python 3.12                  the whole list of MODULES
    tests/foreign/run.py --python 3.12 --modules test_socket --ignore '*VSOCK*'
    tests/foreign/run.py --python PATH --numpy          numpy's own tests (pytest and hypothesis
                                                        must be there, else none can be run)
    tests/foreign/run.py --python PATH --numpy fft _core.tests.test_nditer

OOMGUARD_BUILD names the build folder. Each run is in a memory group of its own with room to spare,
so that nothing is owed a refusal: every difference is a fault of the guard, or of a test that does
not always end the same. So a difference counts only if it shows again when both are repeated.
The exit status is 1 if something differs, 2 if nothing could be run.
"""
import argparse
import glob
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "end_to_end"))

import cgroup  # noqa: E402
import harness  # noqa: E402

LIMIT_BYTES = 3 * cgroup.GIB
# Modules of CPython's suite around memory, threads, processes and what is built on them. Names that
# a version does not have are left out; a package's name stands for all of its modules.
MODULES = [
    "test_threading", "test_thread", "test_threading_local", "test_threadsignals",
    "test_subprocess", "test_os", "test_posix", "test_fork1", "test_wait3", "test_wait4",
    "test_mmap", "test_ctypes", "test_signal", "test_faulthandler", "test_gc", "test_bytes",
    "test_array", "test_memoryview", "test_buffer", "test_io", "test_sqlite", "test_sqlite3",
    "test_concurrent_futures", "test_asyncio", "test_multiprocessing_main_handling",
    "test_multiprocessing_fork", "test_multiprocessing_spawn", "test_multiprocessing_forkserver",
    "test_resource", "test_tracemalloc", "test_capi", "test_embed", "test_exceptions",
    "test_traceback", "test_atexit", "test_sys", "test_site", "test_cmd_line", "test_shutil",
    "test_tempfile", "test_pty", "test_openpty", "test_socket", "test_selectors", "test_weakref",
    "test_warnings", "test_pickle", "test_zlib", "test_lzma", "test_bz2", "test_hashlib",
    "test_decimal", "test_json", "test_struct", "test_unicode", "test_list", "test_dict",
    "test_set", "test_itertools", "test_logging", "test_queue", "test_sched", "test_venv",
    "test_interpreters", "test_eintr", "test_repl",
]
NUMPY_PARTS = ["_core", "fft", "lib", "linalg", "ma", "matrixlib", "polynomial", "random"]
# Made here: some builds leave out these modules, which name no more than a start method.
START_METHODS = {f"test_multiprocessing_{method}": method
                 for method in ("fork", "spawn", "forkserver")}
START_METHOD_SUITE = """import unittest
import test._test_multiprocessing
test._test_multiprocessing.install_tests_in_module_dict(globals(), {method!r})
if __name__ == "__main__":
    unittest.main()
"""


def find_python(name):
    """The interpreter behind a version (3.12) or a path."""
    if os.path.sep in name:
        return os.path.abspath(name)
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = sorted(glob.glob(f"{root}/versions/{name}.*/bin/python3"))
    return found[-1] if found else shutil.which(f"python{name}")


def has_suite(python):
    return subprocess.run([python, "-c", "import test.libregrtest"], capture_output=True,
                          timeout=60, check=False).returncode == 0


def modules_of(python, wanted):
    """Those of `wanted` that this interpreter has."""
    code = ("import os, test\nfor name in os.listdir(os.path.dirname(test.__file__)):\n"
            "    print(name.partition('.')[0])")
    listed = set(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True,
                                timeout=60).stdout.split())
    if "_test_multiprocessing" in listed:
        listed.update(START_METHODS)
    return [name for name in wanted if name.partition(".")[2].partition(".")[0] in listed
            or name in listed]


def read_outcomes(report):
    """{test: outcome} of a JUnit file; {} where the suite did not get that far."""
    outcomes = {}
    if os.path.exists(report):
        try:
            tree = ElementTree.parse(report)
        except ElementTree.ParseError:
            return {}
        for case in tree.iter("testcase"):
            kinds = [part.tag for part in case if part.tag in ("failure", "error", "skipped")]
            name = f"{case.get('classname') or ''}.{case.get('name')}".lstrip(".")
            outcomes[name] = kinds[0] if kinds else "passed"
    return outcomes


class Suite:
    """One suite to run in one interpreter; `arguments` makes it write a JUnit file."""

    def __init__(self, label, python, arguments):
        self.label = label
        self.python = python
        self.arguments = arguments
        self.last_words = ""  # the end of what the newest run printed

    def run(self, guarded, timeout_s, log):
        """{test: outcome} with the program's own end under ''."""
        folder = harness.disk_folder()
        report = os.path.join(folder, "report.xml")
        for name, method in START_METHODS.items():
            pathlib.Path(folder, f"{name}_all.py").write_text(
                START_METHOD_SUITE.format(method=method))
        argv = [self.python] + [part.replace("@REPORT", report).replace("@FOLDER", folder)
                                for part in self.arguments]
        if guarded:
            argv = [str(harness.command()), "run", "--"] + argv
        extra = {"TMPDIR": folder, "OOMGUARD_DIR": os.path.join(folder, "oomguard")}
        try:
            with cgroup.MemoryGroup(LIMIT_BYTES) as group:
                done = group.run(argv, timeout_s, env=harness.bare_environment(**extra),
                                 cwd=folder)
                kills = group.oom_kills()
            outcomes = read_outcomes(report)
            end = "timed out" if done.timed_out else f"status {done.status}"
            outcomes[""] = end + (f", {kills} killed by the kernel" if kills else "")
            self.last_words = (done.stdout + done.stderr).strip()[-1000:]
            if log:
                side = "guarded" if guarded else "bare"
                name = f"{pathlib.Path(self.python).name}-{self.label}-{side}"
                pathlib.Path(log, name.replace("/", "_")).write_text(done.stdout + done.stderr)
            return outcomes
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def differences(bare, guarded):
    return {name: (bare.get(name, "missing"), guarded.get(name, "missing"))
            for name in sorted(set(bare) | set(guarded))
            if bare.get(name) != guarded.get(name)}


def compare(suite, timeout_s, log=None):
    """Runs both; what differs each time as {test: (bare, guarded)}, number of tests, bare's end."""
    bare = suite.run(False, timeout_s, log)
    found = differences(bare, suite.run(True, timeout_s, log))
    for _ in range(2):
        if not found:
            break
        again = differences(suite.run(False, timeout_s, log), suite.run(True, timeout_s, log))
        found = {name: pair for name, pair in found.items() if name in again}
    # What cannot be collected is an error of its own, and no test.
    return found, sum(kind != "error" for name, kind in bare.items() if name), bare[""]


def cpython_suite(python, module, timeout_s, match=(), ignore=()):
    # The suite's own limit counts for the whole module, and prints where it stands.
    arguments = ["-m", "test", "--junit-xml", "@REPORT", "--timeout", str(0.9 * timeout_s)]
    arguments += ["--testdir", "@FOLDER", f"{module}_all"] if module in START_METHODS else [module]
    for pattern in match:
        arguments += ["-m", pattern]
    for pattern in ignore:
        arguments += ["-i", pattern]
    return Suite(module, python, arguments)


def pytest_suite(label, python, arguments):
    return Suite(label, python, ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line",
                                 "--junitxml", "@REPORT"] + arguments)


def suites(options, python):
    if options.numpy is not None:
        return [pytest_suite(f"numpy.{part}", python, ["--pyargs", f"numpy.{part}", "-m",
                                                       "not slow"])
                for part in options.numpy or NUMPY_PARTS]
    if not has_suite(python):
        return []
    return [cpython_suite(python, module, options.timeout, options.match, options.ignore)
            for module in modules_of(python, options.modules or MODULES)]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a version (3.12) or a path")
    parser.add_argument("--modules", nargs="*", default=[], metavar="MODULE")
    parser.add_argument("--match", action="append", default=[], help="only tests of this pattern")
    parser.add_argument("--ignore", action="append", default=[], help="not tests of this pattern")
    parser.add_argument("--numpy", nargs="*", metavar="PACKAGE",
                        help=f"without names: {' '.join(NUMPY_PARTS)}")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run")
    parser.add_argument("--log", help="a folder for what the suites print")
    options = parser.parse_args()
    python = find_python(options.python)
    reason = cgroup.why_unavailable()
    todo = suites(options, python) if python and not reason else []
    if not todo:
        print(f"nothing to run for {options.python}: {reason or 'no such interpreter or suite'}")
        return 2
    if options.log:
        os.makedirs(options.log, exist_ok=True)
    status = ran = 0
    for suite in todo:
        found, count, end = compare(suite, options.timeout, options.log)
        ran += count
        print(f"{suite.label}: {count} tests, {end}, {len(found)} differ", flush=True)
        if count == 0:
            print(suite.last_words, flush=True)
        for name, (bare, guarded) in found.items():
            status = 1
            print(f"    {name or '(the run itself)'}: bare {bare}, guarded {guarded}", flush=True)
    return status if ran else 2


if __name__ == "__main__":
    sys.exit(main())
