"""A browser without a window and without a network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["browser", "requested_addresses"]

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # which the root user of a container cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,1100",
)


@contextmanager
def browser() -> Iterator[Chrome]:
    """Chromium; skips the test where it, or its driver, is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra `test`")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    os.environ["SE_AVOID_STATS"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(service=webdriver.ChromeService(driver), options=options)
    try:
        yield running
    finally:
        running.quit()


def requested_addresses(running: Chrome) -> list[str]:
    """What the browser asked for since the last call."""
    messages: list[Any] = [json.loads(entry["message"])["message"] for entry in running.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
