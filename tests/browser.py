"""A headless Chromium that says what a page wrote to its console, asked for and looks like.

Selenium drives Debian's `chromium` and `chromium-driver`. A test that has none is skipped with a word.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser with a profile of its own, closed at the end; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(prefix="alexnet_browser_", ignore_cleanup_errors=True) as profile:
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        service = webdriver.ChromeService(executable_path=driver)
        started = webdriver.Chrome(options=options, service=service)
        try:
            started.get("about:blank")
            started.get_log("performance")  # what the browser's own first page asked for
            yield Browser(started)
        finally:
            started.quit()


class Browser:
    """A page in a browser.

    Attributes:
      driver: selenium's, for whatever else a test needs.
    """

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, page: Path, width: int = 1440, height: int = 900, address: str = "") -> None:
        """Open a file in a window `width` pixels wide, narrower than a desktop allows too.

        `address` follows the file's own, from its '#' on.
        """
        self.resize(width, height)
        self.driver.get(page.absolute().as_uri() + address)

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def console(self) -> list[str]:
        """Return what was written to the console since the last call: errors, warnings and messages."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses asked for since the last call, but those inside the page (data:, blob:)."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        addresses = [each["request"]["url"] for each in sent]
        return [address for address in addresses if not address.startswith(("data:", "blob:"))]

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return its answer."""
        return self.driver.execute_script(script, *arguments)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Write a PNG of the window, or of the whole page."""
        if whole:
            width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
            self.resize(width, height)
        self.driver.save_screenshot(str(path))
