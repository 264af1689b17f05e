"""`oomguard kernelspec`: guarded copies, complete or not at all, and nothing else touched."""

import json
import os
import pathlib
import pwd
import stat
import subprocess

import pytest

SOURCE = {
    "argv": ["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3",
    "language": "python",
    "interrupt_mode": "signal",
    "env": {"MINE": "${HOME}/x"},
    "metadata": {"debugger": True},
}


def add_kernelspec(data, name, spec):
    folder = pathlib.Path(data) / "kernels" / name
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    (folder / "logo-64x64.png").write_bytes(b"\x89PNG")
    (folder / "extra").mkdir()
    (folder / "extra/setup.sh").write_text("true\n")
    return folder


def read_spec(folder):
    return json.loads((pathlib.Path(folder) / "kernel.json").read_text())


@pytest.fixture
def data(environment):
    path = pathlib.Path(environment["HOME"]) / ".local/share/jupyter"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def source(data):
    return add_kernelspec(data, "python3", SOURCE)


@pytest.fixture
def no_jupyter(tmp_path):
    """A PATH with a Python that has no ipykernel and no kernelspecs, and nothing else."""
    folder = tmp_path / "no-jupyter/bin"
    folder.mkdir(parents=True)
    python = folder / "python3"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' {python} {folder.parent} False\n")
    python.chmod(0o755)
    return {"PATH": str(folder)}


def test_install_copies_the_kernelspec_with_the_guard(tool, source, library, data):
    result = tool("kernelspec", "install", "--budget", "80%", "--dir", "/var/tmp/a$b")
    target = data / "kernels/oomguard-python3"
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"Installed kernelspec oomguard-python3 in {target}\n"
    spec = read_spec(target)
    assert spec["argv"] == SOURCE["argv"]
    assert spec["display_name"] == "Python 3 (oomguard)"
    assert spec["env"] == {
        "MINE": "${HOME}/x",
        "LD_PRELOAD": library,
        "OOMGUARD_BUDGET": "80%",
        # Jupyter replaces $NAME in these values; $$ is one $.
        "OOMGUARD_DIR": "/var/tmp/a$$b",
    }
    assert spec["metadata"]["debugger"] is True
    assert spec["metadata"]["oomguard"]["source"] == "python3"
    assert (target / "logo-64x64.png").read_bytes() == b"\x89PNG"
    assert (target / "extra/setup.sh").exists()
    assert read_spec(source) == SOURCE, "the source stays as it was"


def test_no_reference_to_ld_preload_is_written(tool, data, library):
    add_kernelspec(data, "python3", {**SOURCE, "env": {"LD_PRELOAD": "/lib/a.so:${LD_PRELOAD}"}})
    assert tool("kernelspec", "install").returncode == 0
    assert (
        read_spec(data / "kernels/oomguard-python3")["env"]["LD_PRELOAD"] == f"{library}:/lib/a.so"
    )


def test_names_can_be_chosen(tool, data, source):
    add_kernelspec(data, "torch", {**SOURCE, "display_name": "Torch"})
    result = tool(
        "kernelspec",
        "install",
        "--from",
        "torch",
        "--name",
        "safe.1",
        "--display-name",
        "Safe Torch",
    )
    assert result.returncode == 0
    assert read_spec(data / "kernels/safe.1")["display_name"] == "Safe Torch"


def test_a_prefix_is_used(tool, source, tmp_path):
    assert tool("kernelspec", "install", "--prefix", "p", cwd=tmp_path).returncode == 0
    folder = tmp_path / "p/share/jupyter/kernels"
    assert os.listdir(folder) == ["oomguard-python3"], "nothing temporary is left"


def test_jupyter_path_comes_first(tool, source, tmp_path):
    add_kernelspec(tmp_path / "first", "python3", {**SOURCE, "display_name": "First"})
    assert (
        tool("kernelspec", "install", env={"JUPYTER_PATH": str(tmp_path / "first")}).returncode == 0
    )
    assert read_spec(source.parent / "oomguard-python3")["display_name"] == "First (oomguard)"


@pytest.mark.parametrize(
    "variable, below", (("JUPYTER_DATA_DIR", ""), ("XDG_DATA_HOME", "jupyter"))
)
def test_the_users_folder_can_be_elsewhere(tool, tmp_path, variable, below):
    add_kernelspec(tmp_path / "data" / below, "python3", SOURCE)
    env = {variable: str(tmp_path / "data")}
    assert tool("kernelspec", "install", "--user", env=env).returncode == 0
    assert (tmp_path / "data" / below / "kernels/oomguard-python3/kernel.json").exists()


def test_sys_prefix_is_that_of_the_named_python(tool, tmp_path, source):
    venv = tmp_path / "venv"
    make_fake_python(venv, has_ipykernel=True)
    result = tool("kernelspec", "install", "--sys-prefix", "--python", venv / "bin/python")
    assert result.returncode == 0, result.stderr
    spec = read_spec(venv / "share/jupyter/kernels/oomguard-python3")
    assert spec["argv"] == [
        str(venv / "bin/python"),
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]


def make_fake_python(prefix, has_ipykernel):
    python = prefix / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' {python} {prefix} {has_ipykernel}\n")
    python.chmod(0o755)
    return python


def test_a_virtual_environment_without_a_kernelspec_gets_its_native_kernel(
    tool, tmp_path, no_jupyter
):
    make_fake_python(tmp_path / "venv", has_ipykernel=True)
    result = tool(
        "kernelspec", "install", env={"VIRTUAL_ENV": str(tmp_path / "venv"), **no_jupyter}
    )
    assert result.returncode == 0, result.stderr
    spec = read_spec(
        pathlib.Path(tool.environment["HOME"]) / ".local/share/jupyter/kernels/oomguard-python3"
    )
    assert spec["argv"][0] == str(tmp_path / "venv/bin/python")
    assert spec["language"] == "python"


def test_a_bare_python_in_a_source_becomes_that_environments(tool, tmp_path):
    venv = tmp_path / "venv"
    make_fake_python(venv, has_ipykernel=True)
    add_kernelspec(
        venv / "share/jupyter",
        "python3",
        {**SOURCE, "argv": ["python", "-m", "ipykernel_launcher"]},
    )
    result = tool("kernelspec", "install", env={"VIRTUAL_ENV": str(venv)})
    assert result.returncode == 0, result.stderr
    spec = read_spec(
        pathlib.Path(tool.environment["HOME"]) / ".local/share/jupyter/kernels/oomguard-python3"
    )
    assert spec["argv"][0] == str(venv / "bin/python")


def test_an_unknown_source_exits_3_and_names_the_known(tool, source):
    result = tool("kernelspec", "install", "--from", "r-lang")
    assert result.returncode == 3
    assert "no kernelspec 'r-lang'; found: " in result.stderr and "python3" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_kernelspec_at_all_exits_3_and_names_the_folders(tool, no_jupyter):
    if any(os.path.exists(f"{p}/share/jupyter/kernels/python3") for p in ("/usr", "/usr/local")):
        pytest.skip("this machine has a python3 kernelspec of its own")
    result = tool("kernelspec", "install", env=no_jupyter)
    assert result.returncode == 3
    assert ".local/share/jupyter/kernels" in result.stderr


def test_an_unwritable_folder_exits_4(tool, source, tmp_path):
    (tmp_path / "file").write_text("")
    result = tool("kernelspec", "install", "--prefix", tmp_path / "file")
    assert result.returncode == 4
    assert "cannot be written" in result.stderr and result.stderr.count("\n") == 1


def test_a_folder_without_permission_exits_4(tool, source, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "p").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert tool("kernelspec", "install", "--prefix", tmp_path / "p").returncode == 4


def test_a_damaged_source_leaves_nothing_behind(tool, data):
    folder = data / "kernels/python3"
    folder.mkdir(parents=True)
    for text in ("{", "[]", '{"argv": "python"}', '{"argv": []}', '{"argv": [1]}'):
        (folder / "kernel.json").write_text(text)
        result = tool("kernelspec", "install")
        assert result.returncode == 1
        assert "not a kernelspec" in result.stderr
    assert os.listdir(data / "kernels") == ["python3"]


def test_ours_is_replaced_only_with_force(tool, source, data):
    assert tool("kernelspec", "install").returncode == 0
    again = tool("kernelspec", "install", "--budget", "1G")
    assert again.returncode == 6
    assert "--force" in again.stderr
    target = data / "kernels/oomguard-python3"
    (target / "stale").write_text("")
    assert tool("kernelspec", "install", "--budget", "1G", "--force").returncode == 0
    assert read_spec(target)["env"]["OOMGUARD_BUDGET"] == "1G"
    assert not (target / "stale").exists()
    assert sorted(os.listdir(data / "kernels")) == ["oomguard-python3", "python3"]


def test_a_guarded_source_is_not_guarded_twice(tool, source, library, data):
    assert tool("kernelspec", "install").returncode == 0
    assert (
        tool("kernelspec", "install", "--from", "oomguard-python3", "--name", "two").returncode == 0
    )
    assert read_spec(data / "kernels/two")["env"]["LD_PRELOAD"] == library


def test_another_kernelspec_is_never_replaced(tool, source):
    for force in ((), ("--force",)):
        result = tool("kernelspec", "install", "--name", "python3", *force)
        assert result.returncode == 6
        assert "not oomguard's" in result.stderr
    assert read_spec(source) == SOURCE


def test_list_shows_ours_only(tool, source, data):
    empty = tool("kernelspec", "list")
    assert (empty.returncode, empty.stdout) == (0, "")
    tool("kernelspec", "install", "--name", "b")
    tool("kernelspec", "install", "--name", "a")
    lines = tool("kernelspec", "list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["a", str(data / "kernels/a")],
        ["b", str(data / "kernels/b")],
    ]
    assert [entry["name"] for entry in json.loads(tool("kernelspec", "list", "--json").stdout)] == [
        "a",
        "b",
    ]


def test_remove_takes_ours_and_nothing_else(tool, source, data):
    tool("kernelspec", "install")
    removed = tool("kernelspec", "remove", "oomguard-python3")
    assert removed.returncode == 0
    assert os.listdir(data / "kernels") == ["python3"]
    other = tool("kernelspec", "remove", "python3")
    assert other.returncode == 6
    assert read_spec(source) == SOURCE
    assert tool("kernelspec", "remove", "oomguard-python3").returncode == 3
    assert tool("kernelspec", "remove", "../kernels/python3").returncode == 3


def test_jupyter_finds_and_substitutes_it(tool, source, data):
    manager = pytest.importorskip("jupyter_client.kernelspec", reason="jupyter_client is missing")
    assert tool("kernelspec", "install").returncode == 0
    spec = manager.KernelSpecManager(kernel_dirs=[str(data / "kernels")]).get_kernel_spec(
        "oomguard-python3"
    )
    assert spec.display_name == "Python 3 (oomguard)"
    assert "liboomguard.so" in spec.env["LD_PRELOAD"]


def test_without_home_the_user_database_says_where(tool, no_jupyter):
    home = pwd.getpwuid(os.getuid()).pw_dir
    del tool.environment["HOME"]
    # A name that nobody has: nothing may be installed into the real home.
    result = tool("kernelspec", "install", "--from", "no-such-kernel", env=no_jupyter)
    assert result.returncode == 3
    assert f" {home}/.local/share/jupyter/kernels" in result.stderr or "found: " in result.stderr
    assert " /.local/share" not in result.stderr
