"""The command inside a memory group with a limit of its own."""

import json
import os
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "end_to_end"))

import cgroup  # noqa: E402

LIMIT_BYTES = 96 << 20


@pytest.fixture
def group():
    reason = cgroup.why_unavailable()
    if reason:
        pytest.skip(reason)
    with cgroup.MemoryGroup(LIMIT_BYTES) as made:
        yield made


def test_a_kill_by_the_kernel_is_explained_without_a_session_too(tool, group, python):
    env = {**tool.environment, "OOMGUARD": "0"}
    code = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    result = group.run([tool.command, "run", python, "-c", code], 60, env=env)
    assert group.oom_kills() == 1
    assert result.status == 137
    first, cause = result.stderr.splitlines()
    assert re.fullmatch(r"oomguard: \S+ \(process \d+\) was killed at \d\d:\d\d:\d\d\.", first)
    assert f"ut of memory: container limit 96 MiB ({group.folder})" in cause
    assert result.stdout == ""


def test_a_kill_by_a_person_is_not_taken_for_the_kernels(tool, group):
    result = group.run([tool.command, "run", "sh", "-c", "kill -9 $$"], 60, env=tool.environment)
    assert result.status == 137
    assert "Killed (SIGKILL) by somebody, not by the kernel for want of memory" in result.stderr


def test_limits_are_those_of_the_group(tool, group, python):
    other = group.start([python, "-c", "import time; x = b'x' * (20 << 20); time.sleep(60)"])
    try:
        result = group.run([tool.command, "limits", "--json"], 60, env=tool.environment)
        text = group.run([tool.command, "limits"], 60, env=tool.environment).stdout
    finally:
        other.kill()
        other.wait()
    limits = json.loads(result.stdout)
    (level,) = (level for level in limits["levels"] if level["binds"])
    assert level["path"] == group.folder
    assert level["limit_bytes"] == LIMIT_BYTES
    assert 0 < level["left_bytes"] <= LIMIT_BYTES
    assert other.pid in [one["pid"] for one in limits["others"]]
    assert f"* container {group.folder}" in text
    assert f"{other.pid} {os.path.basename(python)[:15]}" in text


def test_limits_of_a_process_elsewhere_are_its_own(tool, group):
    process = group.start(["sleep", "60"])
    try:
        limits = json.loads(tool("limits", "--json", "--pid", process.pid).stdout)
    finally:
        process.kill()
        process.wait()
    (level,) = (level for level in limits["levels"] if level["binds"])
    assert (level["path"], level["limit_bytes"]) == (group.folder, LIMIT_BYTES)
