"""A Jupyter kernel in a memory group of its own, spoken to over its protocol."""
import pathlib
import queue
import re
import time

import cgroup
import harness

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def anonymous_bytes(pid):
    """RssAnon of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s*(\d+)", status)[1]) * 1024


class Kernel:
    """Guarded, by its environment or a provisioner. `extra`: variables of its environment."""

    def __init__(self, sessions, limit_bytes=harness.SMALL_LIMIT, provisioner=None, **extra):
        from jupyter_client import KernelManager
        from jupyter_client.kernelspec import KernelSpec
        self.group = cgroup.MemoryGroup(limit_bytes)
        join = f'echo $$ > {self.group.folder}/cgroup.procs; exec "$@"'
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=["/bin/sh", "-c", join, "sh", str(harness.main_python()), "-m",
                  "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="guarded", language="python",
            metadata={} if provisioner is None else {"kernel_provisioner": provisioner})
        environment = harness.guarded_environment(sessions, **extra)
        if provisioner is not None:
            del environment["LD_PRELOAD"]
        self.manager.start_kernel(env=environment)
        self.connect()

    @property
    def pid(self):
        return self.manager.provisioner.process.pid

    def connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def restart(self, now):
        # With a new client: what the old kernel had sent would make wait_for_ready take the
        # subscription for connected.
        self.manager.restart_kernel(now=now)
        self.client.stop_channels()
        self.connect()

    def run(self, code, timeout_s=60):
        """What the cell showed: its traceback, streams and value, without colours."""
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
            elif message["msg_type"] in ("execute_result", "display_data",
                                         "update_display_data"):
                seen.append(content["data"]["text/plain"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return COLOURS.sub("", "\n".join(seen))

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.group.remove()


class Peak(harness.Watch):
    """The most RssAnon of a process, looked at every 10 ms."""

    def __init__(self, pid):
        super().__init__(0.01)
        self.pid, self.bytes = pid, 0

    def look(self):
        self.bytes = max(self.bytes, anonymous_bytes(self.pid))
