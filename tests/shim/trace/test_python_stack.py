"""The stack that is read from the interpreter's memory is the one that the interpreter tells."""

import ast
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def cases(program):
    tree = ast.parse((HERE / program).read_text())
    names = [part.name for part in tree.body if isinstance(part, ast.FunctionDef)]
    return [(program, name) for name in names if not name.startswith("_")]


def run(python, library, program, *arguments, **variables):
    environment = {"STACK_PROBE": str(library), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        [python, str(HERE / program), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


@pytest.mark.parametrize(
    "program, case", cases("stack_cases.py") + cases("process_cases.py")
)
def test_is_what_the_interpreter_tells(python, library, program, case):
    ended = run(python, library, program, case)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert ended.stdout.startswith("held\n"), ended
    if case == "shutdown":
        assert ended.stdout.splitlines()[1] == "at exit", ended


@pytest.mark.parametrize("allocator", ["malloc", "pymalloc"])
def test_is_read_in_each_allocation(python, library, allocator):
    ended = run(
        python, library, "allocation_cases.py", LD_PRELOAD=str(library), PYTHONMALLOC=allocator
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    if allocator == "malloc":
        assert ended.stdout == "True 0 True\n", ended


def test_finds_nothing_in_other_programs(library):
    """Preloaded into a program that is no Python, the library answers at once."""
    ended = subprocess.run(
        ["/bin/echo", "there"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"LD_PRELOAD": str(library)},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "there\n", "")


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
