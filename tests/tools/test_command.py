"""What all verbs have in common: help, versions, bad values."""

import re

import pytest

VERBS = (
    [],
    ["run"],
    ["env"],
    ["limits"],
    ["report"],
    ["sessions"],
    ["sessions", "list"],
    ["sessions", "remove"],
    ["sessions", "prune"],
    ["top"],
    ["kernelspec"],
    ["kernelspec", "install"],
    ["kernelspec", "list"],
    ["kernelspec", "remove"],
)
GUARD_OPTIONS = {
    "--budget": "auto, a size from 16MiB on (28G, 512MiB), or a share (80%)",
    "--reserve": "auto, or a size (64MiB)",
    "--swap-share": "a share from 0% to 100%",
    "--children": "python, all, or none",
    "--on-limit": "raise, warn, or exit",
    "--overcommit": "lend, or refuse",
    "--exit-code": "137, or keep",
    "--flight-size": "a size from 1MiB to 1GiB",
}


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb) or "(none)")
def test_help_goes_to_stdout(tool, verb):
    result = tool(*verb, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage: oomguard" in result.stdout


def test_version_is_one_line_with_the_commit_and_the_build(tool):
    result = tool("--version")
    assert result.returncode == 0
    assert re.fullmatch(
        r"oomguard \d+\.\d+\.\d+ \(commit ([0-9a-f]{12}( with changes)?|not known); "
        r"RelWithDebInfo, GNU [0-9.]+\)\n",
        result.stdout,
    )


def test_top_help_lists_the_exit_statuses(tool):
    text = tool("--help").stdout
    for status in (0, 1, 2, 3, 4, 5, 6, 126, 127):
        assert re.search(rf"^ +{status}  \w", text, re.M), status


@pytest.mark.parametrize("verb", (["run"], ["env"], ["kernelspec", "install"]), ids="-".join)
def test_help_names_every_option_with_its_forms(tool, verb):
    text = tool(*verb, "--help").stdout
    for option, forms in GUARD_OPTIONS.items():
        assert option in text
        assert f"[{forms}; default: " in text
    assert "--keep-frames" in text and "--dir" in text


@pytest.mark.parametrize("option", GUARD_OPTIONS)
def test_a_bad_value_exits_2_and_says_what_would_be_accepted(tool, option):
    result = tool("env", option, "nonsense")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"oomguard env: {option}: 'nonsense' is not accepted; accepted: {GUARD_OPTIONS[option]}\n"
    )


@pytest.mark.parametrize(
    "arguments",
    (
        [],
        ["fly"],
        ["env", "--bogus"],
        ["env", "--format", "toml"],
        ["env", "--budget"],
        ["env", "--dir", ""],
        ["report", "--format", "xml"],
        ["limits", "--pid", "x"],
        ["kernelspec", "install", "--user", "--sys-prefix"],
        ["kernelspec", "install", "--name", "has space"],
        ["kernelspec", "remove"],
        ["run"],
        ["run", "--bogus", "true"],
        ["run", "--budget", "zero", "true"],
    ),
    ids=" ".join,
)
def test_bad_usage_is_one_line_and_exit_2(tool, arguments):
    result = tool(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("oomguard") and result.stderr.count("\n") == 1


def test_a_bad_variable_is_named_too(tool):
    result = tool("run", "true", env={"OOMGUARD_RESERVE": "much"})
    assert result.returncode == 2
    assert "OOMGUARD_RESERVE: 'much' is not accepted; accepted: auto, or a size" in result.stderr


def test_output_that_cannot_be_written_is_an_error(tool):
    with open("/dev/full", "w") as full:
        import subprocess

        result = subprocess.run(
            [tool.command, "env"],
            env=tool.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert result.returncode == 4
    assert "could not be written" in result.stderr


@pytest.mark.parametrize(
    "words, verbs",
    ((["nope"], "run, env, limits, report, top, fit, config, sessions, kernelspec"), (["kernelspec", "x"], "install")),
    ids=lambda one: "-".join(one) if isinstance(one, list) else "",
)
def test_an_unknown_verb_is_named_with_those_that_exist(tool, words, verbs):
    result = tool(*words)
    assert result.returncode == 2 and result.stdout == ""
    assert f"'{words[-1]}'" in result.stderr and verbs in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ("x" * 100_000, "a\nb\x1b[31m"), ids=("long", "control"))
def test_a_hostile_value_makes_one_short_line(tool, value):
    result = tool("env", "--budget", value)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "\x1b" not in result.stderr
    assert len(result.stderr) < 400 and "auto, a size" in result.stderr
