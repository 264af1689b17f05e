"""The module is there before the program's first line, in every way an interpreter is started."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import OLD_PYTHON

SEEN = "import sys; print('oomguard' in sys.modules)"


@pytest.mark.parametrize(
    "options",
    [[], ["-I"], ["-S"], ["-E"], ["-s"], ["-I", "-S", "-E"], ["-OO"], ["-X", "dev"], ["-u"]],
    ids=" ".join,
)
def test_is_there_before_a_command(guarded, python, options):
    run = guarded(python, *options, "-c", SEEN)
    assert (run.status, run.out) == (0, "True\n"), run


def test_is_there_before_a_script_module_zip_and_stdin(guarded, python, tmp_path):
    (tmp_path / "seen.py").write_text(SEEN + "\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(SEEN + "\n")
    subprocess.run([python, "-m", "zipapp", "app"], cwd=str(tmp_path), check=True, timeout=60)
    for command in (
        ["seen.py"],
        ["-m", "seen"],
        ["app"],
        ["app.pyz"],
        ["-X", "importtime", "seen.py"],
    ):
        run = guarded(python, *command)
        assert (run.status, run.out) == (0, "True\n"), (command, run)
    for command in ([], ["-"]):
        run = guarded(python, *command, stdin=SEEN + "\n")
        assert (run.status, run.out) == (0, "True\n"), (command, run)


def test_is_there_in_a_virtual_environment(guarded, python, tmp_path):
    venv = tmp_path / "venv"
    made = subprocess.run(
        [python, "-m", "venv", "--without-pip", str(venv)], capture_output=True, timeout=60
    )
    if made.returncode != 0:
        pytest.skip("this interpreter cannot make a virtual environment")
    run = guarded(venv / "bin" / "python", "-c", SEEN + "; print(sys.prefix != sys.base_prefix)")
    assert run.out == "True\nTrue\n", run


def test_runs_after_site(guarded, python, tmp_path):
    # A sitecustomize that allocates gives the bootstrap every chance to run too early.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor _ in range(2000): bytearray(4096)\n"
        "sys.stdout.write('site %s\\n' % ('oomguard' in sys.modules))\n"
    )
    run = guarded(python, "-c", SEEN, PYTHONPATH=str(tmp_path))
    if "site" not in run.out:
        pytest.skip("this interpreter has a sitecustomize of its own")
    assert run.out == "site False\nTrue\n", run


def test_tells_the_engine_version_and_signal(guarded, python):
    run = guarded(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    assert run.told[0] == "python %s kernel=0 " % run.out.strip()
    assert run.told[1].startswith("signal ") and run.told[1] != "signal 0"
    # The handler is gone when the interpreter ends, so the engine must not send any more.
    assert run.told[-1] == "signal 0"


def test_prints_nothing_and_keeps_the_status(guarded, python):
    run = guarded(python, "-c", "raise SystemExit(3)")
    assert (run.status, run.out, run.err) == (3, "", "")


def test_only_the_main_interpreter_gets_the_module(script):
    run = script(
        "import sys\n"
        "try:\n import _interpreters as sub\n"
        "except ImportError:\n"
        " try:\n  import _xxsubinterpreters as sub\n"
        " except ImportError:\n  sub = None\n"
        "if sub is None: print('none'); raise SystemExit\n"
        'code = "for _ in range(2000): bytearray(4096)\\nimport sys\\n"\n'
        "code += \"assert 'oomguard' not in sys.modules\\n\"\n"
        "one = sub.create()\n"
        "print(sub.run_string(one, code))\n"
        "print('oomguard' in sys.modules)\n"
    )
    if run.out == "none\n":
        pytest.skip("no sub-interpreters in this build")
    assert run.status == 0 and run.out == "None\nTrue\n", run


def test_goes_on_in_a_forked_child_and_starts_anew_in_a_program(script):
    run = script(
        "import oomguard, os, subprocess, sys\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: bytearray(1 << 33)\n"
        "    except MemoryError as e: ok = oomguard.is_refusal(e) and oomguard.usage().limit\n"
        "    os._exit(0 if ok else 1)\n"
        "print(os.waitpid(child, 0)[1])\n"
        "print(subprocess.call([sys.executable, '-c', 'import oomguard']))\n"
    )
    assert run.out == "0\n0\n", run


def test_works_in_multiprocessing_workers(script):
    run = script(
        "import multiprocessing as m\n"
        "def work(_):\n"
        "    import oomguard\n"
        "    try: bytearray(1 << 33)\n"
        "    except MemoryError as e: return oomguard.is_refusal(e)\n"
        "if __name__ == '__main__':\n"
        "    for how in ('fork', 'spawn'):\n"
        "        with m.get_context(how).Pool(2) as pool: print(pool.map(work, range(2)))\n"
    )
    assert run.out == "[True, True]\n[True, True]\n", run


def test_leaves_a_program_that_is_not_python_alone(guarded):
    run = guarded(shutil.which("cat"), stdin="text\n")
    assert (run.status, run.out, run.err, run.told) == (0, "text\n", "", [])


@pytest.mark.skipif(OLD_PYTHON is None, reason="no interpreter older than 3.9 was found")
def test_leaves_an_older_interpreter_alone(guarded):
    run = guarded(OLD_PYTHON, "-c", SEEN)
    assert (run.status, run.out.strip(), run.told) == (0, "False", []), run


def test_a_library_that_took_the_signal_keeps_it(script, tmp_path):
    # A handler that was set while `site` ran counts as taken.
    (tmp_path / "sitecustomize.py").write_text(
        "import signal\nsignal.signal(signal.SIGRTMIN + 10, signal.SIG_IGN)\n"
    )
    run = script(
        "import signal\nprint(signal.getsignal(signal.SIGRTMIN + 10) == signal.SIG_IGN)",
        PYTHONPATH=str(tmp_path),
    )
    if run.out != "True\n":
        pytest.skip("this interpreter has a sitecustomize of its own")
    taken = int(
        subprocess.check_output([sys.executable, "-c", "import signal; print(signal.SIGRTMIN+10)"])
    )
    assert run.told[1] == "signal %d" % (taken + 1), run
