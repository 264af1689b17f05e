"""Every format of a flight file whose bytes were changed: an error or a report, never a crash."""

import json
import random

import pytest
import report_file

FORMATS = ("text", "json", "html", "folded", "speedscope")
TIMES = 40


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory):
    return report_file.write(build, tmp_path_factory.mktemp("whole"), stacks=60).read_bytes()


@pytest.mark.parametrize("seed", range(TIMES))
def test_changed_bytes_make_no_crash(tool, whole, tmp_path, seed):
    chance = random.Random(seed)
    content = bytearray(whole)
    used = [at for at in range(0, len(content), 64) if any(content[at : at + 64])]
    for _ in range(chance.choice((1, 20, 400, 4000))):
        at = chance.choice(used) + chance.randrange(64)
        size = chance.choice((1, 4, 8))
        # The magic, the version and the sizes stay: without them nothing else is looked at.
        if at >= 64:
            content[at : at + size] = chance.choice((b"\xff", b"\x00", b"\x1b", b"\x80")) * size
    path = tmp_path / "changed.flight"
    path.write_bytes(content[: len(whole)])
    format = FORMATS[seed % len(FORMATS)]
    result = tool("report", path, "--format", format, errors="surrogateescape")
    assert result.returncode in (0, 1), result.stderr
    if result.returncode == 0 and format in ("json", "speedscope"):
        json.loads(result.stdout)
    if result.returncode == 0 and format in ("text", "folded"):
        assert not any(char < " " and char != "\n" for char in result.stdout)
