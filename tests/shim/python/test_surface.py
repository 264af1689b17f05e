"""An uncaught refusal: traceback, note, report, in that order; handled ones print nothing."""
import subprocess

NOTE = "NOTE 1"


def test_report_follows_the_traceback(script):
    run = script("def load():\n    return bytearray(1 << 33)\n\nload()\n")
    lines = run.err.splitlines()
    assert run.status == 1
    assert lines[0] == "Traceback (most recent call last):"
    end = lines.index("MemoryError")
    assert lines[end + 1 : end + 3] == [NOTE, "REPORT 1 program"], run
    assert lines[end + 3].endswith("program.py line 2: return bytearray(1 << 33)"), run
    assert run.told[2] == "ending 1"
    assert run.told[3].startswith("surfaced 1 ") and run.told[3].endswith(
        "line 2: return bytearray(1 << 33)"
    )


def test_report_is_one_write(script, tmp_path):
    run = script(
        "import os\n"
        "real = os.write\n"
        "def spy(fd, data):\n"
        "    if fd == 2: print(data.count(b'\\n'))\n"
        "    return real(fd, data)\n"
        "os.write = spy\n"
        "bytearray(1 << 33)\n"
    )
    # Before 3.11 the note is a line of ours and goes with the report.
    assert run.out in ("2\n", "3\n"), run
    assert run.err.endswith("line 7: bytearray(1 << 33)\n"), run


def test_an_exception_of_another_cause_is_left_as_it_is(script):
    run = script("try: bytearray(1 << 33)\nexcept MemoryError: pass\nraise ValueError('mine')\n")
    assert run.err.endswith("ValueError: mine\n") and "REPORT" not in run.err, run


def test_a_thousand_handled_refusals_print_nothing(script):
    run = script(
        "for _ in range(1000):\n" "    try: bytearray(1 << 33)\n" "    except MemoryError: pass\n"
    )
    assert (run.status, run.out, run.err) == (0, "", ""), run


def test_threads_get_one_report_and_then_counts(script):
    run = script(
        "import threading\n"
        "for _ in range(9):\n"
        "    t = threading.Thread(target=bytearray, args=(1 << 33,)); t.start(); t.join()\n"
    )
    assert run.status == 0 and run.err.count("REPORT") == 1, run
    counts = [line for line in run.err.splitlines() if line.startswith("oomguard: ")]
    assert [line.split()[1] for line in counts] == ["1", "2", "4", "8"], run
    assert not any(line.startswith("ending") for line in run.told), run


def test_threading_imported_by_site_is_wrapped_too(script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import threading\n")
    run = script(
        "import threading\n"
        "t = threading.Thread(target=bytearray, args=(1 << 33,))\nt.start()\nt.join()\n",
        PYTHONPATH=str(tmp_path),
    )
    assert run.err.count("REPORT") == 1, run


def test_a_hook_of_the_programs_own_stays_in_charge(script):
    run = script(
        "import sys\n"
        "sys.excepthook = lambda *args: print('own', args[0].__name__)\n"
        "bytearray(1 << 33)\n"
    )
    assert (run.out, run.err) == ("own MemoryError\n", ""), run


def test_a_hook_that_chains_gets_the_report(script):
    run = script(
        "import sys\n"
        "before = sys.excepthook\n"
        "def own(*args):\n    print('own')\n    before(*args)\n"
        "sys.excepthook = own\n"
        "bytearray(1 << 33)\n"
    )
    assert run.out == "own\n" and run.err.count("REPORT") == 1, run


def test_report_goes_where_stderr_was_sent(script):
    run = script("import io, sys\n" "sys.stderr = sys.stdout\n" "bytearray(1 << 33)\n")
    assert run.err == "" and run.out.count("REPORT") == 1 and run.out.startswith("Traceback"), run


def test_closed_stderr_changes_nothing(script):
    for lost in ("import os; os.close(2)", "import sys; sys.stderr = None"):
        bare = script(lost + "\nraise MemoryError\n")
        run = script(lost + "\nbytearray(1 << 33)\n")
        assert (run.status, run.out, run.err) == (bare.status, "", ""), (bare, run)


def test_the_line_named_is_the_persons_own(script, tmp_path):
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "library.py").write_text("def deep():\n    return bytearray(1 << 33)\n")
    run = script(
        "import sys\nsys.path.insert(0, 'site-packages')\nimport json, library\n"
        "def mine():\n    library.deep()\n\n"
        "try:\n    mine()\nexcept MemoryError as e:\n    raise RuntimeError('load') from e\n"
    )
    assert run.told[-2].endswith("program.py line 5: library.deep()"), run


