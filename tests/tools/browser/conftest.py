"""A headless Chromium, driven by selenium; its tests skip where one of both is missing."""

import chromium
import pytest
import report_file


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    reason = chromium.why_unavailable()
    if reason:
        pytest.skip(reason)
    window = chromium.start(tmp_path_factory.mktemp("browser"))
    yield window
    window.quit()


@pytest.fixture(scope="session")
def html_of(build, tmp_path_factory):
    """html_of(STACKS) is the path of the page of a synthetic session with so many call stacks."""
    import subprocess

    made = {}

    def make(stacks):
        if stacks not in made:
            folder = tmp_path_factory.mktemp("report")
            flight = report_file.write(build, folder, stacks=stacks, samples=3000 if stacks else 0)
            page = folder / "report.html"
            result = subprocess.run([build / "bin/oomguard", "report", flight, "--format", "html", "-o", page],
                                    capture_output=True, text=True, timeout=120)
            if "no HTML" in result.stderr:
                pytest.skip("this build has no HTML (Debian: node-d3)")
            assert result.returncode == 0, result.stderr
            made[stacks] = page
        return made[stacks]

    return make


class Page:
    """An open report."""

    def __init__(self, window):
        self.window = window

    def show(self, path, width=1280, scheme="light"):
        self.command("Emulation.setEmulatedMedia",
                     features=[{"name": "prefers-color-scheme", "value": scheme},
                               {"name": "prefers-reduced-motion", "value": "reduce"}])
        self.resize(width, 900)
        self.window.get_log("browser")
        self.window.get(path.as_uri())
        self.wait("document.documentElement.dataset.ready === 'yes'")
        return self

    def resize(self, width, height):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=False)

    def command(self, name, **arguments):
        return self.window.execute_cdp_cmd(name, arguments)

    def run(self, script, *arguments):
        """The value of a JavaScript expression."""
        return self.window.execute_script("return " + script, *arguments)

    def wait(self, expression):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.window, chromium.START_S).until(lambda _: self.run(expression))

    def find(self, selector):
        from selenium.webdriver.common.by import By

        return self.window.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.run("document.querySelector(arguments[0]).textContent", selector)

    def type(self, selector, text):
        field = self.find(selector)[0]
        field.clear()
        field.send_keys(text)

    def press(self, selector, *keys):
        self.find(selector)[0].send_keys(*keys)

    def complaints(self):
        return [entry for entry in self.window.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self):
        """The whole page as a PIL image."""
        import base64
        import io

        from PIL import Image

        self.resize(self.run("innerWidth"), self.run("document.documentElement.scrollHeight"))
        self.wait("innerHeight >= document.documentElement.scrollHeight - 1")
        # The frame after next has been drawn at the new size.
        self.window.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))")
        data = self.command("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


@pytest.fixture
def page(browser):
    return Page(browser)
