"""Every call of libc that a verb makes fails once: a clear message or the usual end, nothing torn."""
import errno
import itertools
import json
import pathlib
import struct

import pytest

KERNEL = {"argv": ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
          "display_name": "Python 3", "language": "python"}
CALLS = {
    "malloc": errno.ENOMEM, "realloc": errno.ENOMEM, "open": errno.EMFILE, "read": errno.EIO,
    "write": errno.ENOSPC, "fsync": errno.EIO, "rename": errno.EACCES, "mkdir": errno.EACCES,
    "opendir": errno.ENOMEM, "fork": errno.EAGAIN, "pipe": errno.EMFILE, "unlink": errno.EPERM,
}


def verbs(folder):
    prefix = folder / "prefix"
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    weights = folder / "w.safetensors"
    weights.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return {
        "limits": ["limits"],
        "limits as json": ["limits", "--json"],
        "fit": ["fit", str(weights)],
        "env": ["env", "--budget", "80%"],
        "report": ["report"],
        "run": ["run", "--", "/bin/true"],
        "kernelspec install": ["kernelspec", "install", "--prefix", str(prefix), "--from", "bare"],
        "kernelspec list": ["kernelspec", "list"],
    }


def check_kernels(folder):
    """What Jupyter would find is whole."""
    for path in pathlib.Path(folder).rglob("kernel.json"):
        assert json.loads(path.read_text())["argv"], path


def numbers():
    number = 1
    while True:
        yield number
        number += 1 if number < 30 else 11 if number < 300 else 97


@pytest.mark.parametrize("call", CALLS)
def test_a_verb_of_which_a_call_fails_says_so_or_works(build, run, tmp_path, call):
    bare = tmp_path / "jupyter" / "kernels" / "bare"
    bare.mkdir(parents=True)
    (bare / "kernel.json").write_text(json.dumps(KERNEL))
    failing = build / "tests/faults/oomguard_failing_libc.so"
    for verb, arguments in verbs(tmp_path).items():
        for number in itertools.takewhile(lambda n: n < 3000, numbers()):
            seen = tmp_path / f"{call}{number}-{verb}".replace(" ", "_")
            done = run([build / "bin/oomguard", *arguments], LD_PRELOAD=str(failing),
                       OOMGUARD_FAIL=f"{call} {number} {CALLS[call]}", OOMGUARD_FAIL_IN="oomguard",
                       OOMGUARD_FAIL_SEEN=str(seen), OOMGUARD_DIR=str(tmp_path / "sessions"),
                       JUPYTER_PATH=str(tmp_path / "jupyter"), HOME=str(tmp_path),
                       JUPYTER_CONFIG_DIR=str(tmp_path))
            where = f"{verb}, {call} number {number}: {done}"
            # Constructors before main, destructors of the JSON library and functions of the standard
            # library that may not throw (directory_iterator) allocate, too: the C++ runtime ends the
            # program there, and nobody can catch it.
            out_of_memory = call in ("malloc", "realloc") and "terminate called" in done.stderr
            assert done.returncode >= 0 or out_of_memory, where
            assert done.returncode == 0 or done.stderr.strip(), f"ends without a word: {where}"
            check_kernels(tmp_path)
            if not seen.exists():
                break
            seen.unlink()
