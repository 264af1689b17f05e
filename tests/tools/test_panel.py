"""What a kernel shows of the one that it replaces (`oomguard report --replaced-by`), from a file of a
kernel that was killed while it loaded a checkpoint."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
import report_file

CONNECTION = "/home/ada/kernel-1.json"
ASK = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
USER = 65534
# A /dev in which Kubernetes has made its file, seen by what is started in it alone.
POD = """
mount -t tmpfs none "$1"
for name in null zero urandom; do touch "$1/$name"; mount --bind /dev/$name "$1/$name"; done
touch "$1/termination-log"
mount --rbind "$1" /dev
shift
sh -c '"$@"; true' sh "$@"
cat /dev/termination-log
"""


@pytest.fixture
def sessions(environment):
    folder = os.path.join(environment["OOMGUARD_DIR"], "sessions")
    os.makedirs(folder, mode=0o700)
    return folder


def told(tool):
    done = tool("report", "--replaced-by", CONNECTION)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_it_names_the_cell_the_line_and_what_would_fit(build, tool, sessions, tmp_path):
    path = report_file.write(build, tmp_path, 400, 600, "died", name="%d-4711" % time.time())
    os.chmod(path, 0o600)
    os.rename(path, os.path.join(sessions, path.name))
    panel = told(tool)
    lines = panel["text"].splitlines()
    assert lines[0].startswith("The previous kernel of <b>train.ipynb died at "), lines
    assert lines[0].endswith(" in cell [2], line 5."), lines
    assert lines[1].startswith("Very likely out of memory: container limit 6.0 GiB, last seen")
    assert lines[2:7] == [
        "      1  from transformers import AutoModelForCausalLM",
        "      2  ",
        "      3  path = '/data/llama-19b'",
        "    ...",
        "-->   5      model = AutoModelForCausalLM.from_pretrained(path)  # <i>",
    ], lines
    assert lines[7].startswith("At: train.py:"), lines
    fits = [line for line in lines if line.startswith(("Checkpoint", "Fits", "Not:"))]
    assert fits[0].startswith("Checkpoint llama-19b: 36.0 GiB, and room for "), lines
    assert fits[1].startswith("Fits:  dtype=torch.bfloat16: ~"), lines
    assert fits[1].endswith(", and ~36.0 GiB read from disk on each pass (slow)"), lines
    assert fits[-1].startswith("Not:   ") and "(load_in_8bit=True) ~" in fits[-1], lines
    assert any(line.startswith("Memory ") for line in lines) and lines[-1].startswith("More: "), lines
    assert any(line.startswith("Largest: train.py:") for line in lines), lines
    # Nothing of a name or of source is markup, and the page around it decides on the colours.
    page = panel["html"]
    assert "&lt;b&gt;train" in page and "<b>" not in page and "# <i>" not in page
    assert "<strong>--&gt;   5" in page and "<svg " in page and "black" not in page
    assert tool("report", "--replaced-by", CONNECTION).returncode == 1, "it is told once"


def test_a_run_that_died_while_it_loaded_a_checkpoint_ends_with_what_would_fit(build, tool, sessions, tmp_path):
    path = report_file.write(build, tmp_path, 40, 600, "died")
    os.chmod(path, 0o600)
    program = 'cp -p "$0" "$1/$(date +%s)-$$.flight"; kill -9 $$'
    # Unguarded: a session of its own may have the same name.
    done = tool("run", "--", "sh", "-c", program, path, sessions, env={"OOMGUARD": "0"})
    assert done.returncode == 137, done
    lines = done.stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Checkpoint llama-19b: 36.0 GiB"))
    assert lines[at + 1].startswith("Fits:  dtype=torch.bfloat16: ~"), done
    assert lines[at + 2].startswith("Not:   ") and lines[at + 3].startswith("More: oomguard report"), done


def put(build, folder, sessions, how="died"):
    path = report_file.write(build, folder, 40, 600, how, name="%d-2147480000" % time.time())
    os.chmod(path, 0o600)
    os.chown(path, os.stat(sessions).st_uid, -1)
    return shutil.move(path, sessions)


def test_of_an_end_far_from_any_limit_nothing_is_told_of_memory(build, tool, sessions, tmp_path):
    put(build, tmp_path, sessions, "crashed")
    panel = told(tool)
    lines = panel["text"].splitlines()
    assert lines[1] == "It crashed with SIGSEGV (segmentation fault).", lines
    assert "-->   5      model" in panel["text"] and lines[-1].startswith("More: "), lines
    assert not [line for line in lines if line.startswith(("Memory", "Largest", "Checkpoint", "Fits"))], lines
    assert "<svg" not in panel["html"], panel


def test_in_a_pod_it_is_in_the_log_of_the_server_and_in_the_file_for_it(build, tool, sessions, tmp_path):
    start = ["unshare", "-m", "sh", "-ec"]
    try:
        works = subprocess.run([*start, 'mount -t tmpfs none "$1"', "sh", tmp_path], timeout=60).returncode == 0
    except OSError:
        works = False
    if not works:
        pytest.skip("no mount name space can be made")
    put(build, tmp_path, sessions)
    (tmp_path / "dev").mkdir()
    command = [tool.command, "report", "--replaced-by", CONNECTION, "-o", str(tmp_path / "panel.json")]
    done = subprocess.run([*start, POD, "sh", str(tmp_path / "dev"), *command], env=tool.environment,
                          capture_output=True, text=True, timeout=60)
    assert "text" in json.loads((tmp_path / "panel.json").read_text()), done
    line = done.stdout
    assert line.startswith("oomguard: kernel of <b>train.ipynb died at ") and line.count("\n") == 1, done
    assert "out of memory: container limit 6.0 GiB, last seen" in line and "/sys" not in line, done
    assert done.stderr == line, done


class OrdinaryUser:
    """Folders and processes of one who is not root."""

    def __init__(self, tool, library, python):
        self.words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"] if os.geteuid() == 0 else []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="oomguard-test-"))
        self.sessions = self.folder / "sessions"
        self.sessions.mkdir(mode=0o700)
        if self.words:
            for path in (self.folder, self.sessions):
                os.chown(path, USER, USER)
        self.ask = [*self.words, python, "-c", ASK, tool.command, "report", "--dir", str(self.folder),
                    "--replaced-by", CONNECTION]
        self.environment = {**tool.environment, "HOME": str(self.folder), "OOMGUARD_DIR": str(self.folder)}
        self.library = library

    def told(self):
        """What a guarded process that replaces the kernel is told, None where it is nothing."""
        done = subprocess.run(self.ask, env={**self.environment, "LD_PRELOAD": self.library}, cwd="/",
                              capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done
        return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture
def user(tool, library, python):
    user = OrdinaryUser(tool, library, python)
    try:
        usable = subprocess.run([*user.words, tool.command, "--version"], capture_output=True, cwd="/").returncode == 0
    except OSError:
        usable = False
    if not usable or subprocess.run([*user.words, python, "-c", ""], capture_output=True, cwd="/").returncode != 0:
        shutil.rmtree(user.folder)
        pytest.skip("the build and the interpreter are not an ordinary user's to read")
    yield user
    shutil.rmtree(user.folder)


def other_version(path):
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(b"\x63")


@pytest.mark.parametrize("damage, why", [
    (os.unlink, None),
    (lambda path: os.chmod(path, 0), "Permission denied"),
    (other_version, "written by another version of oomguard (format 99, "),
    (lambda path: os.truncate(path, 100_000), "damaged: it ends before its last record"),
    (lambda path: os.truncate(path, 100), "too short for a flight file of oomguard"),
], ids=["deleted", "unreadable", "other_version", "truncated", "empty"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(build, user, tmp_path, damage, why):
    path = put(build, tmp_path, user.sessions)
    damage(path)
    told = user.told()
    if why is None:
        assert told is None
        return
    assert set(told) == {"line"} and "\n" not in told["line"], told
    assert told["line"].startswith(f"oomguard: why an earlier kernel ended cannot be told: {path}: {why}"), told
    # It is what a kernel that starts much later does not replace.
    os.utime(path, (time.time() - 3600,) * 2)
    assert user.told() is None
