"""What the report says and shows of the controller, and of the exchange over R: true for whatever came out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from computewise.core import LARGE, MODEL, Role
from computewise.report import controller
from computewise.report.controller import accuracy, beside_large, controller_sentence, deciding, differences, needed
from computewise.report.exchange import break_even_table, meaning, over
from computewise.report.plotting import SHOWN, decimal_ticks
from computewise.report.study_page import headline
from computewise.report.text import PLAIN, estimate
from computewise.setups.embedded import PRICES, SPEEDS
from computewise.study.analysis.controller import SHIPPED_SCOPE
from computewise.study.run import StudyResult

COLUMNS = ("flops", "bytes", "dollars", "seconds")
SCOPES = ("how much", "which and how much", "with escalation")


def _panels(page: str) -> list[str]:
    """What the switch shows, one text for each currency."""
    section = page.partition('<section id="controller">')[2].partition("</section>")[0]
    return section.partition("</fieldset>")[0].split('<div role="group"')[1:]


def _set(found: dict[str, Any], difference: float, bounds: tuple[float, float]) -> None:
    found |= {"difference": difference, "difference_ci95": list(bounds)}


def test_currencies_are_switched_without_a_script(page: str) -> None:
    radios = re.findall(r'<input type="radio" name="currency" id="([^"]+)"( checked)?><label for="([^"]+)">', page)
    assert [(id, target) for id, _, target in radios] == [(f"count-{column}", f"count-{column}") for column in COLUMNS]
    assert [bool(checked) for _, checked, _ in radios] == [True, False, False, False]
    assert len(_panels(page)) == len(COLUMNS)
    style = page.partition("<style>")[2].partition("</style>")[0]
    for place in range(1, len(COLUMNS) + 1):
        assert f"input:nth-of-type({place}):checked ~ div:nth-of-type({place})" in style
    assert "input:focus-visible + label" in style
    assert "> div { display: block; }" in style.partition("@media print")[2]
    assert "<fieldset" in page
    assert "<legend>Count cost in</legend>" in page


def test_every_currency_has_its_sentence_its_numbers_and_what_was_assumed(page: str, summary: dict[str, Any]) -> None:
    for panel, column in zip(_panels(page), COLUMNS, strict=True):
        held = summary["controller"][column]
        assert controller_sentence(held) in panel
        assert controller_sentence(held).startswith(f"Counted in {held['name']}, ")
        assert SHOWN[column].assumed(summary) in panel
        assert f'href="figures/controller_{column}.svg"' in panel
        assert f'href="figures/controller_{column}_difference.svg"' in panel
        assert beside_large(held, column, PLAIN) in panel.replace("&#36;", "$")
        for at in held["budgets"]:
            for point in (at["uniform"], *at["controllers"].values(), *at["tables"].values()):
                assert estimate(point["accuracy"], point["ci95"]).replace(" %", "") in panel


def test_nominal_numbers_are_those_that_were_counted_with(summary: dict[str, Any]) -> None:
    names: dict[Role, str] = {MODEL: "small", LARGE: "large"}
    for role, name in names.items():
        assert f"{PRICES[role].output:g} for what it writes" in SHOWN["dollars"].assumed(summary)
        assert f"the {name} model writes {1 / SPEEDS[role].decoded:.0f} " in SHOWN["seconds"].assumed(summary)
    assert "one after another" in SHOWN["seconds"].assumed(summary)
    assert SHOWN["bytes"].assumed(summary).startswith("Nominal: 4 bytes a number, 16 rows")
    summary["assumed"]["nominal"] = False
    assert SHOWN["bytes"].assumed(summary).startswith("4 bytes a number, 16 rows")
    assert SHOWN["dollars"].assumed(summary).startswith("In dollars a million tokens: the small model 0.05")
    assert "Nobody hosts" not in SHOWN["dollars"].assumed(summary)


def test_costs_as_read() -> None:
    assert SHOWN["flops"].cost(3.81e9) == "3.81 GFLOPs"
    assert SHOWN["bytes"].cost(5.37e7) == "53.7 MB"
    assert SHOWN["dollars"].cost(2.841e-5) == "$28.4 per million problems"
    assert SHOWN["seconds"].cost(0.2989) == "0.299 s"


def test_page_begins_with_what_deciding_bought_in_flops(page: str, summary: dict[str, Any]) -> None:
    first = headline(summary)[0]
    assert first.startswith(controller_sentence(summary["controller"]["flops"]))
    assert first in page
    assert list(deciding({"controller": {}})) == []


def test_sentence_has_true_minus_signs() -> None:
    assert (
        controller_sentence({"sentence": "best-of-N: -1.0 points [-2.0, 3.0]"}) == "best-of-N: −1.0 points [−2.0, 3.0]"
    )


@pytest.mark.parametrize(
    ("bounds", "says"),
    [((0.01, 0.2), "better."), ((-0.2, -0.01), "worse."), ((-0.1, 0.1), "not distinguishable.")],
)
def test_beside_the_large_model_follows_the_interval(
    summary: dict[str, Any], bounds: tuple[float, float], says: str
) -> None:
    held = summary["controller"]["flops"]
    _set(held["beside_large"], 0.05, bounds)
    assert re.search(rf"points \[[^]]+\], {says}$", beside_large(held, "flops", PLAIN))


def test_needed_says_where_nothing_suffices(summary: dict[str, Any]) -> None:
    held = summary["controller"]["flops"]
    held["needed"] = {
        "how much": None,
        "with escalation": {"cost": 2.34e9, "share": 0.156, "times_fewer": [6.41, 3.14, 9.0]},
    }
    text = needed(held, "flops")
    assert text.endswith(
        "how much: not for all of it; with escalation: 15.6 % (2.34 GFLOPs), 6.4 [3.1, 9.0] times fewer."
    )
    assert "best-of-64 weighted" in text


def test_differences_say_what_their_intervals_say(summary: dict[str, Any]) -> None:
    held = summary["controller"]["flops"]
    first, second = held["budgets"][:2]
    _set(first["minus_best_fixed"].setdefault("how much", {}), 0.05, (0.01, 0.09))
    _set(first["minus_best_fixed"].setdefault("which and how much", {}), -0.05, (-0.09, -0.01))
    _set(first["minus_best_fixed"].setdefault("with escalation", {}), 0.05, (-0.01, 0.09))
    second["minus_best_fixed"] = {}
    held["mean_minus_best_fixed"]["how much"] = None
    _set(first["minus_uniform"]["how much"], 0.2, (0.1, 0.3))
    mean, at_first, at_second = controller.minus_fixed_table(held).rows[:3]
    assert mean[:2] == ["mean", "–"]
    assert at_first == ["2", "+5.0 [1.0, 9.0] better", "−5.0 [−9.0, −1.0] worse", "+5.0 [−1.0, 9.0]"]
    assert at_second == ["4", "–", "–", "–"]
    assert controller.minus_uniform_table(held).rows[0][1] == "+20.0 [10.0, 30.0] better"
    axes = differences(held).axes[0]
    assert np.size(axes.get_lines()[0].get_xdata()) == len(held["budgets"]) - 1, (
        "neither the mean nor the second budget"
    )


def test_table_of_draws_has_every_arm(page: str, summary: dict[str, Any]) -> None:
    held = summary["controller"]["flops"]
    table = controller.draws_table(held, PLAIN)
    assert table.head[1] == "How much: samples"
    assert "With escalation: large, greedy" in table.head
    drawn = [value for arms in held["budgets"][-1]["draws"].values() for value in arms.values()]
    assert table.rows[-1] == ["64", *(f"{value:.2f}" for value in drawn)]
    assert table.caption in page


@pytest.mark.parametrize("column", COLUMNS)
def test_curves_stand_at_what_was_spent(summary: dict[str, Any], column: str) -> None:
    held = summary["controller"][column]
    axes = accuracy(held, column, PLAIN).axes[0]
    drawn = {tuple(np.asarray(line.get_xdata()).tolist()) for line in axes.get_lines()}
    for scope in SCOPES:
        assert tuple(at["controllers"][scope]["cost"] for at in held["budgets"]) in drawn
    star = next(line for line in axes.get_lines() if line.get_marker() == "*")
    assert np.asarray(star.get_xdata()).tolist() == [held["beside_large"]["large"]["cost"]]
    names = {text.get_text() for text in axes.texts}
    assert {"best-of-N weighted", "best fixed strategy", "ceiling, in hindsight", "large model, greedy"} <= names
    assert {"table, oracle bins", "table, predicted bins", *(f"controller, {scope}" for scope in SCOPES)} <= names
    assert len(axes.get_xticks()) >= 3


def test_rival_that_may_be_the_large_model_is_drawn_where_it_differs(summary: dict[str, Any]) -> None:
    held = summary["controller"]["flops"]
    for at in held["budgets"]:
        at["best_fixed"]["with escalation"] = at["best_fixed"]["which and how much"]
    assert "best fixed strategy, or large" not in {
        text.get_text() for text in accuracy(held, "flops", PLAIN).axes[0].texts
    }
    held["budgets"][-1]["best_fixed"]["with escalation"] = held["beside_large"]["large"]
    assert "best fixed strategy, or large" in {text.get_text() for text in accuracy(held, "flops", PLAIN).axes[0].texts}


def test_shipped_policy_is_shown_where_it_was_measured(summary: dict[str, Any]) -> None:
    held = summary["controller"]["flops"]
    for holder in (held["mean_minus_best_fixed"], held["needed"]):
        holder[SHIPPED_SCOPE] = holder["with escalation"]
    for at in held["budgets"]:
        for name in ("controllers", "best_fixed", "minus_uniform", "draws"):
            at[name][SHIPPED_SCOPE] = at[name]["with escalation"]
    assert "controller, shipped policy" in {text.get_text() for text in accuracy(held, "flops", PLAIN).axes[0].texts}
    assert "shipped policy" in [text.get_text() for text in differences(held).legends[0].get_texts()]
    assert "Controller, shipped policy" in controller.accuracy_table(held, "flops").head
    assert {len(row) for row in controller.minus_fixed_table(held).rows} == {5}
    assert "the shipped policy is right in" in beside_large(held, "flops", PLAIN)
    assert "the controller with escalation is right in" in beside_large(summary["controller"]["bytes"], "bytes", PLAIN)


def test_console_shows_the_controller_at_the_budgets_that_were_asked_for(summary: dict[str, Any]) -> None:
    rows = StudyResult(summary).headline()
    at = {each["n"]: each["controllers"] for each in summary["controller"]["flops"]["budgets"]}
    for name, scope in (
        ("controller, without escalation", "which and how much"),
        ("controller, with escalation", "with escalation"),
    ):
        assert rows[name][16]["accuracy"] == at[16][scope]["accuracy"]
        assert rows[name][16]["usage"]["flops"] == at[16][scope]["cost"]
        assert 1 not in rows[name]
    assert (
        StudyResult({**summary, "controller": {}})
        .headline()
        .keys()
        .isdisjoint(("controller, without escalation", "controller, with escalation"))
    )


def _exchange(
    differences: list[float], width: float = 0.02, break_even: tuple[float, ...] = (), problems: int = 30
) -> dict[str, Any]:
    """One curve for all problems and for each of two bins; the first point is held."""
    shares = np.geomspace(0.01, 100, len(differences)).tolist()
    curve = [
        {
            "R": share,
            "small": 0.5 + difference,
            "large": 0.5,
            "difference": difference,
            "difference_ci95": [difference - 0.001, difference + 0.001],
            "difference_band95": [difference - width, difference + width],
            "problems": problems,
            "beyond_measured": place == 0,
            "winner": "tie" if not difference else "small" if difference > 0 else "large",
        }
        for place, (share, difference) in enumerate(zip(shares, differences, strict=True))
    ]
    winners = {point["winner"] for point in curve} - {"tie"}
    everywhere = None if break_even else winners.pop() if winners else "tie"
    ends = {"R": list(break_even), "wins_everywhere": everywhere, "undecided": []}
    names = ("overall", "1", "2")
    return {
        "curve": dict.fromkeys(names, curve),
        "break_even": dict.fromkeys(names, ends),
        "at": [{**curve[1], "by_bin": [curve[1], curve[1]]}],
    }


@pytest.mark.parametrize(
    ("exchange", "says"),
    [
        (
            _exchange([0.1, 0.1, 0.1, 0.1, 0.1]),
            "From R = 0.01 to 100 the small model with its controller is never behind, by point "
            "estimates. A 95 % band for all R at once shows that the small model wins for R = 0.01 to 100. ",
        ),
        (
            _exchange([-0.1, -0.1, -0.01, -0.1, -0.1]),
            "From R = 0.01 to 100 the large model is never behind, by point estimates. A 95 % band for all R at "
            "once shows that the large model wins for R = 0.01 to 0.1 and 10 to 100; for R = 1 it holds zero. ",
        ),
        (
            _exchange([0.1, 0.1, 0.01, -0.1, -0.1], break_even=(2.4,)),
            "From R = 0.01 to 100 the lead changes at R = 2.4: the small model is ahead below, the large model above. "
            "A 95 % band for all R at once shows that the small model wins for R = 0.01 to 0.1 and that the large "
            "model wins for R = 10 to 100; for R = 1 it holds zero. ",
        ),
        (
            _exchange([-0.01, 0.01, 0.01, -0.01, -0.01], break_even=(0.02, 3.0)),
            "From R = 0.01 to 100 the lead changes at R = 0.02 and 3: the large model is ahead below the first, the "
            "small model above it, and so on in turn. But a 95 % band for all R at once holds zero everywhere: this "
            "run cannot tell which of the two to make. ",
        ),
        (
            _exchange([0.0, 0.0, 0.0]),
            "From R = 0.01 to 100 the two are level, by point estimates. But a 95 % band for all R at once holds zero",
        ),
        (
            _exchange([0.1, 0.1, 0.1, 0.1, 0.1], problems=29),
            "From R = 0.01 to 100 the small model with its controller is never behind, by point estimates. "
            "But these are too few problems to tell. ",
        ),
    ],
)
def test_exchange_is_worded_by_its_intervals(exchange: dict[str, Any], says: str) -> None:
    text = " ".join(meaning(exchange, PLAIN))
    assert text.startswith(says)
    assert "Up to R = 0.01 the small model might spend more" in text


def test_exchange_on_the_page(page: str, summary: dict[str, Any], reported: Path) -> None:
    held = summary["exchange_over_R"]
    section = page.partition('<section id="sizes">')[2].partition("</section>")[0]
    assert " ".join(meaning(held, PLAIN)) in section
    assert (reported / "figures" / "exchange_over_R.svg").is_file()
    assert [row[0] for row in break_even_table(held, PLAIN).rows] == ["all", "1", "2", "3", "4", "5"]


def test_break_even_table_says_who_is_ahead_where() -> None:
    held = _exchange([0.1, 0.01, -0.1], break_even=(2.44,))
    held["break_even"]["1"] = {"R": [0.5, 3.0], "wins_everywhere": None, "undecided": [[0.01, 100.0]]}
    held["break_even"]["2"] = {"R": [], "wins_everywhere": "small", "undecided": [[0.01, 0.03], [4.0, 55.0]]}
    every, first, second = break_even_table(held, PLAIN).rows
    assert every == ["all", "small, then large", "2.4", "–", "+1.0 [0.9, 1.1]"]
    assert first[1:4] == ["small, then large, then small", "0.5 and 3", "all"]
    assert second[1:4] == ["small, never behind", "–", "0.01 to 0.03 and 4 to 55"]


def test_figure_of_the_exchange_rings_every_break_even() -> None:
    held = _exchange([0.1, 0.01, -0.1], break_even=(2.44,))
    plots = over(held, PLAIN).axes
    assert [axes.get_title(loc="left") for axes in plots] == ["all problems", "1 easiest", "2 hardest"]
    for axes in plots:
        rings = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert [np.asarray(line.get_xdata()).tolist() for line in rings] == [[2.44]]
    assert "R = 2.4" in {text.get_text() for text in plots[0].texts}
    solid = next(
        line for line in plots[0].get_lines() if line.get_linestyle() == "-" and np.size(line.get_xdata()) == 3
    )
    assert np.isnan(np.asarray(solid.get_ydata())).tolist() == [True, False, False], "held at the first"


def test_ticks_are_round_and_at_least_three() -> None:
    assert decimal_ticks(9e7, 3e10) == [1e8, 1e9, 1e10]
    assert decimal_ticks(1.5e8, 2e9) == [2e8, 5e8, 1e9, 2e9]
    assert decimal_ticks(0.29, 1.2) == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.8, 1.0])
