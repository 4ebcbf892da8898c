"""The page of `computewise serve`, in a browser, on the embedded models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import CONTRAST, chromium, photograph, press, resize, scheme, sideways, type_over, until

TAB, ENTER, HOME, END, LEFT = "\ue004", "\ue007", "\ue011", "\ue010", "\ue012"
HARD = "((18*7-39)*(46+25)-36*13)*7"
HOSTILE = "<img src=x onerror=\"document.title='run'\">"


@contextmanager
def server(*flags: str, keys: str = "") -> Iterator[str]:
    """The address of a server that ends with the test, by its own will once it is told."""
    command = [sys.executable, "-m", "computewise", "serve", "--port", "0", *flags]
    environment = {**os.environ, "COMPUTEWISE_SERVE_KEYS": keys}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        try:
            assert running.stderr is not None
            line = running.stderr.readline()
            found = re.search(r"watched at (http://\S+)", line)
            assert found, line
            yield found[1]
        finally:
            running.terminate()
            running.wait(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as held:
        yield held


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server() as held:
        yield held


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    resize(browser, 1280, 900)
    scheme(browser, dark=False)
    browser.get("about:blank")
    browser.get(address)
    until(lambda: text(browser, "server"), "what is served")
    return browser


def text(page: Any, id: str) -> str:
    return str(page.find_element("id", id).text)


def ask(page: Any, prompt: str, how: str, budget: int | None = None) -> None:
    """By setting the form's fields and pressing its button."""
    page.execute_script(
        "const [prompt, how, budget] = arguments;"
        "document.getElementById('prompt').value = prompt;"
        "const select = document.getElementById('how'); select.value = how;"
        "select.dispatchEvent(new Event('change'));"
        "if (budget !== null) document.getElementById('budget').value = budget;",
        *(prompt, how, budget),
    )
    page.find_element("id", "go").click()


def facts(page: Any) -> dict[str, str]:
    """What is said of the selected request, by name."""
    held: dict[str, str] = page.execute_script(
        "const shown = document.querySelectorAll('#request:not([hidden]) #facts > div');"
        "return Object.fromEntries([...shown].map((one) => [one.firstChild.textContent, one.lastChild.textContent]))"
    )
    return held


def ended(page: Any) -> dict[str, str]:
    """What is said of the selected request once it has ended."""
    until(lambda: facts(page).get("Status") not in (None, "queued", "running"), "the end of a request")
    return facts(page)


def items(page: Any) -> list[Any]:
    found: list[Any] = page.find_elements("css selector", "[role=treeitem]")
    return found


def focused(page: Any, attribute: str) -> str | None:
    held: str | None = page.execute_script("return document.activeElement.getAttribute(arguments[0])", attribute)
    return held


def test_the_empty_page_says_how_to_ask(browser: Any) -> None:
    with server() as address:
        browser.get(address)
        shown = until(lambda: text(browser, "curl"), "an example")
        assert shown.startswith(f"curl {address}v1/chat/completions")
        assert browser.find_element("id", "prompt").get_attribute("value")
        assert not browser.find_element("id", "request").is_displayed()
        assert sideways(browser) == 0
        command = [
            *shown.replace("\\\n", " ").split(" -H")[0].split(),
            "-s",
            "-f",
            "-H",
            "content-type: application/json",
        ]
        body = re.search(r"-d '(.*)'", shown, flags=re.DOTALL)
        assert body
        subprocess.run([*command, "-d", body[1]], check=True, capture_output=True)
        until(lambda: len(browser.find_elements("css selector", "#requests li")) == 1, "the request of the example")


def test_somebody_asks_and_looks_with_the_keyboard_alone(page: Any, address: str, tmp_path: Path) -> None:
    press(page, TAB, TAB)
    assert focused(page, "id") == "prompt"
    type_over(page, HARD)
    press(page, TAB, "beam", TAB)
    type_over(page, "16")
    press(page, TAB, ENTER)
    told = ended(page)
    assert told["Status"] == "done"
    assert told["Strategy"] == "beam_search(n=16, width=4)"
    assert "best_of_n" in told["Compared"]
    assert text(page, "question") == HARD
    (row,) = page.find_elements("css selector", "#requests a[aria-current]")
    assert page.current_url == row.get_attribute("href")
    for _ in range(20):
        press(page, TAB)
        if focused(page, "role") == "treeitem":
            break
    assert "this is the answer" in str(focused(page, "aria-label"))
    assert text(page, "answer") == page.find_element("css selector", ".cwv-facts dd").text
    press(page, HOME, LEFT)
    assert focused(page, "aria-expanded") == "false"
    press(page, ENTER, END)
    assert "discarded" in str(focused(page, "aria-label"))
    before = len(items(page))
    press(page, " ")
    assert focused(page, "aria-expanded") == "true"
    assert len(items(page)) > before
    for name, size, dark in (
        ("light", 1280, False),
        ("dark", 1280, True),
        ("phone", 360, False),
        ("phone-dark", 360, True),
    ):
        resize(page, size, 900)
        scheme(page, dark=dark)
        assert sideways(page) == 0, name
        assert page.execute_script(CONTRAST) == [], name
        page.execute_script("document.getElementById('tree-title').scrollIntoView()")
        photograph(page, f"page-{name}", tmp_path)
    page.refresh()
    assert ended(page)["Strategy"] == told["Strategy"], "the address names it"


