"""Every format of a flight file whose bytes were changed: an error or a report, never a crash."""

import json
import os
import pathlib
import random
import time

import pytest
import report_file

FORMATS = ("text", "json", "html", "folded", "speedscope")
TIMES = 40
CONNECTION = b"/home/ada/kernel-1.json"


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory):
    return report_file.write(build, tmp_path_factory.mktemp("whole"), stacks=60).read_bytes()


def changed(content, chance):
    used = [at for at in range(0, len(content), 64) if any(content[at : at + 64])]
    changed = bytearray(content)
    for _ in range(chance.choice((1, 20, 400, 4000))):
        at = chance.choice(used) + chance.randrange(64)
        size = chance.choice((1, 4, 8))
        # The magic, the version and the sizes stay: without them nothing else is looked at.
        if at >= 64:
            changed[at : at + size] = chance.choice((b"\xff", b"\x00", b"\x1b", b"\x80")) * size
    return changed[: len(content)]


@pytest.mark.parametrize("seed", range(TIMES))
def test_changed_bytes_make_no_crash(tool, whole, tmp_path, seed):
    path = tmp_path / "changed.flight"
    path.write_bytes(changed(whole, random.Random(seed)))
    format = FORMATS[seed % len(FORMATS)]
    result = tool("report", path, "--format", format, errors="surrogateescape")
    assert result.returncode in (0, 1), result.stderr
    if result.returncode == 0 and format in ("json", "speedscope"):
        json.loads(result.stdout)
    if result.returncode == 0 and format in ("text", "folded"):
        assert not any(char < " " and char != "\n" for char in result.stdout)


@pytest.mark.parametrize("seed", range(12))
def test_nor_for_the_kernel_that_comes_after(build, tool, environment, tmp_path, seed):
    sessions = pathlib.Path(environment["OOMGUARD_DIR"], "sessions")
    sessions.mkdir(mode=0o700, parents=True)
    path = report_file.write(build, tmp_path, 60, 600, "died", name="%d-2147480000" % time.time())
    whole = path.read_bytes()
    content = changed(whole, random.Random(seed))
    at = whole.index(b"\0" + CONNECTION + b"\0")  # by which it is found
    content[at : at + len(CONNECTION) + 2] = whole[at : at + len(CONNECTION) + 2]
    (sessions / path.name).write_bytes(content)
    os.chmod(sessions / path.name, 0o600)
    result = tool("report", "--replaced-by", CONNECTION.decode(), errors="surrogateescape")
    assert result.returncode in (0, 1), result.stderr
    if result.returncode == 0:
        told = json.loads(result.stdout)
        assert not any(char < " " and char != "\n" for char in told.get("text", told.get("line"))), told
