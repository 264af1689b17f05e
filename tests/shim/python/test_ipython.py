"""A refusal in a notebook: a living kernel, a whole traceback, memory back, then the report."""

import functools
import json
import os
import re
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

LIBRARY = """
class Loader:
    def __init__(self):
        self.parts = []

    def load(self, path):
        for _ in range(3):
            self.parts.append(bytearray(b"x") * (100 << 20))
        return bytearray(1 << 33)

def load(path):
    try:
        return Loader().load(path)
    except MemoryError as e:
        raise RuntimeError("load failed") from e
"""
RSS = """
def rss():
    return [int(l.split()[1]) >> 10 for l in open("/proc/self/status") if "RssAnon" in l][0]
kept = 42
"""
ALARM = """
import asyncio, ctypes, os, threading, time
shim = ctypes.CDLL(None)
def alarm(thread=0, delay=0.2):
    def send():
        time.sleep(delay)
        shim.fake_set_alarm(thread)
        os.kill(os.getpid(), shim.fake_signal())
    threading.Thread(target=send, daemon=True).start()
kept = 42
"""


class Cell:
    def __init__(self, outputs):
        self.outputs = [(kind, COLOURS.sub("", text)) for kind, text in outputs]
        self.kinds = [kind for kind, _ in self.outputs]

    def text(self, kind):
        return "".join(text for one, text in self.outputs if one == kind)

    def __repr__(self):
        return "\n".join("%s: %s" % one for one in self.outputs)


@pytest.fixture
def notebook(notebook_python, notebook_of):
    """Runs cells in a guarded kernel; returns what each showed and what the engine was told."""
    return notebook_of(notebook_python)


@pytest.fixture
def notebook_of(notebook_python, fake_library, tmp_path):
    """The same for a kernel of another interpreter."""
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "library.py").write_text(LIBRARY)

    def run(python, *cells, **variables):
        log = tmp_path / "told"
        variables.update(
            LD_PRELOAD=fake_library,
            FAKE_LOG=str(log),
            FAKE_REFUSE_BYTES=str(1 << 30),
            PYTHONPATH=str(package),
        )
        environment = dict(os.environ, IPYTHONDIR=str(tmp_path / "ipython"))
        environment["NOTEBOOK_PYTHON"] = python
        environment.update(("KERNEL_" + name, value) for name, value in variables.items())
        finished = subprocess.run(
            [notebook_python, os.path.join(HERE, "notebook.py")],
            input=json.dumps(cells),
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
            cwd=str(tmp_path),
        )
        assert finished.returncode == 0, finished.stderr
        return [
            Cell(outputs) for outputs in json.loads(finished.stdout)
        ], log.read_text().splitlines()

    return lambda python: functools.partial(run, python)


def test_a_failed_load_leaves_the_kernel_whole(notebook):
    cells, told = notebook(
        RSS + "import library\nbefore = rss()",
        "mine = [1]\nmodel = library.load('x')",
        "print(kept, mine, rss() - before < 30)",
        "mine.append(2); model = library.load('x')",
        "import oomguard, sys\n"
        "print(mine, oomguard.is_refusal(sys.last_value), oomguard.last_refusal().surfaced)",
    )
    failed = cells[1]
    assert failed.kinds == ["error", "stderr"], failed
    traceback = failed.text("error")
    for line in (
        "model = library.load('x')",
        "return Loader().load(path)",
        "in Loader.load(self, path)",
        "return bytearray(1 << 33)",
        'raise RuntimeError("load failed") from e',
        "RuntimeError: load failed",
    ):
        assert line in traceback, traceback
    report = failed.text("stderr")
    assert "REPORT 1 cell\nAt: cell [2] line 2: model = library.load('x')\n" in report, report
    freed = re.search(r"^Freed: (\d+)\.\d MiB", report, re.M)
    assert freed and 295 <= int(freed.group(1)) <= 320, report
    assert cells[2].text("stdout") == "42 [1] True\n", cells[2]
    assert "REPORT 2 cell" in cells[3].text("stderr"), cells[3]
    assert cells[4].text("stdout") == "[1, 2] True True\n", cells[4]
    assert any(re.match(r"python 3\.\d+ kernel=1 /.*\.json", line) for line in told), told
    assert not any(line.startswith("ending") for line in told), told


def test_keep_frames_keeps_them(notebook):
    cells, _ = notebook(
        RSS + "import library\nbefore = rss()",
        "model = library.load('x')",
        "import oomguard\nprint(rss() - before > 250, oomguard.release() >> 20 > 250)",
        FAKE_KEEP_FRAMES="1",
    )
    assert "Freed" not in cells[1].text("stderr"), cells[1]
    assert cells[2].text("stdout") == "True True\n", cells[2]


def test_the_note_is_shown_with_the_exception(notebook):
    cells, _ = notebook("x = bytearray(1 << 33)")
    assert "NOTE 1" in cells[0].text("error") + cells[0].text("stderr"), cells[0]


