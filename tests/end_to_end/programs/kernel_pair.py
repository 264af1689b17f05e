"""Two Jupyter kernels in one memory group, of which one grows without end.

    python kernel_pair.py KERNEL idle|busy

The other one holds 100 MiB and is idle, or executes a cell that needs nothing more. Prints one JSON
line: what each kernel said.
"""
import json
import queue
import sys
import time

from jupyter_client.manager import start_new_kernel

HOLD = "kept = bytearray(b'k') * (100 << 20)"
BUSY = ("import time\nended = time.monotonic() + 12\n"
        "while time.monotonic() < ended:\n    time.sleep(0.02)\nprint('undisturbed')")
GROW = "held = []\nwhile True:\n    held.append(bytearray(b'g') * (1 << 20))"
LOOK = ("import sys\nguard = sys.modules.get('oomguard')\n"
        "print(kept.count(b'k') >> 20, guard.last_refusal() if guard else 'unguarded')")


def outcome_of(client, message, timeout_s):
    """What a cell printed and the name of its exception."""
    text, exception, deadline = "", None, time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            answer = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if answer["parent_header"].get("msg_id") != message:
            continue
        content = answer["content"]
        if answer["msg_type"] == "stream":
            text += content["text"]
        elif answer["msg_type"] == "error":
            exception = content["ename"]
        elif answer["msg_type"] == "status" and content["execution_state"] == "idle":
            return {"text": text.strip(), "exception": exception}
    return {"text": text, "exception": "timed out"}


def main():
    kernel, other_does = sys.argv[1:]
    kernels = [start_new_kernel(kernel_name=kernel) for _ in range(2)]
    (other_manager, other), (growing_manager, growing) = kernels
    try:
        result = {"hold": outcome_of(other, other.execute(HOLD), 30)}
        busy = other.execute(BUSY) if other_does == "busy" else None
        result["grow"] = outcome_of(growing, growing.execute(GROW), 60)
        if busy:
            result["busy"] = outcome_of(other, busy, 60)
        result["look"] = outcome_of(other, other.execute(LOOK), 30)
        result["after"] = outcome_of(growing, growing.execute("del held\nprint('alive')"), 30)
        result["alive"] = [manager.is_alive() for manager in (other_manager, growing_manager)]
        print(json.dumps(result))
    finally:
        for manager, client in kernels:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


main()