def test_a_tree_grows_while_it_is_searched(page: Any) -> None:
    ask(page, HARD, "adaptive_branching", 64)

    def growing() -> bool:
        # In one script: between two questions the search may have ended.
        answer, drawn = page.execute_script(
            "const items = document.querySelectorAll('[role=treeitem]');"
            "return [document.getElementById('answer').textContent, items.length]"
        )
        return bool(answer == "searching…" and drawn > 2)

    until(growing, "a tree of what is still searched")
    page.find_element("css selector", "[role=treeitem]").click()
    assert page.find_element("css selector", "[role=treeitem]").get_attribute("aria-expanded") == "false"
    told = ended(page)
    assert told["Generations"] == "64"
    assert page.find_element("css selector", "[role=treeitem]").get_attribute("aria-expanded") == "false", (
        "as it was left"
    )
    page.find_element("css selector", "[role=treeitem]").click()
    assert len(page.find_elements("css selector", "[role=treeitem] ins")) > 0, "revisions show what they change"


def test_a_policys_decisions_and_its_end_are_shown(page: Any, tmp_path: Path) -> None:
    ask(page, HARD, "policy/medium")
    told = ended(page)
    assert told["Strategy"] == "policy, medium effort"
    drawn = page.find_elements("css selector", ".cwv-draw")
    assert (
        drawn[0].text.startswith("more samples")
        or drawn[0].text.startswith("more\nsamples")
        or "samples" in drawn[0].text
    )
    stop = page.find_element("css selector", ".cwv-stop").text
    assert stop.startswith("Stopped")
    drawn[0].click()
    assert focused(page, "role") == "treeitem"
    photograph(page, "page-policy", tmp_path)
    assert re.search(r"\d+ requests? · \S+ .FLOP spent · saved −?[0-9.]+ % against best-of-N", text(page, "totals"))


def test_many_samples_fit_into_their_box(page: Any, tmp_path: Path) -> None:
    ask(page, HARD, "best_of_n", 64)
    ended(page)
    assert 2 < len(items(page)) <= 20
    assert sideways(page) == 0
    photograph(page, "page-samples", tmp_path)


def test_one_answer_asks_for_no_number(page: Any) -> None:
    ask(page, "3*9", "greedy")
    assert not page.find_element("id", "budget").is_displayed()
    assert ended(page)["Status"] == "done"
    assert text(page, "answer") == "27"


def test_what_goes_wrong_is_said_and_what_was_written_is_text(page: Any) -> None:
    ask(page, HOSTILE, "beam_search", 4)
    refused = until(lambda: text(page, "refused"), "why it was refused")
    assert "malformed" in refused
    assert ended(page)["Status"] == "failed"
    assert text(page, "question") == HOSTILE
    assert page.find_elements("tag name", "img") == []
    assert page.title == "computewise"


def test_a_request_that_is_not_kept_is_said_to_be_gone(page: Any, address: str) -> None:
    page.get(f"{address}#never-asked")
    until(lambda: "no longer kept" in text(page, "pick"), "that it is gone")


def test_a_locked_server_asks_for_a_key_that_only_this_tab_keeps(browser: Any) -> None:
    with server(keys="sesame") as address:
        browser.get(address)
        field = browser.find_element("id", "key")
        until(field.is_displayed, "the field for a key")
        assert not browser.find_element("id", "go").is_enabled()
        field.send_keys("wrong", ENTER)
        until(lambda: "refused this key" in text(browser, "key-form"), "that it is wrong")
        field.send_keys("sesame", ENTER)
        until(lambda: text(browser, "server"), "what is served")
        assert not field.is_displayed()
        ask(browser, "3*9", "beam_search", 4)
        ended(browser)
        assert text(browser, "answer") == "27"
        kept = browser.execute_script(
            "return [Object.values({...sessionStorage}), Object.values({...localStorage}), document.cookie]"
        )
        assert kept == [["sesame"], [], ""]


def test_a_full_server_is_said_to_be_full_and_one_that_is_gone_to_be_gone(browser: Any) -> None:
    with server("--in-flight", "1", "--queue", "0") as address:
        browser.get(address)
        until(lambda: text(browser, "server"), "what is served")
        ask(browser, HARD, "adaptive_branching", 64)
        until(lambda: facts(browser).get("Status") == "running", "the first request")
        ask(browser, "3*9", "beam_search", 4)
        said = until(lambda: text(browser, "refused"), "that it is full")
        assert said.startswith("Too many requests at once: ")
    until(lambda: text(browser, "trouble") == "The server does not answer.", "that it is gone")
