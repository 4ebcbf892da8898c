"""Headless Chromium, where this machine has it and its driver."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PATIENCE = 30.0
"""Seconds until what is waited for counts as never coming."""
CONTRAST = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!colour.endsWith(", 0)")) return colour;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
  if (!own || !one.getClientRects().length) continue;
  const [a, b] = [luminance(getComputedStyle(one).color), luminance(behind(one))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push([one.className, one.textContent.slice(0, 40), ratio]);
}
return found;
"""
"""Texts whose contrast with what is behind them is below 4.5."""


@contextmanager
def chromium(*, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Any]:
    """A browser with a window of this size; the test skips where there is none.

    It fails where a script or the page's policy complains in the console; an answer of 4xx does not count.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: the extra [test] has it")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium and chromedriver are not both on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    held = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        resize(held, width, height)
        scheme(held, dark=dark)
        yield held
        assert [entry["message"] for entry in held.get_log("browser") if entry["source"] != "network"] == []
    finally:
        held.quit()


def resize(browser: Any, width: int, height: int) -> None:
    """Give the page a size in pixels, which a window cannot have below 500."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def scheme(browser: Any, *, dark: bool) -> None:
    """What the person prefers."""
    preferred = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})


def until(seen: Callable[[], T], what: str) -> T:
    """The first true thing that `seen` gives."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        found = seen()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {PATIENCE:.0f} s")


def press(browser: Any, *keys: str) -> None:
    """Keys for whatever has the focus."""
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def type_over(browser: Any, text: str) -> None:
    """In place of everything in the field that has the focus."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(text).perform()


def sideways(browser: Any) -> int:
    """By how many pixels the page is wider than the window."""
    return int(
        browser.execute_script("const root = document.documentElement; return root.scrollWidth - root.clientWidth")
    )


def photograph(browser: Any, name: str, folder: Path) -> None:
    """Write NAME.png where COMPUTEWISE_SCREENSHOTS says, or else into `folder`."""
    into = Path(os.environ.get("COMPUTEWISE_SCREENSHOTS") or folder)
    into.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(into / f"{name}.png"))
