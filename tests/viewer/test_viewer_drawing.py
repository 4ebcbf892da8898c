"""The viewer in a browser, on trees of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CONTRAST, chromium, press, resize, scheme, sideways

from computewise.viewer.tree import read_asset

HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
DOWN, UP, LEFT, RIGHT, HOME, END, ENTER, TAB = (
    *("\ue015", "\ue013", "\ue012", "\ue014"),
    *("\ue011", "\ue010", "\ue007", "\ue004"),
)


def node(id: str, text: str, state: str, **others: Any) -> dict[str, Any]:
    parent = id.rpartition(".")[0] or None
    held = {
        "id": id,
        "parent": parent,
        "arm": None,
        "count": 1,
        "steps": [{"text": text, "score": 0.5, "tokens": 4}],
        "value": 0.5,
        "end": None,
        "answer": None,
        "tokens": 4,
        "revises": False,
        "diff": None,
        "state": state,
    }
    return held | others


def ended(id: str, answer: str, state: str, **others: Any) -> dict[str, Any]:
    return node(id, answer, state, **({"end": "stop", "answer": answer} | others))


def detail(*nodes: dict[str, Any], **others: Any) -> dict[str, Any]:
    held: dict[str, Any] = {
        "id": "a",
        "status": "done",
        "question": "3*9",
        "solution": None,
        "stopped": None,
        "decisions": [],
    }
    return held | {"nodes": list(nodes)} | others


SEARCH = detail(
    node("0", "3*9+1", "chosen", count=3),
    node("1", HOSTILE, "pruned"),
    node("2", "3*8+1", "pruned", count=4),
    ended("0.0", "28", "chosen", value=0.9),
    ended("0.1", "29", "kept", value=0.4),
    node("0.2", "27", "pruned", end="length"),
    node("2.0", "25", "pruned"),
)


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """A page with the viewer and nothing in it."""
    scripts = "".join(f"<script>{read_asset(name)}</script>" for name in ("d3-hierarchy.min.js", "viewer.js"))
    path = tmp_path / "blank.html"
    style = f"<style>body {{ margin: 0; background: var(--paper); }} {read_asset('viewer.css')}</style>"
    path.write_text(f'<!DOCTYPE html><title>still</title>{style}<div id="at"></div>{scripts}', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as held:
        yield held


@pytest.fixture
def page(browser: Any, blank: Path) -> Any:
    resize(browser, 1280, 900)
    browser.get(blank.as_uri())
    return browser


def draw(page: Any, held: dict[str, Any], **options: Any) -> None:
    page.execute_script(
        "computewiseViewer.draw(document.getElementById('at'), JSON.parse(arguments[0]), arguments[1])",
        json.dumps(held),
        options,
    )


def cards(page: Any) -> list[str]:
    """The ids of what is drawn, in the order of the keyboard."""
    found: list[str] = page.execute_script(
        "return [...document.querySelectorAll('[role=treeitem]')].map((one) => one.dataset.id)"
    )
    return found


def card(page: Any, id: str) -> Any:
    return page.find_element("css selector", f'[role=treeitem][data-id="{id}"]')


def focused(page: Any) -> str | None:
    held: str | None = page.execute_script("return document.activeElement.dataset.id ?? null")
    return held


def panel(page: Any) -> str:
    return str(page.find_element("css selector", ".cwv-panel").text)


def test_discarded_branches_are_behind_one_that_says_how_many(page: Any) -> None:
    draw(page, SEARCH)
    assert cards(page) == ["/", "0", "0.0", "0.1", "0/pruned", "//pruned"]
    assert card(page, "//pruned").text.splitlines()[0] == "6 discarded"
    card(page, "//pruned").click()
    assert cards(page)[-3:] == ["//pruned", "1", "2"]
    assert card(page, "2").get_attribute("aria-expanded") == "false"
    card(page, "2").click()
    assert cards(page)[-1] == "2.0"
    card(page, "2").find_element("css selector", ".cwv-caret").click()
    assert cards(page)[-1] == "2"


def test_what_leads_to_the_answer_is_told_in_words_and_lines_not_by_colour_alone(page: Any) -> None:
    draw(page, SEARCH)
    assert "on the path to the answer" in card(page, "0").get_attribute("aria-label")
    assert card(page, "0.0").get_attribute("aria-label") == "28, score 0.90, answers 28, this is the answer"
    assert "★ answer 28" in card(page, "0.0").text
    assert "×3" in card(page, "0").text
    widths = page.execute_script(
        "return [...document.querySelectorAll('.cwv-link')].map((one) => [one.getAttribute('class').split('-').at(-1),"
        " parseFloat(getComputedStyle(one).strokeWidth)])"
    )
    assert dict(widths) == {"chosen": 3, "kept": 1.25, "pruned": 1.25}
    assert panel(page).startswith("The answer")


def test_right_and_wrong_are_told_where_they_are_known(page: Any) -> None:
    draw(page, SEARCH, right=["29"])
    assert "✗ wrong" in card(page, "0.0").text
    assert "✓ right" in card(page, "0.1").text


def test_the_keyboard_alone_opens_closes_and_selects(page: Any) -> None:
    draw(page, SEARCH)
    press(page, TAB)
    assert focused(page) == "0.0", "the answer is selected at first"
    press(page, HOME)
    assert focused(page) == "/"
    press(page, LEFT)
    assert cards(page) == ["/"]
    assert card(page, "/").get_attribute("aria-expanded") == "false"
    press(page, ENTER, RIGHT, DOWN)
    assert focused(page) == "0.0"
    press(page, END)
    assert focused(page) == "//pruned"
    press(page, " ", RIGHT)
    assert focused(page) == "1"
    assert HOSTILE in panel(page)
    press(page, DOWN, UP, LEFT)
    assert focused(page) == "//pruned"
    assert card(page, "//pruned").get_attribute("aria-selected") == "true"
    stops = page.execute_script("return document.querySelectorAll('[role=treeitem][tabindex=\"0\"]').length")
    assert stops == 1


def test_the_tree_tells_its_shape_to_a_screen_reader(page: Any) -> None:
    draw(page, SEARCH)
    told = {
        id: [card(page, id).get_attribute(f"aria-{name}") for name in ("level", "posinset", "setsize", "expanded")]
        for id in cards(page)
    }
    assert told == {
        "/": ["1", "1", "1", "true"],
        "0": ["2", "1", "2", "true"],
        "0.0": ["3", "1", "3", None],
        "0.1": ["3", "2", "3", None],
        "0/pruned": ["3", "3", "3", "false"],
        "//pruned": ["2", "2", "2", "false"],
    }
    assert page.find_element("css selector", "[role=tree]").get_attribute("aria-label") == "Search tree of 3*9"


def test_a_newer_version_keeps_what_is_open_and_where_the_focus_is(page: Any) -> None:
    growing = [node("0", "a", "open"), node("1", "b", "open"), node("2", "c", "pruned"), node("0.0", "d", "open")]
    draw(page, detail(*growing, status="running"))
    press(page, TAB, END, " ", RIGHT)
    assert focused(page) == "2"
    card(page, "0").find_element("css selector", ".cwv-caret").click()
    page.execute_script("document.querySelector('[data-id=\"1\"]').focus(); window.before = document.activeElement")
    draw(page, detail(*growing, node("0.1", "e", "open"), node("1.0", "f", "open"), status="running"))
    assert cards(page) == ["/", "0", "1", "1.0", "//pruned", "2"], "0 stays closed, what was discarded open"
    assert page.execute_script("return document.activeElement === window.before")


def test_the_focus_moves_up_where_its_node_is_gone(page: Any) -> None:
    draw(page, detail(node("0", "a", "open"), node("0.0", "b", "open"), node("0.1", "c", "open"), status="running"))
    press(page, TAB, END)
    assert focused(page) == "0.1"
    draw(page, detail(node("0", "a", "chosen"), ended("0.0", "b", "chosen"), node("0.1", "c", "pruned")))
    assert focused(page) == "0/pruned"


def test_another_request_starts_anew(page: Any) -> None:
    draw(page, SEARCH)
    card(page, "//pruned").click()
    draw(page, SEARCH | {"id": "b"})
    assert cards(page) == ["/", "0", "0.0", "0.1", "0/pruned", "//pruned"]
    assert panel(page).startswith("The answer")


def test_what_models_write_is_text(page: Any) -> None:
    hostile = ended("0", HOSTILE, "chosen", steps=[{"text": HOSTILE, "score": 0.1, "tokens": 1}] * 2)
    revised = ended("0.0", HOSTILE, "chosen", revises=True, diff=[["-", HOSTILE], ["+", HOSTILE]])
    draw_of = {"kind": "more", "arm": HOSTILE, "worth": 1.0, "confidence": 0.1, "leader": HOSTILE, "why": HOSTILE}
    decision = draw_of | {"drawn": [{"answer": HOSTILE, "value": 0.1}], "nodes": ["0"]}
    draw(page, detail(hostile, revised, decisions=[decision], stopped=HOSTILE, solution=HOSTILE, question=HOSTILE))
    card(page, "/").click()
    assert panel(page).count(HOSTILE) == 2, "prompt and solution"
    assert page.find_elements("css selector", "#at img, #at script") == []
    assert page.title == "still"


def test_many_samples_vote_by_answer_and_the_rest_is_behind_one_branch(page: Any) -> None:
    same = [ended(str(i), "7", "chosen" if i == 3 else "kept", value=0.1) for i in range(20)]
    others = [ended(str(100 + i), f"-{i}", "kept", value=0.9) for i in range(30)]
    draw(page, detail(*same, *others))
    shown = cards(page)
    assert shown[1] == "//answer/7", "the chosen answer first"
    assert card(page, "//answer/7").text.splitlines()[0] == "→ 7 20 samples, worth 2.00"
    assert [id for id in shown if id.isdigit() and int(id) >= 100] == [str(100 + i) for i in range(11)]
    assert card(page, shown[-1]).text.splitlines()[0] == "19 more"
    card(page, shown[-1]).click()
    assert len([id for id in cards(page) if id.isdigit() and int(id) >= 100]) == 30


def test_revisions_are_a_chain_from_left_to_right_with_what_each_changes(page: Any) -> None:
    chain = [ended("0", "13", "chosen")]
    for id, before, after in (("0.0", "13", "14"), ("0.0.0", "14", "12")):
        chain.append(ended(id, after, "chosen", revises=True, diff=[["=", "3*4 "], ["-", before], ["+", after]]))
    draw(page, detail(*chain))
    places = [card(page, id).rect for id in ("0", "0.0", "0.0.0")]
    assert places[0]["x"] < places[1]["x"] < places[2]["x"]
    middles = [place["y"] + place["height"] / 2 for place in places]
    assert max(middles) - min(middles) <= 1, "straight"
    last = card(page, "0.0.0")
    assert last.find_element("css selector", "del").text == "14"
    assert last.find_element("css selector", "ins").text == "12"
    assert "Against the attempt before\n3*4 1412" in panel(page)


def test_nodes_do_not_lie_on_one_another(page: Any) -> None:
    nodes = [node("0", "x" * 200, "kept"), node("1", "y", "kept"), node("2", "z" * 30, "kept")]
    nodes += [ended(f"{i}.{j}", f"{i}{j}" * 20, "kept", count=j + 1) for i in range(3) for j in range(4)]
    nodes += [node(f"1.{j}", "gone", "pruned") for j in range(4, 7)]
    draw(page, detail(*nodes))
    rects = [(id, card(page, id).rect) for id in cards(page)]
    for place, (id, a) in enumerate(rects):
        for other, b in rects[place + 1 :]:
            apart = (
                a["x"] + a["width"] <= b["x"]
                or b["x"] + b["width"] <= a["x"]
                or a["y"] + a["height"] <= b["y"]
                or b["y"] + b["height"] <= a["y"]
            )
            assert apart, (id, other)


def decided(kind: str, arm: str | None, *ids: str, why: str = "worth it") -> dict[str, Any]:
    drawn = [{"answer": "28", "value": 0.5} for _ in ids]
    held = {"worth": None, "confidence": 0.25, "leader": "28", "why": why, "drawn": drawn, "nodes": list(ids)}
    return {"kind": kind, "arm": arm} | held


def test_decisions_are_listed_long_rows_are_folded_and_the_end_is_set_off(page: Any) -> None:
    nodes = [ended(f"0:{i}:0", str(i), "kept", arm="samples") for i in range(8)]
    nodes += [ended("1:1:0", "28", "chosen", arm="large"), ended("1:2:0", "29", "pruned", arm="large")]
    draws = [decided("more", "samples", f"0:{i}:0") for i in range(8)]
    decisions = [*draws, decided("escalate", "large", "1:2:0"), decided("stop", None, why="nothing is worth its price")]
    draw(page, detail(*nodes, decisions=decisions, stopped="Stopped as nothing was worth its price."))
    assert [id for id in cards(page) if id.count("/") == 2] == ["/arm/samples", "/arm/large"]
    listed = page.find_element("css selector", ".cwv-decisions")
    assert listed.find_element("tag name", "h3").text == "Decisions (9)"
    assert listed.find_element("tag name", "summary").text == "6 more draws: samples"
    stop = listed.find_element("css selector", ".cwv-stop").text
    assert stop.startswith("Stopped\nStopped as nothing was worth its price.")
    assert "right with 0.25" in stop
    listed.find_elements("css selector", "button")[-1].click()
    assert focused(page) == "1:2:0", "what it drew is shown, out of where it was folded"
    assert panel(page).startswith("Discarded")


def test_lost_and_cut_off_samples_say_so(page: Any) -> None:
    lost = node("0", "", "pruned", end="failed", steps=[], value=None)
    draw(page, detail(lost, node("1", "27", "pruned", end="length")))
    card(page, "//pruned").click()
    assert "failed" in card(page, "0").text
    assert "cut off" in card(page, "1").text
    card(page, "0").click()
    assert "lost by its server" in panel(page)


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_gets_an_outline_and_no_page_that_moves_sideways(page: Any, dark: bool) -> None:
    resize(page, 360, 800)
    scheme(page, dark=dark)
    draw(page, detail(*SEARCH["nodes"], node("0.3", "a long step " * 40, "kept"), node("0.4", "x" * 300, "kept")))
    assert sideways(page) == 0
    lefts = [card(page, id).rect["x"] for id in ("/", "0", "0.0")]
    assert lefts == sorted(set(lefts))
    edges = [card(page, id).rect for id in cards(page)]
    assert all(edge["x"] + edge["width"] <= 360 for edge in edges)
    tops = [edge["y"] for edge in edges]
    assert tops == sorted(set(tops))


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_the_contrast_that_wcag_asks_for(page: Any, dark: bool) -> None:
    scheme(page, dark=dark)
    revised = ended("0.0.0", "30", "kept", revises=True, diff=[["-", "28"], ["+", "30"]])
    decisions = [decided(kind, "large", "0.0") for kind in ("more", "switch", "escalate")] + [decided("stop", None)]
    draw(page, detail(*SEARCH["nodes"], revised, decisions=decisions, stopped="Enough."), right=["28"])
    card(page, "//pruned").click()
    card(page, "0.0.0").click()
    assert page.execute_script(CONTRAST) == []
