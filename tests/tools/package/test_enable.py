"""`oomguard.enable()` in a kernel whose launch nobody could change."""

import contextlib
import os
import re
import subprocess
import time

import jupyter_client
import pytest
from making import ROOT

PACKAGE = str(ROOT / "tools/package")
CODE = "import oomguard; oomguard.enable('--budget=2GiB')"
KERNELS = {"main": None} | {
    path.split(os.sep)[-3].partition("-")[0]: path
    for path in os.environ.get("OOMGUARD_NOTEBOOKS", "").split(":") if path
}


@pytest.fixture(params=KERNELS)
def client(request, build, environment, monkeypatch):
    """Of an unguarded kernel."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    monkeypatch.setenv("PATH", f"{build}/bin:{os.environ['PATH']}")
    manager = jupyter_client.KernelManager(kernel_name="python3")
    if KERNELS[request.param]:
        manager.kernel_spec.argv[0] = KERNELS[request.param]
    manager.start_kernel()
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def printed(client, code, timeout=60):
    """(status, what the cell printed and showed)."""
    texts = []

    def keep(message):
        content = message["content"]
        texts.append(content.get("text") or "\n".join(content.get("traceback", [])))

    reply = client.execute_interactive(code, timeout=timeout, output_hook=keep, allow_stdin=False)
    return reply["content"]["status"], "".join(texts)


def test_the_kernel_starts_again_guarded_and_says_that_variables_are_lost(client):
    status, before = printed(client, "import os; kept = 1; print(os.getpid())")
    status, said = printed(client, CODE)
    assert status == "error" and "its variables are lost" in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 60
    after = ""
    while "False" not in after and time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):  # the kernel that is asked may be gone by then
            after = printed(client, "import os; print(os.getpid(), 'kept' in globals())", timeout=3)[1]
    assert after == before.strip() + " False\n"
    status, said = printed(client, f"{CODE}; print(oomguard.usage().limit, oomguard.__spec__.origin)")
    assert (status, said) == ("ok", "2147483648 embedded in liboomguard.so\n")


def test_a_kernel_that_stays_unguarded_is_not_started_for_ever(client):
    printed(client, "import os; os.environ['OOMGUARD_STARTED_AGAIN'] = str(os.getpid()); kept = 1")
    status, said = printed(client, CODE)
    assert status == "error" and "is not guarded" in said
    assert printed(client, "print(kept)") == ("ok", "1\n")


def test_a_bad_option_leaves_the_kernel_as_it_is(client):
    printed(client, "kept = 1")
    status, said = printed(client, "import oomguard; oomguard.enable('--budget=much')")
    assert status == "error" and "much" in said and "RuntimeError" in said
    assert printed(client, "print(kept)") == ("ok", "1\n")


def test_a_program_is_told_how_it_is_started_guarded(python, environment):
    environment["PYTHONPATH"] = PACKAGE
    ran = subprocess.run([python, "-c", "import oomguard; oomguard.enable()"], env=environment,
                         capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1 and "oomguard run -- python" in ran.stderr


def test_both_modules_have_the_same_functions():
    names = [
        set(re.findall(r'^    "([a-z_]+)",$', (ROOT / file).read_text(), re.MULTILINE))
        for file in ("shim/python/api.py", "tools/package/oomguard/__init__.py")
    ]
    assert names[0] == names[1]
