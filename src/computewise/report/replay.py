"""`write_replay_report`: from what `computewise replay` wrote to its page and figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from computewise.errors import RunError
from computewise.records import write_atomically
from computewise.report import exchange_figures, exchange_over, replay_figures, replay_tables, replay_words
from computewise.report.families import Entry
from computewise.report.names import PLAIN
from computewise.report.source import read_json
from computewise.report.svg import render
from computewise.report.template import fill

SHOWN = (0.1, 1.0, 10.0)
"""The R whose differences are in the table."""


HALVES = "Estimates from the first half of each problem's samples against the other half."


def write_replay_report(out: Path) -> Path:
    """Write `report.html`, and `figures/` as PNG and SVG, beside `summary.json` in `out`; the path of the page.

    Raises `RunError` where the summary is missing, unreadable or of another version, or nothing can be written.
    """
    from jinja2 import UndefinedError

    summary = read_json(out / "summary.json")
    page = out / "report.html"
    try:
        folder = out / "figures"
        folder.mkdir(exist_ok=True)
        figures = {name: render(figure, name, folder) for name, figure in _figures(summary).items()}
        write_atomically(page, fill("replay.html.j2", figures, **_context(summary)))
    except (KeyError, UndefinedError) as error:
        raise RunError(f"the summary in {out} has no {error}: replay again, into another --out") from None
    except OSError as error:
        raise RunError(f"cannot write the report in {out}: {error.strerror or error}") from None
    return page


def _figures(summary: Entry) -> dict[str, Any]:
    drawn = {"frontier": replay_figures.frontier(summary)}
    held = summary.get("escalation")
    if held is not None:
        drawn["escalation"] = replay_figures.escalation(held)
        drawn["exchange_over_R"] = exchange_figures.over(held["exchange"], PLAIN)
    return drawn


def _context(summary: Entry) -> dict[str, Any]:
    held = summary.get("escalation")
    return {
        "summary": summary,
        "names": {key: Path(summary[key]).name for key in ("fit", "evaluate", "large") if summary[key] is not None},
        "sentence": replay_words.sentence(summary),
        "findings": replay_words.findings(summary),
        "validated": replay_words.validated(summary),
        "recorded": replay_words.recorded(summary),
        "plain_rule": replay_words.plain_rule(summary),
        "frontier": replay_tables.frontier_table(summary),
        "half": replay_tables.half_table(summary),
        "price": replay_tables.price_table(summary),
        "reached": replay_tables.reached_table(summary),
        "difficulty": replay_tables.difficulty_table(summary["difficulty"], HALVES) if summary["difficulty"] else None,
        "escalation": None if held is None else _escalation(held),
    }


def _escalation(held: Entry) -> dict[str, Any]:
    exchange = held["exchange"]
    return {
        "sentence": " ".join(replay_words.equal_cost(held)),
        "table": replay_tables.equal_cost_table(held),
        "over": " ".join(exchange_over.meaning(exchange, PLAIN)),
        "over_table": exchange_over.break_even_table(exchange | {"at": _at(exchange["curve"])}, PLAIN),
    }


def _at(curve: Entry) -> list[Entry]:
    """The points of the curves at `SHOWN`, as `exchange_over` takes them."""

    def point(group: str, share: float) -> Entry:
        return next(one for one in curve[group] if math.isclose(one["R"], share))

    bins = [group for group in curve if group != "overall"]
    return [point("overall", share) | {"by_bin": [point(group, share) for group in bins]} for share in SHOWN]