def test_other_exceptions_and_handled_refusals_are_left_alone(notebook):
    cells, _ = notebook(
        "try: bytearray(1 << 33)\nexcept MemoryError: print('handled')", "raise ValueError('mine')"
    )
    assert cells[0].outputs == [("stdout", "handled\n")], cells[0]
    assert cells[1].kinds == ["error"], cells[1]


def test_magics_async_cells_and_replaced_handlers_get_a_report(notebook):
    cells, _ = notebook(
        "%time x = bytearray(1 << 33)",
        "import asyncio\nawait asyncio.sleep(0.01)\nx = bytearray(1 << 33)",
        "ip = get_ipython()\nip._showtraceback = lambda *a: print('own')",
        "bytearray(1 << 33)",
        "ip.set_custom_exc((Exception,), lambda *a, **k: print('custom'))",
        "bytearray(1 << 33)",
        "%tb",
    )
    assert "REPORT 1 cell" in cells[0].text("stderr"), cells[0]
    assert "REPORT 2 cell\nAt: cell [2] line 3" in cells[1].text("stderr"), cells[1]
    assert cells[3].text("stdout") == "own\n" and "REPORT 3 cell" in cells[3].text("stderr"), cells[
        3
    ]
    assert cells[5].text("stdout") == "custom\n" and "REPORT 4 cell" in cells[5].text(
        "stderr"
    ), cells[5]
    assert "REPORT" not in cells[6].text("stderr"), cells[6]  # shown again, not reported again


def test_an_idle_kernel_and_an_awaiting_cell_survive_an_alarm(notebook):
    cells, told = notebook(
        ALARM + "alarm(delay=0)",
        "alarm()\nawait asyncio.sleep(1)\nprint('awaited')",
        "alarm()\nalarm(delay=0.3)\nalarm(delay=0.4)",
        "await asyncio.sleep(1)\nprint(kept)",
    )
    assert cells[1].outputs == [("stdout", "awaited\n")], cells[1]
    assert cells[3].outputs == [("stdout", "42\n")], cells[3]
    assert told.count("handled") >= 4, told


def test_a_running_cell_is_stopped_by_an_alarm(notebook):
    cells, _ = notebook(
        ALARM,
        "alarm()\ntime.sleep(20)",
        "alarm()\nawait asyncio.sleep(0)\nwhile True: pass",
        "for _ in range(5):\n    alarm(delay=0.1)\n    try: time.sleep(20)\n"
        "    except Exception: print('swallowed')",
        "print(kept)",
    )
    assert "MemoryError: memory is running out" in cells[1].text("error"), cells[1]
    assert "<oomguard" not in cells[1].text("error"), cells[1]
    assert "At: cell [2] line 2: time.sleep(20)\n" in cells[1].text("stderr"), cells[1]
    assert "MemoryError: memory is running out" in cells[2].text("error"), cells[2]
    assert cells[3].text("stdout") == "swallowed\nswallowed\n", cells[3]
    assert "MemoryLimit: memory is running out" in cells[3].text("error"), cells[3]
    assert cells[4].text("stdout") == "42\n", cells[4]


def test_the_growing_thread_of_a_cell_is_stopped(notebook):
    cells, _ = notebook(
        ALARM,
        "def work():\n    alarm(threading.get_native_id())\n    while True: time.sleep(0.01)\n"
        "t = threading.Thread(target=work)\nt.start()\nt.join()\nprint('joined')",
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(1) as pool: pool.submit(work).result()",
        "print(kept)",
    )
    assert cells[1].text("stdout") == "joined\n", cells[1]
    assert "At: cell [2] line 3" in cells[1].text("stderr"), cells[1]
    assert "MemoryError: memory is running out" in cells[2].text("error"), cells[2]
    assert cells[3].text("stdout") == "42\n", cells[3]


@pytest.fixture
def terminal(guarded, tmp_path):
    """Types lines into IPython in a terminal."""
    (tmp_path / "site-packages").mkdir(exist_ok=True)
    (tmp_path / "site-packages" / "library.py").write_text(LIBRARY)

    def run(python, *lines):
        return guarded(
            python,
            "-m",
            "IPython",
            "--simple-prompt",
            "--no-banner",
            "--colors=NoColor",
            stdin="\n".join(lines) + "\n",
            IPYTHONDIR=str(tmp_path / "ipython"),
            PYTHONPATH=str(tmp_path / "site-packages"),
        )

    return run


def test_a_terminal_shell_shows_it_too(notebook_python, terminal):
    run = terminal(notebook_python, "kept = 42", "x = bytearray(1 << 33)", "print(kept)")
    assert "MemoryError" in run.out and "42" in run.out, run
    assert "REPORT 1 cell\nAt: cell [2] line 1: x = bytearray(1 << 33)\n" in run.out + run.err, run
    assert any("kernel=1" in line for line in run.told) is False, run


