"""Starts a headless Chromium with selenium."""

import os
import shutil

# A machine that is busy takes long to start a browser; nothing is measured.
START_S = 120


def why_unavailable():
    """None where one can be started, else the reason in words."""
    try:
        import selenium.webdriver  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return "no chromium and chromedriver (Debian: chromium, chromium-driver)"
    return None


def start(profile):
    """selenium's driver; `profile`: an empty folder. The caller ends it with `quit`."""
    import selenium.webdriver
    from selenium.webdriver.chrome.service import Service

    options = selenium.webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--force-device-scale-factor=1", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium does not start as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = selenium.webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    window.set_page_load_timeout(START_S)
    return window
