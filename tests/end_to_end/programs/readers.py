"""What libraries take for the machine's memory: a line of JSON, name -> [total, available] in bytes.

    python readers.py NAME...

A library says what it knows: null where it knows no total, or not what is available.
"""
import json
import os
import subprocess
import sys


def psutil():
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    assert 0 < memory.available <= memory.total and 0 <= swap.free <= swap.total, (memory, swap)
    assert memory.free + memory.buffers + memory.cached <= memory.total >= memory.active, memory
    assert memory.used == memory.total - memory.available >= memory.shared, memory
    return memory.total, memory.available


def of_another_process(python_code):
    done = subprocess.run([sys.executable, "-c", python_code], check=True, capture_output=True, timeout=60)
    return json.loads(done.stdout)


def child():
    return of_another_process("import json, psutil; print(json.dumps(psutil.virtual_memory()[:2]))")


def forked():
    import psutil

    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(psutil.virtual_memory()[:2]).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(read, 100))


def sysconf():
    return [os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")]


def limited():
    import oomguard
    import psutil

    with oomguard.limit("500MiB"):
        assert psutil.virtual_memory().total == 500 << 20
    return psutil.virtual_memory()[:2]


def host():
    """In the block alone, and of a descriptor that was open before."""
    import oomguard

    with open("/proc/meminfo") as file:
        before = file.readline()
        with oomguard.host():
            file.seek(0)
            line, of_host = file.readline(), sysconf()
        file.seek(0)
        assert file.readline() == before != line
    assert int(line.split()[1]) * 1024 == of_host[0] > sysconf()[0]
    return of_host


def accelerate():
    from accelerate.utils import get_max_memory

    return None, get_max_memory()["cpu"]


def transformers():
    from transformers.integrations.accelerate import get_max_memory

    return None, get_max_memory()["cpu"] / 0.9


def loky():
    import joblib
    import psutil

    found = joblib.Parallel(n_jobs=2)(joblib.delayed(psutil.virtual_memory)() for _ in range(2))
    return found[0].total, min(memory.available for memory in found)


def polars():
    """It prints what it found, where it is told to."""
    code = ("import os; os.environ['POLARS_VERBOSE'] = '1'\n"
            "os.environ['POLARS_OOC_SPILL_POLICY'] = 'spill'; import polars\n"
            "polars.LazyFrame({'a': [1]}).group_by('a').len().collect(engine='streaming')")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    line = next(line for line in done.stderr.splitlines() if line.startswith("total memory"))
    return int(line.split("(")[1].split()[0]), None


def duckdb():
    """80 percent of what it found are its limit."""
    import duckdb

    text, unit = duckdb.sql("select current_setting('memory_limit')").fetchall()[0][0].split()
    return float(text) * {"MiB": 1 << 20, "GiB": 1 << 30}[unit] / 0.8, None


def distributed():
    import distributed.system

    return distributed.system.MEMORY_LIMIT, None


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
