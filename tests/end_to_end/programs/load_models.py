"""Loads models, each in a process of its own, and prints the peak of its memory.

Reads lines of JSON from stdin, [folder, class, arguments], and answers each with one line: the most
anonymous and mapped memory that the load took in bytes, beyond what was there before it (the
imports). The arguments are text as `oomguard fit` prints it.
"""
import gc
import json
import os
import sys
import threading
import time

import torch
import transformers


def status():
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return tuple(int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssFile"))


def measure(folder, class_name, arguments):
    model_class = getattr(transformers, class_name)
    arguments = eval("dict(%s)" % arguments, {"torch": torch})
    most = [0, 0]
    done = threading.Event()

    def sample():
        while not done.is_set():
            anonymous, mapped = status()
            most[0], most[1] = max(most[0], anonymous), max(most[1], mapped)
            time.sleep(0.001)

    gc.collect()
    before = status()
    sampler = threading.Thread(target=sample)
    sampler.start()
    model = model_class.from_pretrained(folder, **arguments)
    done.set()
    sampler.join()
    after = status()
    # Every weight is read once, as a forward pass would; what is mapped becomes resident.
    for tensor in list(model.parameters()) + list(model.buffers()):
        if tensor.device.type == "cpu":
            tensor.reshape(-1)[::512].to(torch.float32).sum()
    read = status()
    most[0], most[1] = max(most[0], after[0]), max(most[1], after[1], read[1])
    return {"anonymous": most[0] - before[0], "mapped": most[1] - before[1],
            "kept": after[0] - before[0]}


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for line in sys.stdin:
        folder, class_name, arguments = json.loads(line)
        getattr(transformers, class_name)  # its module, before the fork
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                answer = measure(folder, class_name, arguments)
            except Exception as error:
                answer = {"error": "%s: %s" % (type(error).__name__, error)}
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        _, ended = os.waitpid(child, 0)
        print(answer or json.dumps({"error": "ended with %d" % ended}), flush=True)


main()
