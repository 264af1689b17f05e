"""`oomguard env`: each format gives its reader exactly the values that were meant."""

import json
import os
import shlex
import shutil
import subprocess

import pytest

AWKWARD = '/tmp/it\'s a "dir" with $HOME `x` \\ 100% $(NAME)'


def evaluated(shell, text, environment):
    script = text + "\nenv -0"
    output = subprocess.run(
        [shell, "-c", script], env=environment, stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout
    return dict(entry.split("=", 1) for entry in output.decode().split("\0") if entry)


@pytest.fixture
def pairs(library):
    return {"LD_PRELOAD": library, "OOMGUARD_BUDGET": "80%", "OOMGUARD_DIR": AWKWARD}


def printed(tool, form):
    result = tool("env", "--budget", "80%", "--dir", AWKWARD, "--format", form)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("shell", ("sh", "bash", "dash", "zsh"))
def test_shell_format_survives_evaluation(tool, pairs, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    seen = evaluated(shell, printed(tool, "shell"), {"PATH": os.environ["PATH"]})
    assert {name: seen[name] for name in pairs} == pairs


def test_shell_format_keeps_what_is_preloaded_already(tool, library, compiler, tmp_path):
    other = tmp_path / "libother.so"
    subprocess.run(
        [compiler, "-shared", "-o", other, "-x", "c", "/dev/null"], check=True, timeout=60
    )
    seen = evaluated(
        "sh", printed(tool, "shell"), {"PATH": os.environ["PATH"], "LD_PRELOAD": str(other)}
    )
    assert seen["LD_PRELOAD"] == f"{library}:{other}"


def test_shell_is_the_default(tool):
    assert tool("env").stdout == tool("env", "--format", "shell").stdout


def test_only_given_options_are_printed(tool, library):
    assert json.loads(tool("env", "--format", "json").stdout) == {"LD_PRELOAD": library}


def test_arrow_adds_its_variable(tool, library):
    printed = json.loads(tool("env", "--arrow", "--format", "json").stdout)
    assert printed == {"LD_PRELOAD": library, "ARROW_DEFAULT_MEMORY_POOL": "system"}


def test_json_format(tool, pairs):
    assert json.loads(printed(tool, "json")) == pairs


def test_dotenv_format_is_read_back(tool, pairs, tmp_path):
    """By the library that most programs read such files with."""
    packager = os.environ.get("OOMGUARD_VENV_PACKAGE")
    if not packager:
        pytest.skip("OOMGUARD_VENV_PACKAGE names no environment with python-dotenv")
    (tmp_path / ".env").write_text(printed(tool, "dotenv"))
    code = "import dotenv, json, sys; print(json.dumps(dotenv.dotenv_values(sys.argv[1], interpolate=False)))"
    read = subprocess.run([packager + "/bin/python", "-c", code, tmp_path / ".env"], check=True,
                          capture_output=True, text=True, timeout=60)
    assert json.loads(read.stdout) == pairs


def test_docker_format_is_an_env_file(tool, pairs):
    lines = printed(tool, "docker").splitlines()
    assert dict(line.split("=", 1) for line in lines) == pairs


def test_systemd_format(tool, pairs):
    seen = {}
    for line in printed(tool, "systemd").splitlines():
        assert line.startswith("Environment=")
        # systemd's quoting is the shell's here, but for $ and `, and % is doubled.
        (word,) = shlex.split(line.removeprefix("Environment=").replace("%%", "%"))
        name, value = word.split("=", 1)
        seen[name] = value
    assert seen == pairs


def test_k8s_format(tool, pairs):
    lines = printed(tool, "k8s").splitlines()
    assert lines[0] == "env:"
    names = [line.removeprefix("- name: ") for line in lines[1::2]]
    values = [json.loads(line.removeprefix("  value: ")) for line in lines[2::2]]
    # A reference is $(NAME); $$ is one $.
    assert {n: v.replace("$$", "$") for n, v in zip(names, values)} == pairs
    assert "$$(NAME)" in values[names.index("OOMGUARD_DIR")]


def test_k8s_format_is_yaml(tool, pairs):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    entries = yaml.safe_load(printed(tool, "k8s"))["env"]
    assert {e["name"]: e["value"].replace("$$", "$") for e in entries} == pairs


def test_a_switch_becomes_1(tool):
    assert (
        json.loads(tool("env", "--keep-frames", "--format", "json").stdout)["OOMGUARD_KEEP_FRAMES"]
        == "1"
    )


def test_a_relative_folder_is_written_out(tool, tmp_path):
    seen = json.loads(tool("env", "--dir", "here", "--format", "json", cwd=tmp_path).stdout)
    assert seen["OOMGUARD_DIR"] == str(tmp_path / "here")


@pytest.mark.parametrize("folder", ("with space", "with:colon", "with$dollar"))
def test_a_path_that_cannot_be_preloaded_is_refused(build, environment, tmp_path, folder):
    prefix = tmp_path / folder
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    shutil.copy(build / "bin/oomguard", prefix / "bin")
    (prefix / "lib/liboomguard.so").touch()
    result = subprocess.run(
        [prefix / "bin/oomguard", "env"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 5
    assert "LD_PRELOAD allows no space, colon or $" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_library_is_named(build, environment, tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy(build / "bin/oomguard", tmp_path / "bin")
    result = subprocess.run(
        [tmp_path / "bin/oomguard", "env"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 5
    assert "liboomguard.so was not found" in result.stderr


@pytest.mark.parametrize("folder", ("lib", "lib64"))
def test_the_library_is_found_in_any_prefix(build, environment, tmp_path, folder):
    (tmp_path / "bin").mkdir()
    (tmp_path / folder).mkdir()
    shutil.copy(build / "bin/oomguard", tmp_path / "bin")
    (tmp_path / folder / "liboomguard.so").touch()
    (tmp_path / "link").symlink_to(tmp_path / "bin/oomguard")
    result = subprocess.run(
        [tmp_path / "link", "env", "--format", "json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(result.stdout)["LD_PRELOAD"] == str(tmp_path / folder / "liboomguard.so")