def test_the_largest_variables_are_named(notebook):
    cells, told = notebook(
        "big = bytearray(300 << 20); rows = [bytes(5 << 20)] ; view = memoryview(big)",
        "%oomguard vars",
        "%oomguard",
        "%oomguard nonsense",
        "x = bytearray(1 << 33)",
    )
    lines = cells[1].text("stdout").splitlines()
    assert lines[0].split() == ["Variable", "Type", "Size", "Memory"], cells[1]
    assert lines[1].split() == ["big", "bytearray", "0.3", "GiB", "owned"], cells[1]
    assert lines[2].split() == "view memoryview 0.3 GiB shared with big".split(), cells[1]
    assert lines[3].split() == ["rows", "list", "5", "MiB", "owned"], cells[1]
    status = cells[2].text("stdout").splitlines()
    assert len(status) == 2, status
    assert "5.0 GiB of 6.0 GiB in use (container (/fake/group))" in status[0], status
    assert "refused so far: nothing" in status[1], status
    assert "'nonsense' is not known" in cells[3].text("stdout"), cells[3]
    assert "variables: big 0.3 GiB, rows 5 MiB\n" in cells[4].text("stderr"), cells[4]


def test_a_cell_has_a_budget_of_its_own(notebook):
    cells, told = notebook(
        "%%oomguard --budget 4GiB\nkept = bytearray(b'x') * (200 << 20)\nimport asyncio\n"
        "await asyncio.sleep(0.01)\n'value'",
        "%%oomguard\n\n1 / 0",
        "%%oomguard --budget nonsense\nprint('ran')",
        "%%oomguard --other\nprint('ran')",
        "del kept",
    )
    assert cells[0].text("execute_result") == "'value'", cells[0]
    said = cells[0].text("stdout")
    summary = (
        r"oomguard: this kernel held at most 0\.[2-9] GiB; after the cell 0\.2 GiB more than "
        r"before \(limit 4\.0 GiB\)\.\n$"
    )
    assert re.match(summary, said), cells[0]
    budgets = [line for line in told if line.startswith("budget")]
    assert budgets == ["budget 4294967296", "budget 0"], told
    assert "ZeroDivisionError" in cells[1].text("error"), cells[1]
    assert "----> 3 1 / 0" in cells[1].text("error"), cells[1]
    assert "oomguard: this kernel held at most" in cells[1].text("stdout"), cells[1]
    for cell in cells[2:4]:
        assert "ran" not in cell.text("stdout").split() and "UsageError" in repr(cell), cell
    assert cells[4].outputs == [], cells[4]


def test_a_running_cell_hears_that_memory_gets_scarce(notebook):
    cells, _ = notebook(
        ALARM,
        "shim.fake_notice()\nprint('ran')",
    )
    assert cells[1].text("stderr") == (
        "oomguard: 5.0 GiB of 6.0 GiB in use, 0.9 GiB left before this cell is stopped "
        "(see %oomguard vars)\n"
    ), cells[1]
    assert cells[1].text("stdout") == "ran\n", cells[1]


def expect_frames_to_be_walked(run):
    """In a debugger the libraries' frames are there, and empty; the person's own are whole."""
    for text in (
        'raise RuntimeError("load failed") from e',
        "NameError: name 'path' is not defined",
        "return library.load('x')",
        "'own': [7]",
        "after 42",
    ):
        assert text in run.out, run


DEBUG = (
    "import library; kept = 42",
    "def f(own): return library.load('x')",
    "",
    "f([7])",
    "%debug",
    "w",
    "p path",
    "u",
    "p {'own': own}",
    "q",
    "print('after', kept)",
)


def test_a_debugger_walks_the_frames(notebook_python, terminal):
    expect_frames_to_be_walked(terminal(notebook_python, *DEBUG))


def test_other_versions_of_ipython(other_notebook_python, notebook_of, terminal):
    cells, told = notebook_of(other_notebook_python)(
        RSS + ALARM + "import library\nbefore = rss()",
        "mine = [1]\nmodel = library.load('x')",
        "print(kept, mine, rss() - before < 40)",
        "alarm()\ntime.sleep(20)",
        "import asyncio\nawait asyncio.sleep(0.01)\nx = bytearray(1 << 33)",
        "print(kept)",
    )
    assert "RuntimeError: load failed" in cells[1].text("error"), cells[1]
    for line in ("model = library.load('x')", "return bytearray(1 << 33)"):
        assert line in cells[1].text("error"), cells[1]
    report = cells[1].text("stderr")
    assert "REPORT 1 cell\nAt: cell [2] line 2: model = library.load('x')\n" in report, report
    assert re.search(r"^Freed: 30\d\.\d MiB", report, re.M), report
    assert cells[2].text("stdout") == "42 [1] True\n", cells[2]
    assert "MemoryError: memory is running out" in cells[3].text("error"), cells[3]
    assert "At: cell [5] line 3: x = bytearray(1 << 33)" in cells[4].text("stderr"), cells[4]
    assert cells[5].text("stdout") == "42\n", cells[5]
    assert any(re.match(r"python 3\.\d+ kernel=1 /.*\.json", line) for line in told), told
    expect_frames_to_be_walked(terminal(other_notebook_python, *DEBUG))
