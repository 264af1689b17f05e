"""`oomguard report` on files that were written for the purpose, damaged ones among them."""

import json
import os
import struct
import time

import pytest


class Layout:
    """Offsets of the flight file that the tests patch (collector/record/flight.h)."""

    version = 8
    header_bytes = 12
    refusal_bytes = 16
    behind_texts = 248        # the sizes, the table of sections and what is unused, at the header's end
    # In a refusal's record:
    at_realtime_ns = 16


@pytest.fixture
def sessions(environment):
    folder = os.path.join(environment["OOMGUARD_DIR"], "sessions")
    os.makedirs(folder, mode=0o700)
    return folder


@pytest.fixture
def recorded(tool, python, sessions):
    """A real session file of a refusal, as (path, bytes)."""
    from test_refusal import BUDGET, GROW, _limit_data

    tool("run", *BUDGET, python, "-c", GROW, preexec_fn=_limit_data)
    files = sorted(os.listdir(sessions))
    if not files:
        pytest.skip("the library of this build recorded no refusal")
    path = os.path.join(sessions, files[-1])
    with open(path, "rb") as file:
        return path, file.read()


def test_nothing_recorded_is_a_clear_word(tool, environment):
    for arguments in ((), ("--last",)):
        result = tool("report", *arguments)
        assert result.returncode == 1
        assert result.stderr == (
            f"oomguard report: no refusal and no unexplained end is recorded in {environment['OOMGUARD_DIR']}\n"
        )
    assert "no session is recorded" in tool("report", "--list").stderr


def test_an_unknown_session_is_named(tool):
    result = tool("report", "17-4")
    assert result.returncode == 1
    assert "'17-4' is neither a file nor a session" in result.stderr


def test_a_session_is_found_by_name_by_file_and_as_the_last(tool, recorded):
    path, _ = recorded
    by_name = tool("report", os.path.basename(path).removesuffix(".flight"))
    assert by_name.returncode == 0
    assert by_name.stdout == tool("report", path).stdout == tool("report").stdout


def test_list_shows_one_line_for_each_session(tool, recorded):
    path, content = recorded
    other = f"{int(time.time()) + 5}-77.flight"
    with open(os.path.join(os.path.dirname(path), other), "wb") as file:
        file.write(content)
    lines = tool("report", "--list").stdout.splitlines()
    assert lines[0].split()[0] == "session"
    assert [line.split()[0] for line in lines[1:]] == [
        "".join(other.rsplit(".flight")),
        os.path.basename(path).removesuffix(".flight"),
    ]
    assert all("ended by a refusal" in line for line in lines[1:])


def test_the_last_is_the_newest_refusal_not_the_newest_start(tool, recorded):
    path, content = recorded
    older = bytearray(content)
    header, size = struct.unpack_from("<2I", content, Layout.header_bytes)
    for at in range(header, len(content), size):
        struct.pack_into("<q", older, at + Layout.at_realtime_ns, 10**18)
    other = os.path.join(os.path.dirname(path), f"{int(time.time()) + 5}-77.flight")
    with open(other, "wb") as file:
        file.write(older)
    assert f"Session: {path}," in tool("report", "--last").stdout


def test_a_folder_can_be_named(tool, recorded):
    folder = os.path.dirname(os.path.dirname(recorded[0]))
    result = tool("report", "--dir", folder, env={"OOMGUARD_DIR": "/nonexistent"})
    assert result.returncode == 0


def test_the_size_of_the_file_is_an_option(tool, python, sessions):
    sizes = {}
    for size in ("1MiB", "3MiB", "16MiB"):
        code = "import os, glob; print(*(os.stat(f).st_size for f in glob.glob(os.environ['FILES'])))"
        run = tool("run", "--flight-size", size, "--", python, "-c", code,
                   env={"FILES": os.path.join(sessions, "*.flight")})
        sizes[size] = int(run.stdout)
    assert sizes == {"1MiB": 1 << 20, "3MiB": 3 << 20, "16MiB": 16 << 20}
    bad = tool("env", "--flight-size", "900K")
    assert bad.returncode == 2 and "a size from 1MiB to 1GiB" in bad.stderr


@pytest.mark.parametrize("size", (0, 7, 100, 4000, 100_000))
def test_a_truncated_file_is_refused(tool, recorded, tmp_path, size):
    path = tmp_path / "cut.flight"
    path.write_bytes(recorded[1][:size])
    result = tool("report", path)
    assert result.returncode == 1
    assert str(path) in result.stderr and result.stdout == ""


def test_another_version_is_refused(tool, recorded, tmp_path):
    content = bytearray(recorded[1])
    struct.pack_into("<I", content, Layout.version, 99)
    path = tmp_path / "new.flight"
    path.write_bytes(content)
    result = tool("report", path)
    assert result.returncode == 1
    assert "format 99" in result.stderr


def test_a_file_of_noise_prints_no_control_characters(tool, recorded, tmp_path):
    content = bytearray(recorded[1])
    header_bytes = struct.unpack_from("<I", content, Layout.header_bytes)[0]
    for at in range(64, header_bytes - Layout.behind_texts):
        content[at] = 0x1B
    for at in range(header_bytes, len(content)):
        content[at] = 0x9B if at % 2 else 0x1B
    path = tmp_path / "noise.flight"
    path.write_bytes(content)
    text = tool("report", path, errors="surrogateescape")
    assert text.returncode == 0
    assert not any(c < " " and c != "\n" for c in text.stdout)
    assert json.loads(tool("report", path, "--format", "json").stdout)["refusals"]


def test_old_sessions_are_pruned(tool, recorded):
    path, content = recorded
    old = os.path.join(os.path.dirname(path), f"{int(time.time()) - 40 * 86400}-7.flight")
    with open(old, "wb") as file:
        file.write(content)
    tool("report")
    assert not os.path.exists(old)
    assert os.path.exists(path)


TREE = """
import os, subprocess, sys
def refused():
    try: bytearray(64 << 30)
    except MemoryError: pass
refused()
if os.fork() == 0:
    refused()
    os._exit(0)
os.wait()
if len(sys.argv) == 1: subprocess.run([sys.executable, __file__, "child"])
"""


def test_sessions_of_children_are_listed_below_their_parent(tool, python, sessions, tmp_path):
    script = tmp_path / "tree.py"
    script.write_text(TREE)
    for _ in range(2):
        assert tool("run", "--budget", "256MiB", python, script).returncode == 0
    lines = tool("report", "--list").stdout.splitlines()[1:]
    depths = [(len(line) - len(line.lstrip())) // 2 for line in lines]
    # Each: itself, then its fork and the program it started with that one's fork, in whatever order.
    assert len(lines) == 8 and sorted(depths) == [0, 0, 1, 1, 1, 1, 2, 2]
    assert depths[0] == depths[4] == 0
    assert all(after <= before + 1 for before, after in zip(depths, depths[1:]))
    one = tool("report", lines[0].split()[0]).stdout
    assert "Sessions of processes that it started:" in one
    listed = one[one.index("Sessions of processes"):].splitlines()[2:]
    assert [line.split()[0] for line in listed] == [line.split()[0] for line in lines[1:4]]
    leaf = lines[depths.index(2)].split()[0]
    assert "Sessions of processes" not in tool("report", leaf).stdout
