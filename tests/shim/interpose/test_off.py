"""OOMGUARD=0: the library is mapped, and that is all."""

import json
import os
import sys

# What a process has, and what it hands to a child.
LOOK = """
import ctypes, json, os, subprocess, sys
blocks = [bytearray(1 << 22) for _ in range(8)]
ctypes.CDLL(None).free(ctypes.CDLL(None).realloc(ctypes.CDLL(None).malloc(100), 200))
with open("/proc/meminfo") as file:
    total = file.readline()
with open("/proc/self/maps") as maps:
    mappings = [line.split() for line in maps]
child = subprocess.run([sys.executable, "-c", "import os; print(open('/proc/self/oom_score_adj').read(), len(os.environ))"],
                       capture_output=True, text=True)
print(json.dumps({
    "files": sorted({words[5] for words in mappings if len(words) > 5}),
    "tasks": os.listdir("/proc/self/task") == [str(os.getpid())],
    "descriptors": sorted(os.listdir("/proc/self/fd")),
    "ours": sorted(name for name in sys.modules if "oomguard" in name),
    "signals": [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn", "SigCgt"))],
    "total": total, "pages": os.sysconf("SC_PHYS_PAGES"), "child": child.stdout, "errors": child.stderr,
}))
"""


def test_it_does_nothing_at_all(bare, library, tmp_path):
    (tmp_path / ".config").mkdir()
    os.mkfifo(tmp_path / ".config/oomguard.conf")  # whoever looks at it says so
    environment = {"HOME": str(tmp_path), "OOMGUARD_DIR": str(tmp_path / "sessions"), "OOMGUARD_BUDGET": "500M",
                   "OOMGUARD_SAMPLE": "nonsense"}
    without = bare(sys.executable, "-c", LOOK, LD_PRELOAD="", OOMGUARD="0", **environment)
    off = bare(sys.executable, "-c", LOOK, LD_PRELOAD=str(library), OOMGUARD="0", **environment)
    assert (off.status, off.err, without.status) == (0, "", 0), (off, without)
    seen, usual = json.loads(off.out), json.loads(without.out)
    # libdl is what a library for older systems needs beside libc (OOMGUARD_PORTABLE).
    files = [one for one in seen["files"] if not one.endswith("/libdl.so.2") or one in usual["files"]]
    assert files == sorted([*usual["files"], str(library)])
    del seen["files"]
    assert seen == {name: usual[name] for name in seen}
    assert not (tmp_path / "sessions").exists()
    # The same where it is on: what is compared is what it does.
    on = bare(sys.executable, "-c", LOOK, LD_PRELOAD=str(library), OOMGUARD="1", **environment)
    seen = json.loads(on.out)
    assert seen["ours"] and seen["total"] != usual["total"] and "no regular file" in on.err
