"""Where settings come from: /etc/oomguard.conf, the user's file, the environment, options; and which of
them count for the command and for what is guarded."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

GIB = 1 << 30
BUDGET = "import oomguard; print(oomguard.usage().limit)"
# Another /etc for what is started, and for nobody else.
OTHER_ETC = 'mount --bind "$1" /etc; shift; exec "$@"'


@pytest.fixture
def user_file(environment):
    folder = pathlib.Path(environment["HOME"], ".config")
    folder.mkdir()
    return folder / "oomguard.conf"


@pytest.fixture
def with_system_file(tool, tmp_path):
    """Runs the command where /etc/oomguard.conf has this text."""
    etc = tmp_path / "etc"
    etc.mkdir()
    start = ["unshare", "-m", "sh", "-ec", OTHER_ETC, "sh", etc]
    try:
        works = subprocess.run([*start, "true"], capture_output=True, timeout=60).returncode == 0
    except OSError:
        works = False
    if not works:
        pytest.skip("no mount name space can be made")
    for name in ("ld.so.cache", "passwd", "localtime"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", etc)

    def run(text, *arguments, **environment):
        (etc / "oomguard.conf").write_text(text)
        return subprocess.run([*start, tool.command, *arguments], env={**tool.environment, **environment},
                              capture_output=True, text=True, timeout=60)

    return run


def configured(result):
    assert result.returncode == 0, result
    return {one["key"]: one for one in json.loads(result.stdout)["options"]}


def test_every_option_is_shown_with_its_default(tool):
    options = configured(tool("config", "--json", env={"OOMGUARD_DIR": ""}))
    assert options["enabled"]["variable"] == "OOMGUARD" and len(options) > 10
    for key, one in options.items():
        assert (one["value"], one["from"], one["locked"]) == (None, "default", False), key
    lines = tool("config").stdout.splitlines()
    assert len(lines) == len(options) + 1
    assert [line.split()[0] for line in lines[:-1]] == list(options)
    assert lines[-1].startswith("Files: /etc/oomguard.conf, /")


def test_the_users_file_stands_below_the_environment_and_options(tool, user_file):
    user_file.write_text("budget = 1G  \n# a comment\nview = host\n")
    options = configured(tool("config", "--json", env={"OOMGUARD_VIEW": "budget"}))
    assert (options["budget"]["value"], options["budget"]["from"]) == ("1G", str(user_file))
    assert (options["view"]["value"], options["view"]["from"]) == ("budget", "OOMGUARD_VIEW")
    run = ["run", "--", sys.executable, "-c", BUDGET]
    assert tool(*run).stdout == f"{GIB}\n"
    assert tool(*run, env={"OOMGUARD_BUDGET": "2G"}).stdout == f"{2 * GIB}\n"
    assert tool("run", "--budget", "3G", *run[1:]).stdout == f"{3 * GIB}\n"
    elsewhere = {"XDG_CONFIG_HOME": str(user_file.parent.parent)}
    assert tool("config", env=elsewhere).stdout.splitlines()[1].split() == ["budget", "auto", "default"]


def test_what_is_wrong_in_a_file_is_a_line_of_whoever_is_guarded_and_of_config(tool, user_file, library):
    user_file.write_text("budget = much\nview = host\n")
    line = (f"oomguard: {user_file} line 1: budget=much is not accepted (auto, a size from 16MiB on (28G, 512MiB), "
            "or a share (80%)); using the default, auto\n")
    config = tool("config")
    assert (config.returncode, config.stderr) == (0, line)
    assert tool("limits").stderr == ""
    guarded = {**tool.environment, "LD_PRELOAD": library}
    done = subprocess.run([sys.executable, "-c", "import oomguard; print(1)"], env=guarded, capture_output=True,
                          text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", line)
    # A shell between them is not guarded and says nothing.
    done = subprocess.run(["sh", "-c", "echo 1"], env=guarded, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
    user_file.write_text("\n".join(["no"] * 100))
    assert tool("run", "--", sys.executable, "-c", "").stderr.count("\n") == 4


def test_what_is_run_takes_its_exit_status_from_the_file(tool, user_file):
    refused = ["run", "--budget", "300M", "--", sys.executable, "-c", "bytearray(1 << 30)"]
    assert tool(*refused).returncode == 137
    user_file.write_text("exit-code = keep\n")
    assert tool(*refused).returncode == 1


def test_a_users_file_can_switch_it_off(tool, user_file):
    user_file.write_text("enabled = off\n")
    run = ["run", "--", sys.executable, "-c", "import sys; print('oomguard' in sys.modules)"]
    assert tool(*run).stdout == "False\n"
    assert tool(*run, env={"OOMGUARD": "1"}).stdout == "True\n"


def test_what_the_administrator_locks_holds(with_system_file, user_file):
    user_file.write_text("budget = 2G\nchildren = all\n")
    policy = "lock budget = 1G\nchildren = none\nreserve = 32MiB\n"
    options = configured(with_system_file(policy, "config", "--json", OOMGUARD_BUDGET="3G"))
    assert (options["budget"]["value"], options["budget"]["locked"]) == ("1G", True)
    assert (options["children"]["value"], options["children"]["from"]) == ("all", str(user_file))
    assert options["reserve"]["from"] == "/etc/oomguard.conf" and not options["reserve"]["locked"]
    program = [sys.executable, "-c", BUDGET]
    done = with_system_file(policy, "run", "--", *program, OOMGUARD_BUDGET="3G")
    locked = " does not count: the value is locked in /etc/oomguard.conf"
    assert done.stdout == f"{GIB}\n", done
    assert done.stderr == (f"oomguard: {user_file} line 1: budget=2G{locked}\n"
                           f"oomguard: OOMGUARD_BUDGET=3G{locked}\n"), done
    done = with_system_file(policy, "run", "--budget", "3G", "--", *program)
    assert done.returncode == 2, done
    assert done.stderr == "oomguard run: --budget: /etc/oomguard.conf locks it: 1G\n", done


def test_off_in_the_environment_holds_against_a_lock(with_system_file):
    program = [sys.executable, "-c", "import sys; print('oomguard' in sys.modules)"]
    assert with_system_file("lock enabled = 1\n", "run", "--", *program, OOMGUARD="0").stdout == "False\n"
    assert with_system_file("lock enabled = 0\n", "run", "--", *program, OOMGUARD="1").stdout == "False\n"
