"""Growth without end in 600 MiB: killed when bare, an exception and a living program when guarded."""
import functools

import pytest

import harness

MAIN_CASES = ("bytearray", "dict", "list_of_str", "numpy_ones", "numpy_empty", "torch_ones",
              "threads")
NO_TORCH_CASES = tuple(case for case in MAIN_CASES if case != "torch_ones")


@functools.lru_cache(None)
def bare(python, case):
    return harness.growth(python, case, guarded=False)


def check_bare_is_killed(python, case):
    run = bare(python, case)
    assert run.finished.killed and run.oom_kills == 1, run


def check_guarded_survives(python, case):
    run = harness.growth(python, case, guarded=True)
    ratio = run.seconds_to_exception / bare(python, case).finished.seconds if run.result else 0
    harness.figures.append(
        f"growth {case:12} CPython {harness.python_label(python):16} reached {run.reached:6.1%} "
        f"of the limit, oom_kill {run.oom_kills}, {ratio:.2f} x the bare run's time to its death")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["exception"] in ("MemoryError", "RuntimeError"), run
    assert run.result["alive"], run
    assert run.refusals > 0, run
    assert run.reached >= 0.90, run


@pytest.mark.parametrize("case", MAIN_CASES)
def test_bare_growth_is_killed(case):
    check_bare_is_killed(harness.main_python(), case)


@pytest.mark.parametrize("case", MAIN_CASES)
def test_guarded_growth_raises_and_lives_on(case):
    check_guarded_survives(harness.main_python(), case)


@pytest.mark.parametrize("case", NO_TORCH_CASES)
@pytest.mark.parametrize("python", harness.pythons(), ids=harness.python_label)
def test_every_interpreter_gives_the_same_verdict(python, case):
    if "numpy" in case and not harness.has_numpy(python):
        pytest.skip(f"no numpy for CPython {harness.python_label(python)}")
    check_bare_is_killed(python, case)
    check_guarded_survives(python, case)


def test_uncaught_refusal_ends_with_traceback_and_one_report():
    program = "block = bytearray()\nwhile True:\n    block += bytes(1 << 20)\n"
    run = harness.run([harness.main_python(), "-c", program], harness.SMALL_LIMIT, guarded=True,
                      timeout_s=60)
    assert run.finished.status == 1 and run.oom_kills == 0, run
    assert "Traceback (most recent call last)" in run.finished.stderr, run
    assert "MemoryError" in run.finished.stderr, run
    assert run.finished.stderr.count("oomguard stopped this") == 1, run
    assert run.finished.stdout == "", run
    assert sum(session.surfaced_count for session in run.sessions) == 1, run


@pytest.mark.parametrize("end", ("", "import os; os.execlp('true', 'true')"))
def test_warn_prints_one_report_and_the_program_goes_on(end):
    program = ("held = []\nfor _ in range(30): held.append(bytearray(b'x') * (8 << 20))\n"
               f"print('through', flush=True)\n{end}")
    run = harness.run([harness.main_python(), "-c", program], harness.SMALL_LIMIT, guarded=True,
                      timeout_s=60, OOMGUARD_ON_LIMIT="warn", OOMGUARD_BUDGET="128MiB")
    assert run.finished.status == 0 and run.finished.stdout == "through\n", run
    assert run.finished.stderr.count("oomguard would have stopped this program") == 1, run
    assert "It goes on, because only a report was asked for" in run.finished.stderr, run
    assert "limit 128 MiB (budget)" in run.finished.stderr, run


def test_warn_tells_of_memory_that_is_filled_later_too():
    program = "import numpy\nheld = [numpy.empty(64 << 20, 'u1') for _ in range(3)]\nfor a in held: a.fill(1)"
    run = harness.run([harness.main_python(), "-c", program], harness.SMALL_LIMIT, guarded=True,
                      timeout_s=60, OOMGUARD_ON_LIMIT="warn", OOMGUARD_BUDGET="128MiB")
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.finished.stderr.count("oomguard would have stopped this program") == 1, run


def test_run_command_passes_an_uncaught_refusal_on_as_137():
    program = "block = []\nwhile True:\n    block.append('text %d' % len(block))\n"
    run = harness.run([harness.command(), "run", "--", harness.main_python(), "-c", program],
                      harness.SMALL_LIMIT, guarded=False, timeout_s=60)
    assert run.finished.status == 137 and run.oom_kills == 0, run
    assert "MemoryError" in run.finished.stderr and run.finished.stdout == "", run
    # The command waits in the same group; it is nobody whose memory a person asks for.
    assert "other processes on the same limit" not in run.finished.stderr, run


SWALLOWS = """
import json
held, swallowed, ended_by = [], 0, None
try:
    while True:
        try:
            held.append("a line of text, number %d" % len(held))
        except Exception as error:
            swallowed += isinstance(error, MemoryError)
except BaseException as error:
    ended_by = type(error)
held.clear()
again = bytearray(b"z") * (100 << 20)
print(json.dumps({"class": ended_by.__module__ + "." + ended_by.__name__, "swallowed": swallowed,
                  "an_exception": issubclass(ended_by, Exception), "alive": again[-1] == ord("z")}))
"""


def test_a_loop_that_swallows_every_refusal_gets_what_is_no_exception():
    run = harness.run([harness.main_python(), "-c", SWALLOWS], harness.SMALL_LIMIT, guarded=True,
                      timeout_s=200)
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert run.result["class"] == "oomguard.MemoryLimit" and not run.result["an_exception"], run
    assert run.result["swallowed"] >= 64 and run.result["alive"], run