def test_a_prompt_goes_on_and_reports_each(guarded, python):
    run = guarded(
        python, "-i", "-q", stdin="bytearray(1 << 33)\nbytearray(1 << 33)\nprint('alive')\n"
    )
    assert "alive" in run.out and run.err.count("REPORT") == 2, run
    assert not any(line.startswith("ending") for line in run.told), run


def test_a_name_that_is_no_text_is_shown_escaped(guarded, python, tmp_path):
    import os

    path = os.fsencode(str(tmp_path)) + b"/n\xff.py"
    with open(path, "wb") as out:
        out.write(b"bytearray(1 << 33)\n")
    run = guarded(python, os.fsdecode(path))
    assert run.status == 1 and "REPORT 1" in run.err, run


def test_nobody_seems_to_have_a_hook_where_nobody_has_one(script):
    run = script(
        "import sys, threading\n"
        "print(sys.excepthook is sys.__excepthook__)\n"
        "print(threading.excepthook is getattr(threading, '__excepthook__', threading.excepthook))\n"
    )
    assert run.out == "True\nTrue\n", run


def test_the_hooks_say_that_they_belong_to_the_module_they_are_found_in(python, guarded):
    code = (
        "import sys, threading\n"
        "for hook in (sys.excepthook, threading.excepthook):\n"
        "    print(hook.__module__, hook.__name__, hook.__qualname__)\n"
    )
    bare = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert guarded(python, "-c", code).out == bare.stdout


def test_an_interactive_console_shows_exceptions_as_ever(script):
    run = script(
        "import code\n"
        "console = code.InteractiveConsole()\n"
        "console.push('1/0')\n"
        "console.push('def f(:')\n"
    )
    assert "code.py" not in run.err and "codeop.py" not in run.err, run
    assert "ZeroDivisionError" in run.err and "SyntaxError" in run.err, run


def test_an_interpreters_error_without_an_exception_is_a_refusal(script):
    """3.11 forgets to set MemoryError where a call finds no room for its frame."""
    run = script(
        "import oomguard\n"
        "def refused():\n"
        "    try: bytearray(1 << 33)\n"
        "    except MemoryError: pass\n"
        "text = '<function f at 0x1> returned NULL without setting an exception'\n"
        "print(oomguard.is_refusal(SystemError(text)))\n"
        "refused()\n"
        "print(oomguard.is_refusal(SystemError('of another kind')))\n"
        "print(oomguard.is_refusal(SystemError(text)))\n"
        "refused()\n"
        "print(oomguard.is_refusal(SystemError('error return without exception set')))\n"
    )
    assert run.out == "False\nFalse\nTrue\nTrue\n", run


def ends(run):
    return any(line.startswith("ending") for line in run.told)


def test_a_hook_called_by_hand_does_not_end_the_program(script, guarded, python, tmp_path):
    source = (
        "import sys\n"
        "def show(): sys.excepthook(*sys.exc_info())\n"
        "try: bytearray(1 << 33)\n"
        "except MemoryError: show()\n"
        "print('goes on')\n"
    )
    run = script(source)
    assert run.out == "goes on\n" and run.err.count("REPORT") == 1 and not ends(run), run
    run = guarded(python, "-m", "program", cwd=tmp_path)
    assert run.out == "goes on\n" and run.err.count("REPORT") == 1 and not ends(run), run


def test_a_console_in_a_program_does_not_end_it(script):
    run = script("import code\ncode.InteractiveConsole().push('bytearray(1 << 33)')\n")
    assert run.status == 0 and not ends(run), run


def test_every_way_of_running_a_program_ends_it(script, guarded, python, tmp_path):
    assert ends(script("bytearray(1 << 33)\n"))
    assert ends(guarded(python, "-m", "program", cwd=tmp_path))
    assert ends(guarded(python, "-c", "bytearray(1 << 33)"))
    assert ends(guarded(python, "-", stdin="bytearray(1 << 33)\n"))
    chained = "import sys\nold = sys.excepthook\nsys.excepthook = lambda *a: old(*a)\n"
    assert ends(script(chained + "bytearray(1 << 33)\n"))
