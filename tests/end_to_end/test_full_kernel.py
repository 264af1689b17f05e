"""A kernel that is full of small objects stays usable: refused again and again, it answers, shows its
tracebacks, and runs the cell that frees memory."""
import queue
import time

import pytest

import cgroup
import harness

GROW = "def grow(into):\n    while True: into.append({'a': len(into)})\n"


class Kernel:
    """A guarded kernel in a memory group of its own, spoken to over its protocol."""

    def __init__(self, sessions, **extra):
        from jupyter_client import KernelManager
        from jupyter_client.kernelspec import KernelSpec
        self.group = cgroup.MemoryGroup(harness.SMALL_LIMIT)
        join = f'echo $$ > {self.group.folder}/cgroup.procs; exec "$@"'
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=["/bin/sh", "-c", join, "sh", str(harness.main_python()), "-m",
                  "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="guarded", language="python")
        self.manager.start_kernel(env=harness.guarded_environment(sessions, **extra))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def restart(self, now):
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=60)

    def run(self, code, timeout_s=60):
        """(status of the reply, text of the traceback and of stderr)."""
        request = self.client.execute(code)
        seen, deadline = [], time.monotonic() + timeout_s
        while True:
            assert self.manager.is_alive(), "the kernel died"
            assert time.monotonic() < deadline, f"no answer to {code!r}"
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            if message["msg_type"] == "error":
                seen.append(content["ename"] + "\n" + "\n".join(content["traceback"]))
            elif message["msg_type"] == "stream":
                seen.append(content["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                seen.append(content["data"]["text/plain"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return "\n".join(seen)

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.group.remove()


@pytest.fixture
def kernel(tmp_path):
    reason = cgroup.why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.end()


def test_a_full_kernel_answers_after_every_refusal(kernel):
    kernel.run("a = 42; D = {}; q = []\n" + GROW)
    first = kernel.run("while True: D[len(D)] = str(len(D))")
    assert "MemoryError" in first and "oomguard stopped this cell" in first
    for _ in range(4):
        assert "MemoryError" in kernel.run("grow(q)")
        assert kernel.run("len(q) > 0, a") == "(True, 42)"
    kernel.run("del q")
    kernel.run("del D")
    assert kernel.run("len(bytearray(200 << 20)), a") == "(209715200, 42)"
    assert kernel.group.oom_kills() == 0


def test_a_cell_that_swallows_its_refusals_leaves_the_kernel_alive(kernel):
    kernel.run("a = 42; n = 0; M = []")
    kernel.run("import time; end = time.monotonic() + 5\n"
               "while time.monotonic() < end:\n"
               "    try: M.append([n] * 5)\n"
               "    except Exception: n += 1\n")
    kernel.run("del M")
    assert kernel.run("a") == "42"
    assert kernel.group.oom_kills() == 0
