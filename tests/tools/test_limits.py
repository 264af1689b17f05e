"""`oomguard limits`: the same numbers as the kernel's."""

import json
import os
import re
import resource
import subprocess


def test_json_has_every_level_and_names_the_binding_one(tool):
    result = tool("limits", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    limits = json.loads(result.stdout)
    assert limits["schema"] == "oomguard.limits/1"
    binding = [level for level in limits["levels"] if level["binds"]]
    assert len(binding) == 1
    assert binding[0]["left_bytes"] == limits["left_bytes"]
    assert limits["left_bytes"] == min(
        level["left_bytes"] for level in limits["levels"] if level["left_bytes"] is not None
    )


def test_the_machine_is_a_limit(tool):
    with open("/proc/meminfo") as file:
        total = int(re.match(r"MemTotal: +(\d+) kB", file.read()).group(1)) * 1024
    (machine,) = (
        level
        for level in json.loads(tool("limits", "--json").stdout)["levels"]
        if level["kind"] == "machine"
    )
    assert machine["limit_bytes"] == total


def test_an_address_space_limit_is_seen_and_binds(tool):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    result = tool("limits", "--json", preexec_fn=limit)
    levels = json.loads(result.stdout)["levels"]
    (level,) = (level for level in levels if level["kind"] == "rlimit-as")
    assert level["limit_bytes"] == 1 << 30
    assert level["binds"]
    assert "address space (ulimit -v)" in tool("limits", preexec_fn=limit).stdout


def test_a_configured_budget_is_a_limit(tool):
    for env in ({"OOMGUARD_BUDGET": "64MiB"}, {"MEM_LIMIT": str(64 << 20)}):
        levels = json.loads(tool("limits", "--json", env=env).stdout)["levels"]
        assert [level["limit_bytes"] for level in levels if level["kind"] == "budget"] == [64 << 20]


def test_another_process_can_be_asked_for(tool):
    process = subprocess.Popen(["sleep", "60"])
    try:
        limits = json.loads(tool("limits", "--json", "--pid", process.pid).stdout)
        assert limits["pid"] == process.pid
        assert process.pid not in [other["pid"] for other in limits["others"]]
        assert "(sleep)" in tool("limits", "--pid", process.pid).stdout
    finally:
        process.kill()
        process.wait()


def test_others_of_the_group_are_listed(tool):
    others = json.loads(tool("limits", "--json").stdout)["others"]
    sizes = [other["resident_bytes"] for other in others]
    assert sizes == sorted(sizes, reverse=True)


def test_a_process_that_does_not_exist_is_a_clear_word(tool):
    result = tool("limits", "--pid", 2**22 + 7)
    assert result.returncode == 1
    assert result.stderr == f"oomguard limits: --pid: there is no process {2**22 + 7}\n"


def test_text_marks_the_binding_level(tool):
    text = tool("limits").stdout
    assert re.match(r"Limits on process \d+ \(oomguard\)\n", text)
    assert len(re.findall(r"^\* ", text, re.M)) == 1
    assert "Bytes left: " in text
