"""JupyterLab in a real browser: what a person sees of a refused cell, and of a kernel that was killed.

OOMGUARD_SCREENSHOTS=FOLDER keeps pictures of it, in both themes.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import cgroup
import harness
import pytest

sys.path.insert(0, str(harness.ROOT / "tests/tools/browser"))

import chromium  # noqa: E402

# One server for all, and a busy machine's browser and server take long to start.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

NOTEBOOK = "load_19b.ipynb"
START_S, CELL_S = 240, 240  # nothing is measured
BALLAST = "ballast = b'x' * (2304 << 20)"
GROW = "held = []\nwhile True: held.append(b'x' * (16 << 20))"
HOLD = "import time; held = b'x' * (1700 << 20); print(flush=True); time.sleep(600)"
CELL = "document.querySelectorAll('.jp-Notebook .jp-CodeCell')[arguments[0]]"


def lab_python():
    folder = os.environ.get("OOMGUARD_VENV_LAB")
    return folder + "/bin/python" if folder else None


class Server:
    """JupyterLab on a free port, with one kernelspec: the guarded one, whose kernels join a group."""

    def __init__(self, folder, group, checkpoint):
        self.group = group
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        name, jupyter_path = harness.install_kernel(str(folder / "prefix"))
        self.join_group(pathlib.Path(jupyter_path) / "kernels" / name / "kernel.json")
        self.copy_notebook(name)
        settings = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        settings.parent.mkdir(parents=True)
        settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self.log = folder / "server.log"
        runtime = folder / "runtime"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [lab_python(), "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
                 "--port=0", "--IdentityProvider.token=", "--expose-app-in-browser",
                 f"--ServerApp.root_dir={self.notebooks}",
                 "--KernelSpecManager.ensure_native_kernel=False"],
                env=harness.bare_environment(
                    CHECKPOINT=checkpoint, OOMGUARD_DIR=str(folder / "sessions"), HOME=str(folder),
                    JUPYTER_PATH=jupyter_path, JUPYTER_RUNTIME_DIR=str(runtime),
                    JUPYTER_CONFIG_DIR=str(folder / "config"), IPYTHONDIR=str(folder / "ipython"),
                    JUPYTER_DATA_DIR=str(folder / "data"),
                    JUPYTERLAB_SETTINGS_DIR=str(folder / "settings"),
                    JUPYTERLAB_WORKSPACES_DIR=str(folder / "workspaces")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True)
        self.url = self.wait_for_url(runtime)

    def join_group(self, path):
        spec = json.loads(path.read_text())
        join = f'echo $$ > {self.group.folder}/cgroup.procs; exec "$@"'
        spec["argv"] = ["/bin/sh", "-c", join, "sh", *spec["argv"]]
        path.write_text(json.dumps(spec))

    def copy_notebook(self, kernel):
        content = json.loads((harness.ROOT / "examples/notebook" / NOTEBOOK).read_text())
        content["metadata"]["kernelspec"]["name"] = kernel
        content["cells"].append({**content["cells"][-1], "id": "ballast", "source": BALLAST})
        (self.notebooks / NOTEBOOK).write_text(json.dumps(content))

    def wait_for_url(self, runtime):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            for info in runtime.glob("jpserver-*.json"):
                try:
                    url = json.loads(info.read_text())["url"]
                    urllib.request.urlopen(url + "api", timeout=10).close()
                    return url
                except (OSError, ValueError):
                    pass  # being written, or not listening yet
            time.sleep(0.1)
        text = self.log.read_text()
        self.end()
        raise AssertionError("JupyterLab did not start:\n" + text)

    def kernel_pid(self):
        """The oldest process in the group."""
        return min(self.group.processes(), key=lambda pid: int(
            pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]))

    def end(self):
        """Its kernels are ended with the group."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Lab:
    """The notebook, open in a browser."""

    def __init__(self, server, window):
        self.server, self.window = server, window
        window.set_window_size(1130, 940)
        self.open()

    def open(self):
        self.window.get(self.server.url + "lab/tree/" + NOTEBOOK + "?reset")
        self.wait_for_kernel()
        self.script("jupyterapp.shell.collapseLeft()")

    def wait_for_kernel(self):
        """The notebook is shown, and its kernel is there. A restarted one says first with its first
        cell that it is idle."""
        self.wait("""document.querySelector('.jp-Notebook .jp-CodeCell .cm-content') &&
            (kernel => kernel && kernel.connectionStatus === 'connected' &&
                       ['idle', 'starting'].includes(kernel.status))(
                jupyterapp.shell.currentWidget?.context?.sessionContext.session?.kernel)""")

    def script(self, expression, *arguments):
        return self.window.execute_script("return " + expression, *arguments)

    def wait(self, expression, *arguments, timeout_s=START_S):
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait
        try:
            WebDriverWait(self.window, timeout_s, 0.1).until(
                lambda _: self.script(expression, *arguments))
        except TimeoutException:
            self.picture("late")
            raise AssertionError(f"never: {expression} {arguments}\n" +
                                 self.script("document.body.innerText")) from None

    def run_cell(self, index):
        """As a person does it: a click, then Shift+Enter. The text of the cell's output."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys
        prompt = CELL + ".querySelector('.jp-InputPrompt').textContent"
        self.script(prompt + " = 'not yet'", index)
        editor = self.script(CELL + ".querySelector('.cm-content')", index)
        self.script("arguments[0].scrollIntoView({block: 'center'})", editor)
        editor.click()
        ActionChains(self.window).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(
            Keys.SHIFT).perform()
        self.wait(f"/\\[\\d+\\]/.test({prompt})", index, timeout_s=CELL_S)
        return self.script(CELL + ".querySelector('.jp-Cell-outputArea').innerText.trim()", index)

    def picture(self, name, index=None):
        """The window in both themes, where pictures are asked for; `index`: of the cell whose output
        ends at the lower edge."""
        folder = os.environ.get("OOMGUARD_SCREENSHOTS")
        if not folder:
            return
        os.makedirs(folder, exist_ok=True)
        for theme in ("Dark", "Light"):
            self.window.execute_async_script(
                "const done = arguments[1]; jupyterapp.commands.execute('apputils:change-theme', "
                "{theme: 'JupyterLab ' + arguments[0]}).then(() => setTimeout(done, 1000))", theme)
            if index is not None:
                self.script(CELL + ".scrollIntoView({block: 'end'})", index)
                time.sleep(0.5)
            self.window.save_screenshot(f"{folder}/{name}-{theme.lower()}.png")


@pytest.fixture(scope="module")
def lab(checkpoint, tmp_path_factory):
    reason = chromium.why_unavailable()
    if reason is None and not lab_python():
        reason = "OOMGUARD_VENV_LAB is not set: there is no JupyterLab"
    if reason is not None:
        pytest.skip(reason)
    harness.warm(harness.main_python())
    folder = pathlib.Path(harness.disk_folder())
    try:
        with cgroup.MemoryGroup(harness.MODEL_LIMIT) as group:
            server = Server(folder, group, checkpoint)
            try:
                window = chromium.start(tmp_path_factory.mktemp("browser"))
                try:
                    yield Lab(server, window)
                finally:
                    window.quit()
            finally:
                server.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_refused_load_is_an_exception_and_the_variables_are_kept(lab):
    lab.run_cell(0)
    text = lab.run_cell(1)
    lab.picture("refused", 1)
    assert "RuntimeError" in text or "MemoryError" in text, text
    assert "oomguard stopped this cell" in text and "At:    cell [2] line 5" in text, text
    assert lab.run_cell(2) == "{'accuracy': [0.71, 0.78, 0.83], 'note': 'an hour of work'}"
    lab.picture("kept", 2)
    assert lab.server.group.oom_kills() == 0


def dismiss_dialog(lab):
    """The server says that the kernel died, and starts another one."""
    lab.wait("document.querySelector('.jp-Dialog')")
    assert "appears to have died" in lab.script("document.querySelector('.jp-Dialog').innerText")
    lab.picture("died")
    lab.script("document.querySelector('.jp-Dialog .jp-mod-accept').click()")
    # The page's connection may have been renewed before the new kernel was there, and then executes
    # nothing (one of three restarts of a kernel without oomguard): the page is loaded again.
    lab.window.execute_async_script(
        "jupyterapp.commands.execute('docmanager:save').finally(arguments[0])")
    lab.open()


def test_a_killed_kernels_successor_says_so_with_its_first_cell(lab):
    killed = lab.server.kernel_pid()
    lab.run_cell(0)
    os.kill(killed, signal.SIGKILL)
    dismiss_dialog(lab)
    assert lab.server.kernel_pid() != killed
    text = lab.run_cell(2)
    lab.picture("killed", 2)
    assert f"The previous kernel of {NOTEBOOK} died at " in text, text
    assert "It crashed, or somebody killed it" in text, text
    assert "NameError: name 'results' is not defined" in text, text
    assert "The previous kernel" not in lab.run_cell(0)


def test_the_successor_of_a_kernel_that_was_killed_for_its_neighbours_says_why(lab):
    """Each of the two others, which are not guarded, is the smaller one."""
    lab.run_cell(4)
    python, group = harness.main_python(), lab.server.group
    with group.start([python, "-c", HOLD], stdout=subprocess.PIPE) as idle:
        idle.stdout.readline()
        with group.start([python, "-c", GROW], stderr=subprocess.DEVNULL) as growing:
            dismiss_dialog(lab)
            growing.kill()
        idle.kill()
    text = lab.run_cell(2)
    lab.picture("out-of-memory", 2)
    assert f"The previous kernel of {NOTEBOOK} was killed at " in text, text
    assert "ut of memory: container limit 6.0 GiB" in text, text
    assert "Not prevented because most of it was not this program's own" in text, text
