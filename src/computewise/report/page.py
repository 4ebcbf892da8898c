"""The page: what the template is given, and the template filled."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from computewise.report import tables
from computewise.report.examples import examples
from computewise.report.headline import headline
from computewise.report.source import Source
from computewise.report.words import count, estimate, method, number, percent, quantity, verdict

MOST_DISCARDED = 3
"""Discarded ends drawn under one node; the others are counted."""


def render_page(source: Source, figures: dict[str, str], by_bin: list[str]) -> str:
    """HTML from a run and its figures as SVG text by name; `by_bin` names those of the difficulty section."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, quantity=quantity, number=number, count=count, method=method)
    environment.globals["estimate"] = estimate
    environment.globals["MOST_DISCARDED"] = MOST_DISCARDED
    template = environment.from_string(_resource("report.html.j2"))
    return template.render(
        **_context(source),
        figures={name: Markup(svg) for name, svg in figures.items()},
        by_bin=by_bin,
        css=Markup(_resource("report.css")),
    )


def _context(source: Source) -> dict[str, Any]:
    summary = source.summary
    return {
        "summary": summary,
        "config": source.config,
        "policy": source.policy,
        "headline": headline(summary),
        "examples": examples(source.records),
        "verifiers": _verifiers(summary),
        "bin_sizes": tables.bin_sizes_table(summary),
        "bins": tables.bins_table(summary),
        "exchange": tables.exchange_table(summary),
        "policy_table": tables.policy_table(source.policy),
        "policy_worth": tables.policy_worth_table(summary),
        "verifier_table": tables.verifier_table(summary),
        "curves": tables.curves_table(summary),
        "comparisons": tables.comparisons_table(summary),
        "settings": tables.config_table(source.config),
        "failed": tables.failed_table(summary),
    }


def _verifiers(summary: dict[str, Any]) -> str:
    """Prm against log-probability, from the two intervals; they are not paired, so overlap decides nothing."""
    held = summary["verifiers"]
    if not {"prm", "logprob"} <= held.keys():
        return ""
    prm, free = held["prm"]["ci95"], held["logprob"]["ci95"]
    guessing = verdict([bound - 0.5 for bound in prm]).value
    start = f"The PRM is {guessing} {'from' if guessing.startswith('not') else 'than'} guessing (0.5) at this. "
    if prm[0] > free[1]:
        return (
            start
            + "It ranks better than the model's own log-probability, which costs nothing: the intervals do not meet."
        )
    if prm[1] < free[0]:
        return (
            start
            + "It ranks worse than the model's own log-probability, which costs nothing: the intervals do not meet."
        )
    return (
        start + "Its interval overlaps that of the model's own log-probability, which costs nothing: no claim is made."
    )


def _resource(name: str) -> str:
    return files("computewise.report").joinpath(name).read_text(encoding="utf-8")
