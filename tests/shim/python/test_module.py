"""What `import oomguard` offers."""


def test_usage_and_headroom(script):
    run = script(
        "import oomguard\n"
        "print(oomguard.usage())\nprint(oomguard.headroom())\nprint(oomguard.last_refusal())\n"
        "print(repr(oomguard.report()))\n"
    )
    assert run.out == (
        "Usage(limit=6442450944, used=5368709120, headroom=943718400, reserve=130023424, "
        "limit_name='container (/fake/group)')\n943718400\nNone\n''\n"
    ), run


def test_last_refusal_and_report(script):
    run = script(
        "import oomguard, threading, time\n"
        "try: bytearray((1 << 33) - 1)\n"
        "except MemoryError: pass\n"
        "r = oomguard.last_refusal()\n"
        "print(r.number, r.request_bytes == 1 << 33, r.kind, r.limit >> 30, r.used >> 30)\n"
        "print(r.thread_id == threading.get_native_id(), r.limit_name, r.module, r.surfaced)\n"
        "print(abs(r.time - time.time()) < 60)\n"
        "print(oomguard.report(), end='')\nprint(oomguard.report(full=True), end='')\n"
    )
    assert run.out == (
        "1 True malloc 6 5\nTrue container (/fake/group) fake.so False\nTrue\n"
        "REPORT 1 program\nAt: \nREPORT 1 full\nAt: \n"
    ), run


def test_is_refusal_knows_the_chain_and_nothing_else(script):
    run = script(
        "import oomguard\n"
        "def attempt(call):\n"
        "    try: call()\n"
        "    except BaseException as e: return oomguard.is_refusal(e)\n"
        "def plain(): raise MemoryError\n"
        "def cause():\n"
        "    try: bytearray(1 << 33)\n"
        "    except MemoryError as e: raise RuntimeError('load failed') from e\n"
        "def context():\n"
        "    try: bytearray(1 << 33)\n"
        "    except MemoryError: raise KeyError('x')\n"
        "def torch():\n"
        "    try: bytearray(1 << 33)\n"
        "    except MemoryError: pass\n"
        '    raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")\n'
        "def other(): raise ValueError('bad')\n"
        "print(attempt(plain), attempt(cause), attempt(context), attempt(torch), attempt(other))\n"
        "print(oomguard.is_refusal(None))\n"
    )
    assert run.out == "False True True True False\nFalse\n", run


def test_a_loader_threads_refusal_is_known_where_its_future_raises(script):
    run = script(
        "import oomguard\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(1) as pool:\n"
        "    try: pool.submit(bytearray, 1 << 33).result()\n"
        "    except MemoryError as e: print(oomguard.is_refusal(e))\n"
    )
    assert run.out == "True\n", run


def test_of_a_pools_refusals_the_one_that_the_text_names_is_shown(script):
    run = script(
        "import oomguard\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def load(size):\n"
        "    try: bytearray(size - 1)\n"  # one byte for its terminating zero
        "    except MemoryError: pass\n"
        "    return size\n"
        "with ThreadPoolExecutor(1) as pool:\n"
        "    sizes = list(pool.map(load, [1 << 33, 3 << 33, 5 << 33]))\n"
        "error = RuntimeError(\"can't allocate memory: you tried to allocate %d bytes\" % sizes[1])\n"
        "print(oomguard.is_refusal(error), error._oomguard_refusal)\n"
    )
    assert run.out == "True 2\n", run


def test_release_lets_go_of_library_frames(script, tmp_path):
    (tmp_path / "loader.py").write_text(
        "def load():\n"
        "    held = bytearray(b'x') * (200 << 20)\n"
        "    return bytearray(1 << 33)\n"
    )
    run = script(
        "import loader, oomguard, sys\n"
        "try: loader.load()\n"
        "except MemoryError as e: sys.last_value = e\n"
        "sys.last_value.__traceback__.tb_next.tb_frame.f_locals\n"  # as a formatter would
        "mine = bytearray(1 << 20)\n"
        "print(oomguard.release() >> 20, len(mine), oomguard.release(ValueError()))\n"
    )
    freed, mine, other = map(int, run.out.split())
    assert (198 <= freed <= 202, mine, other) == (True, 1 << 20, 0), run


CLOSURES = """
import functools
def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

shared = []
def keeper():
    value = []
    shared.append(lambda: value)
    def inner(n):
        value.append(n)
        return inner(n - 1) if n else bytearray(1 << 33)
    return inner(3)

@decorated
def load():
    parts = []
    def one(n):
        parts.append(bytearray(b"x") * (50 << 20))
        if n:
            return one(n - 1)
        return bytearray(1 << 33)
    return one(3)
"""


def test_release_empties_variables_that_only_dead_closures_reach(script, tmp_path):
    (tmp_path / "loader.py").write_text(CLOSURES)
    run = script(
        "import loader, oomguard, sys\n"
        "def attempt(call):\n"
        "    try: call()\n"
        "    except MemoryError as e: sys.last_value = e\n"
        "attempt(loader.load)\n"
        "print(198 <= oomguard.release() >> 20 <= 202)\n"
        # The decorator's wrapper shares its variable with nobody dead: it can be called again.
        "sys.last_value = None\n"
        "attempt(loader.load)\nprint(198 <= oomguard.release() >> 20 <= 202)\n"
        # A variable that a living function shares keeps its value.
        "attempt(loader.keeper)\noomguard.release()\nprint(loader.shared[0]())\n"
    )
    assert run.out == "True\nTrue\n[3, 2, 1, 0]\n", run


POOL = """
from concurrent.futures import ThreadPoolExecutor
def load():
    parts = []
    def one(n):
        parts.append(bytearray(b"x") * (20 << 20))
        return bytearray(1 << 33)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(10)))
"""


def test_release_frees_what_a_pool_of_loader_threads_shared(script, tmp_path):
    (tmp_path / "loader.py").write_text(POOL)
    run = script(
        "import loader, oomguard\n"
        "try: loader.load()\n"
        "except MemoryError as e: failed = e\n"
        "print(oomguard.release(failed) >> 20)\n"
    )
    # How many of the ten had started when the pool was shut down is up to the machine.
    assert int(run.out) >= 19, run


def test_behaves_as_a_module(script):
    run = script(
        "import importlib.util, pickle, sys\n"
        "from oomguard import usage, Usage\n"
        "import oomguard\n"
        "print(importlib.reload(oomguard) is oomguard)\n"
        "print(pickle.loads(pickle.dumps(usage())) == usage())\n"
        "print(importlib.util.find_spec('oomguard').origin)\n"
        "del sys.modules['oomguard']\n"
        "import oomguard as again\n"
        "print(again is oomguard, hasattr(oomguard, 'nothing_of_that_name'))\n"
        "print(dir(oomguard))\n"
        "print(all(getattr(oomguard, name).__doc__ for name in dir(oomguard)))\n",
    )
    assert run.out == (
        "True\nTrue\nembedded in liboomguard.so\nTrue False\n"
        "['MemoryLimit', 'Refusal', 'Usage', 'enable', 'headroom', 'host', 'is_refusal', 'last_refusal', "
        "'limit', 'release', 'report', 'usage']\nTrue\n"
    ), run


def test_another_module_of_the_name_can_be_run_as_a_script(guarded, python, tmp_path):
    (tmp_path / "oomguard.py").write_text("print(__name__)\n")
    assert guarded(python, "oomguard.py").out == "__main__\n"
