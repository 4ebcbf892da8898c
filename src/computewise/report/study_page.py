"""The page of a study, and its figures as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from computewise.controller.rule import FOLDS
from computewise.core import VERIFIER
from computewise.errors import RunError
from computewise.report import controller, exchange, figures, revisions, tables
from computewise.report.costs import SHOWN
from computewise.report.examples import examples
from computewise.report.findings import headline
from computewise.report.lookup import Entry, budgets, compared, split_budgets
from computewise.report.plotting import render
from computewise.report.replay_page import difficulty_table
from computewise.report.template import RunFiles, fill, read_source
from computewise.report.text import Names, Verdict, capitalize, listed, quantity, unpaired, verdict
from computewise.runs import write_atomically
from computewise.setups.base import GENERATORS
from computewise.study.analysis.controller import ORDERS, SHIPPED_SCOPE, widest_alone
from computewise.study.plan import SEARCH

SECTIONS = {
    "found": "What was found",
    "controller": "What deciding problem by problem buys",
    "compute": "Accuracy against compute",
    "difficulty": "By difficulty",
    "revisions": "Revisions: sequential against parallel",
    "sizes": "",
    "policy": "The policy",
    "verifier": "The verifier, and the price of knowing the difficulty",
    "numbers": "All numbers",
    "trees": "Search trees",
    "reading": "How to read this page",
}

"""Titles by the name that links go to, in the order of the page; that of the sizes names the models."""


def render_page(source: RunFiles, figures: dict[str, str], by_bin: list[str]) -> str:
    """HTML from a run and its figures as SVG text by name; `by_bin` names those of the difficulty section."""
    return fill(
        "report.html.j2",
        figures,
        **_context(source),
        by_bin=by_bin,
        SHIPPED=SHIPPED_SCOPE,
    )


def _context(source: RunFiles) -> dict[str, Any]:
    summary = source.summary
    absent = {"revisions"} if not split_budgets(summary) else set()
    absent |= {"controller"} if not summary["controller"] else set()
    absent |= {"trees"} if not summary["steps"] else set()
    names, titles = Names.of(summary), dict(SECTIONS)
    if summary["large"]:
        titles["sizes"] = f"{capitalize(names.model('model'))} against {names.short('large')}"
    else:
        absent.add("sizes")
    sections = [name for name in SECTIONS if name not in absent]
    return {
        "summary": summary,
        "config": source.config,
        "policy": source.policy,
        "names": names,
        "begin": capitalize,
        "cast": _cast(summary, names),
        "titles": titles,
        "place": {name: place for place, name in enumerate(sections, 1)},
        "headline": headline(summary),
        "spending": " ".join(revisions.spending(summary, budgets(summary)[-1])),
        "controller": [_counted(column, held, summary, names) for column, held in summary["controller"].items()],
        "others": listed([held["name"] for held in summary["controller"].values()][1:]),
        "validated": {"folds": FOLDS, "orders": ORDERS, "search": SEARCH.n},
        **_over(summary, names),
        "revisions": _revisions(summary, names) if "revisions" in sections else None,
        "examples": examples(source.records),
        "prompts": source.prompts,
        "verifiers": _verifiers(summary),
        "bin_sizes": tables.bin_sizes_table(summary),
        "bins": tables.bins_table(summary),
        "estimators": difficulty_table(
            summary["difficulty"]["estimators"],
            f"On problems not fitted on, against pass@1 over {summary['difficulty']['samples']} other samples.",
        ),
        "exchange": tables.exchange_table(summary["exchange"], names) if summary["large"] else None,
        "policy_table": tables.policy_table(source.policy),
        "policy_worth": tables.policy_worth_table(summary),
        "verifier_table": tables.verifier_table(summary),
        "curves": tables.curves_table(summary),
        "comparisons": tables.comparisons_table(summary),
        "settings": tables.config_table(source.config),
        "failed": tables.failed_table(summary),
    }


def _cast(summary: Entry, names: Names) -> str:
    """The models and how large they are."""
    roles = [role for role in GENERATORS if role in summary["models"]]
    each = [f"{names.model(role)} {quantity(summary['models'][role]['parameters'])}" for role in roles]
    each[0] += " parameters"
    read = summary["models"][VERIFIER]
    label = "verifier" if read["label"] == "prm" else f"verifier {read['label']}"
    return ", ".join([*each, f"{label} {quantity(read['parameters'])}" if read["parameters"] else label])


def _over(summary: Entry, names: Names) -> dict[str, Any]:
    """Pretraining against inference over all R, where there is a larger model and a controller."""
    if not summary["large"] or not summary["controller"]:
        return {}
    over = summary["exchange_over_R"]
    return {
        "over": " ".join(exchange.meaning(over, names)),
        "over_table": exchange.break_even_table(over, names),
        "alone": widest_alone(summary["controller"]["flops"]["mean_minus_best_fixed"]),
    }


def _counted(column: str, held: Entry, summary: Entry, names: Names) -> dict[str, Any]:
    """What the section on the controller says and shows in one currency."""
    return {
        "column": column,
        "name": held["name"],
        "scopes": list(held["mean_minus_best_fixed"]),
        "sentence": controller.controller_sentence(held),
        "needed": controller.needed(held, column),
        "beside": controller.beside_large(held, column, names),
        "assumed": SHOWN[column].assumed(summary),
        "accuracy": controller.accuracy_table(held, column),
        "minus_fixed": controller.minus_fixed_table(held) if compared(held) else None,
        "minus_uniform": controller.minus_uniform_table(held),
        "draws": controller.draws_table(held, names),
    }


def _revisions(summary: Entry, names: Names) -> dict[str, Any]:
    """What the section on revisions says and shows."""

    def text(*parts: Iterator[str]) -> str:
        return " ".join(sentence for part in parts for sentence in part)

    return {
        "splitting": text(revisions.splitting(summary), revisions.parallel_sampler(summary)),
        "along": text(revisions.along_a_chain(summary), revisions.at_the_gate(summary)),
        "halves": text(revisions.halves(summary)),
        "ratios": revisions.ratios_table(summary),
        "bins": revisions.ratio_bins_table(summary),
        "flips": revisions.along_table(summary),
        "exchange": {
            name: tables.exchange_table(entries, names, revisions.HALVES.get(name, name))
            for name, entries in summary["exchange_halves"].items()
        },
    }


_RANKS = {
    Verdict.BETTER: "It ranks better than {rival}: the intervals do not meet.",
    Verdict.WORSE: "It ranks worse than {rival}: the intervals do not meet.",
    Verdict.OPEN: "Its interval overlaps that of {rival}: no claim is made.",
}


def _verifiers(summary: Entry) -> str:
    """The verifier against log-probability by their intervals; they are not paired, so overlap decides nothing."""
    held = summary["verifiers"]
    if VERIFIER not in held:
        return ""
    learned = held[VERIFIER]["ci95"]
    guessing = verdict([bound - 0.5 for bound in learned]).value
    name = capitalize(Names.of(summary).verifier)
    start = f"{name} is {guessing} {'from' if guessing.startswith('not') else 'than'} guessing (0.5) at this. "
    if "logprob" not in held:
        return start
    rival = "the model's own log-probability, which costs nothing"
    return start + _RANKS[unpaired(learned, held["logprob"]["ci95"])].format(rival=rival)


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
        drawn, by_bin = _draw(source, folder)
        write_atomically(page, render_page(source, drawn, by_bin))
    except (KeyError, UndefinedError) as error:
        raise RunError(f"the run in {directory} has no {error}: run the study again with --resume") from None
    except OSError as error:
        raise RunError(f"cannot write the report in {directory}: {error.strerror or error}") from None
    return page


def _draw(source: RunFiles, folder: Path) -> tuple[dict[str, str], list[str]]:
    """SVG by name, and the names of those by bin."""
    summary = source.summary
    names = Names.of(summary)
    methods, choices = figures.methods(summary), figures.choices(summary)
    drawn = {
        "methods_generations": figures.accuracy(summary, methods, figures.GENERATIONS),
        "choices_generations": figures.accuracy(summary, choices, figures.GENERATIONS),
        "methods_flops": figures.accuracy(summary, methods, figures.FLOPS),
        "choices_flops": figures.accuracy(summary, choices, figures.FLOPS),
    }
    for column, held in summary["controller"].items():
        drawn[f"controller_{column}"] = controller.accuracy(held, column, names)
        if compared(held):
            drawn[f"controller_{column}_difference"] = controller.differences(held)
    if summary["controller"] and summary["large"]:
        drawn["exchange_over_R"] = exchange.over(summary["exchange_over_R"], names)
    by_bin = {f"bins_{n}": figures.by_bin(summary, n) for n in budgets(summary) if n > 1}
    if summary["exchange"]:
        drawn["exchange"] = figures.exchange(summary)
    if split_budgets(summary):
        drawn["ratios"] = revisions.heat_map(summary)
    if len(summary["along"]) > 1:
        drawn["along"] = revisions.along(summary)
    return {name: render(figure, name, folder) for name, figure in (drawn | by_bin).items()}, list(by_bin)
