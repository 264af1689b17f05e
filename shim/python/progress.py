"""Memory against the limit while a model is loaded: one line below the cell, updated in place.

`look` is called between two bytecodes of the main thread, every half second at the most and only
while more than half of the limit is in use. That a model is loaded it sees by the thread's stack.
"""

import sys
import time

LOADS = ("from_pretrained", "from_single_file", "load", "load_file", "load_model")
PACKAGES = ("/transformers/", "/torch/", "/safetensors/", "/diffusers/", "/accelerate/")
SHOWN_AFTER_S = 1  # beyond half of the limit
WIDTH = 24


class Load:
    """`key`: of the outermost call; `most`: bytes in use of the limit."""

    current = None

    def __init__(self, key):
        self.key, self.since = key, time.monotonic()
        self.display_id = "oomguard-load-%d" % time.monotonic_ns()
        self.most, self.shown = 0, False

    def show(self, used, limit, words="Memory while loading:"):
        magics = load("magics")
        unit = magics.unit_of(limit)
        full = min(WIDTH, round(WIDTH * used / limit))
        bar = "\u2588" * full + "\u2591" * (WIDTH - full)
        sizes = magics.shown(used, unit), magics.shown(limit, unit)
        text = "%s %s %s of %s" % ((words, bar) + sizes)
        load("alarm").live_shell().display_pub.publish(
            data={"text/plain": text},
            metadata={},
            transient={"display_id": self.display_id},
            update=self.shown,
        )
        self.shown = True


def outermost_load():
    """Identifies the call that loads a model; None where none does."""
    found, frame = None, sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_name in LOADS and any(part in code.co_filename for part in PACKAGES):
            found = id(frame)
        frame = frame.f_back
    return found


def look():
    key = outermost_load()
    if Load.current is not None and Load.current.key != key:
        end()
    if key is None:
        return
    usage = bridge.usage()
    if usage is None or usage["limit"] is None or usage["used"] < usage["limit"] // 2:
        return
    if Load.current is None:
        Load.current = Load(key)
    one = Load.current
    one.most = max(one.most, usage["used"])
    if time.monotonic() - one.since >= SHOWN_AFTER_S:
        one.show(usage["used"], usage["limit"])


def end():
    """After a load, or its cell: the line tells the most."""
    one, Load.current = Load.current, None
    limit = load("magics").limit_now()
    if one is not None and one.shown and limit is not None:
        one.show(one.most, limit, "Most memory while loading:")
