"""`oomguard limits`: the same numbers as the kernel's."""

import json
import os
import re
import resource
import subprocess
import time

import pytest


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


@pytest.mark.parametrize("order, names", (
    ("{library}:/x/libscalene.so", []),
    ("/x/libscalene.so:{library}", ["/x/libscalene.so"]),
    ("/x/libjemalloc.so.2:{library}", ["/x/libjemalloc.so.2"]),
    ("{library}:/x/libjemalloc.so.2", []),
    ("{library}:/x/libasan.so.8", ["/x/libasan.so.8"]),
    ("{library}:/copy/liboomguard.so", ["/copy/liboomguard.so"]),
    ("/x/libscalene.so", [])))
def test_what_is_preloaded_and_does_not_go_together_is_named(tool, library, order, names):
    # The loader complains about files that are missing; the command looks at the names.
    env = {"LD_PRELOAD": order.format(library=library), "OOMGUARD": "0"}
    limits = json.loads(tool("limits", "--json", env=env).stdout)
    assert limits["guarded"] == (library in order.format(library=library))
    assert [conflict["library"] for conflict in limits["conflicts"]] == names
    text = tool("limits", env=env).stdout
    assert ("Does not go together with oomguard:" in text) == bool(names)
    assert all(name in text for name in names)


def test_what_does_not_go_together_in_another_process_is_named(tool, library, compiler, tmp_path):
    other = tmp_path / "libefence.so.0.0"
    subprocess.run([compiler, "-shared", "-o", other, "-x", "c", "/dev/null"], check=True, timeout=60)
    (tmp_path / "libefence.so.0").symlink_to(other)
    process = subprocess.Popen(["sleep", "60"], env={
        "PATH": os.environ["PATH"], "LD_PRELOAD": f"{tmp_path}/libefence.so.0:{library}:/missing.so"},
        stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):  # until it has become sleep
            limits = json.loads(tool("limits", "--json", "--pid", process.pid).stdout)
            if limits["guarded"]:
                break
            time.sleep(0.05)
        assert [conflict["library"] for conflict in limits["conflicts"]] == [f"{tmp_path}/libefence.so.0"]
    finally:
        process.kill()
        process.wait()
