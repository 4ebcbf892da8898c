"""The trees of a report in a browser, with scripts and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import chromium, resize, sideways


def test_a_reports_trees_are_drawn_and_opened(reported: Path) -> None:
    with chromium() as browser:
        browser.get((reported / "report.html").as_uri())
        examples = browser.find_elements("css selector", ".example")
        assert len(examples) >= 3
        for place, example in enumerate(examples):
            summary = example.find_element("tag name", "summary")
            if place:
                summary.click()
            items = example.find_elements("css selector", "[role=treeitem]")
            assert len({(item.rect["x"], item.rect["y"]) for item in items}) == len(items) > 2
            assert example.find_elements("css selector", ".cwv-is-answer")
            fold = example.find_element("css selector", ".cwv-pruned")
            fold.click()
            assert fold.get_attribute("aria-expanded") == "true"
        resize(browser, 360, 800)
        assert sideways(browser) == 0


@pytest.mark.parametrize("width", [1280, 360])
def test_without_scripts_a_report_still_shows_what_led_to_the_answers(reported: Path, width: int) -> None:
    with chromium(width=width) as browser:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get((reported / "report.html").as_uri())
        outline = browser.find_element("css selector", ".example .outline")
        assert "the answer" in outline.text
        assert "<i>9</i>" in browser.find_element("css selector", "body").text
