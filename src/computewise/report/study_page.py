"""The page of a study, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from computewise.core import LARGE, VERIFIER
from computewise.errors import RunError
from computewise.intervals import Verdict, verdict
from computewise.report import controller, exchange, figures, findings, paper, revisions, tables
from computewise.report.examples import examples
from computewise.report.lookup import Entry, budgets
from computewise.report.plotting import render
from computewise.report.template import RunFiles, Section, fill, markup, read_source
from computewise.report.text import Names, capitalize, listed, quantity, unpaired
from computewise.runs import write_atomically
from computewise.setups.base import GENERATORS


def _compute(source: RunFiles) -> dict[str, Any]:
    summary = source.summary
    return {"spending": " ".join(revisions.spending(summary, budgets(summary)[-1]))}


def _by_bin(summary: Entry) -> dict[str, Any]:
    return {f"bins_{n}": figures.by_bin(summary, n) for n in budgets(summary) if n > 1}


def _difficulty(source: RunFiles) -> dict[str, Any]:
    summary = source.summary
    return {
        "bin_sizes": tables.bin_sizes_table(summary),
        "bins": tables.bins_table(summary),
        "by_bin": [f"bins_{n}" for n in budgets(summary) if n > 1],
    }


def _verifier(source: RunFiles) -> dict[str, Any]:
    summary = source.summary
    return {
        "verifiers": _verifiers(summary),
        "verifier_table": tables.verifier_table(summary),
        "estimators": tables.difficulty_table(
            summary["difficulty"]["estimators"],
            f"On problems not fitted on, against pass@1 over {summary['difficulty']['samples']} other samples.",
        ),
        "policy_worth": tables.policy_worth_table(summary),
    }


def _numbers(source: RunFiles) -> dict[str, Any]:
    return {"curves": tables.curves_table(source.summary), "comparisons": tables.comparisons_table(source.summary)}


def _reading(source: RunFiles) -> dict[str, Any]:
    return {
        "others": listed([held["name"] for held in source.summary["controller"].values()][1:]),
        "settings": tables.config_table(source.config),
        "failed": tables.failed_table(source.summary),
    }


SECTIONS = (
    findings.SECTION,
    controller.SECTION,
    Section("compute", "Accuracy against compute", context=_compute, figures=figures.against_compute),
    Section("difficulty", "By difficulty", context=_difficulty, figures=_by_bin),
    revisions.SECTION,
    exchange.SECTION,
    paper.SECTION,
    Section("policy", "The policy", context=lambda source: {"policy_table": tables.policy_table(source.policy)}),
    Section("verifier", "The verifier, and the price of knowing the difficulty", context=_verifier),
    Section("numbers", "All numbers", context=_numbers),
    Section("trees", "Search trees", needs=lambda summary: bool(summary["steps"])),
    Section("reading", "How to read this page", context=_reading),
)
"""The sections in the order of the page."""


def render_page(source: RunFiles, figures: dict[str, str]) -> str:
    """The HTML of a run; `figures` are SVG as text by name."""
    summary, names = source.summary, Names.of(source.summary)
    sections = [section for section in SECTIONS if section.needs(summary)]
    place = {section.name: number for number, section in enumerate(sections, 1)}
    titles = {section.name: section.titled(names) for section in sections}
    shared = {
        "summary": summary,
        "config": source.config,
        "policy": source.policy,
        "prompts": source.prompts,
        "examples": examples(source.records, source.summary["difficulty"]["samples"]),
        "names": names,
        "begin": capitalize,
        "models": summary["models"],
        "compared": LARGE in summary["models"],
        "controlled": "controller" in place,
        "revised": "revisions" in place,
        "figures": markup(figures),
        "titles": titles,
        "place": place,
    }
    bodies = markup({section.name: section.render(source, shared) for section in sections})
    filled = [{"name": name, "title": titles[name], "body": body} for name, body in bodies.items()]
    return fill("report.html.j2", **shared, cast=_cast(summary, names), sections=filled)


def _cast(summary: Entry, names: Names) -> str:
    """The models with their numbers of parameters."""
    roles = [role for role in GENERATORS if role in summary["models"]]
    each = [f"{names.model(role)} {quantity(summary['models'][role]['parameters'])}" for role in roles]
    each[0] += " parameters"
    read = summary["models"][VERIFIER]
    label = "verifier" if read["label"] == "prm" else f"verifier {read['label']}"
    return ", ".join([*each, f"{label} {quantity(read['parameters'])}" if read["parameters"] else label])


_GUESSING = {
    Verdict.BETTER: "better than",
    Verdict.WORSE: "worse than",
    Verdict.OPEN: "not distinguishable from",
    Verdict.TOO_FEW: "measured on too few problems to tell it from",
}

_RANKS = {
    Verdict.BETTER: "It ranks better than {rival}: the intervals do not meet.",
    Verdict.WORSE: "It ranks worse than {rival}: the intervals do not meet.",
    Verdict.OPEN: "Its interval overlaps that of {rival}: no claim is made.",
    Verdict.TOO_FEW: f"Against {{rival}}: {Verdict.TOO_FEW.value}.",
}


def _verifiers(summary: Entry) -> str:
    """The verifier against log-probability by their intervals: not paired, so an overlap decides nothing."""
    held = summary["verifiers"]
    if VERIFIER not in held:
        return ""
    learned, problems = held[VERIFIER]["ci95"], held[VERIFIER]["problems"]
    says = verdict([bound - 0.5 for bound in learned], problems)
    name = capitalize(Names.of(summary).verifier)
    start = f"{name} is {_GUESSING[says]} guessing (0.5) at this. "
    if "logprob" not in held:
        return start
    rival = "the model's own log-probability, which costs nothing"
    return start + _RANKS[unpaired(learned, held["logprob"]["ci95"], problems)].format(rival=rival)


def write_report(directory: Path) -> Path:
    """Write `report.html`, and `figures/` as PNG and SVG, into the run directory; the path of the page.

    Raises `RunError` where a file of the run is missing or unreadable, or nothing can be written.
    """
    from jinja2 import UndefinedError

    page = directory / "report.html"
    try:
        source = read_source(directory)
        folder = directory / "figures"
        folder.mkdir(exist_ok=True)
        write_atomically(page, render_page(source, _draw(source.summary, folder)))
    except (KeyError, UndefinedError) as error:
        raise RunError(f"the run in {directory} has no {error}: run the study again with --resume") from None
    except OSError as error:
        raise RunError(f"cannot write the report in {directory}: {error.strerror or error}") from None
    return page


def _draw(summary: Entry, folder: Path) -> dict[str, str]:
    """Draw all figures into `folder`; returns SVG as text by name."""
    drawn = [section.figures(summary) for section in SECTIONS if section.needs(summary)]
    return {name: render(figure, name, folder) for each in drawn for name, figure in each.items()}
