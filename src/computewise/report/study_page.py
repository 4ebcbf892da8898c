"""The page of a study, its findings in sentences, and its figures as files.

The sentences follow from the intervals: an interval that contains zero decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from computewise.core import LARGE, MODEL, VERIFIER
from computewise.errors import RunError
from computewise.intervals import Verdict, verdict
from computewise.report import controller, exchange, figures, paper, revisions, tables
from computewise.report.controller import deciding
from computewise.report.examples import examples
from computewise.report.plotting import render
from computewise.report.revisions import along_a_chain, splitting
from computewise.report.template import RunFiles, Section, fill, markup, read_source
from computewise.report.text import (
    BEAM,
    BEST_OF_N,
    FIXED_LABEL,
    POLICY_LABELS,
    Entry,
    Names,
    budgets,
    capitalize,
    estimate,
    family,
    find,
    interval,
    judged,
    leader,
    listed,
    number,
    percent,
    quantity,
    step_revision_labels,
    unpaired,
)
from computewise.runs import write_atomically
from computewise.setups.base import GENERATORS


def _found(source: RunFiles) -> dict[str, Any]:
    return {"headline": headline(source.summary)}


def headline(summary: Entry) -> list[str]:
    """At most six findings for the top of the page, of a few sentences each."""
    findings = (
        deciding(summary),
        _search(summary),
        _revising(summary),
        _adapting(summary),
        _sizes(summary),
        _by_difficulty(summary),
    )
    return [" ".join(sentences) for finding in findings if (sentences := list(finding))]


def compare(summary: Entry, side: str, against: str) -> list[Entry]:
    """The paired differences of `side` minus `against`, by rising budget."""
    found = [each for each in summary["comparisons"] if each["policy"] == side and each["against"] == against]
    return sorted(found, key=lambda each: int(each["n"]))


def _at_budgets(comparisons: list[Entry], rival: str, problems: int) -> str:
    return judged([(f"N = {each['n']}", each["difference"], each["ci95"]) for each in comparisons], rival, problems)


def _search(summary: Entry) -> Iterator[str]:
    problems = summary["problems"]
    if comparisons := compare(summary, BEAM, BEST_OF_N):
        yield (
            f"With N beams, for {_tokens(comparisons)} times the tokens of N samples, beam search (M = 4) is "
            f"{_at_budgets(comparisons, 'best-of-N weighted', problems)}."
        )
        yield from _largest(summary, BEAM, comparisons[-1])
    kinds = step_revision_labels(summary)
    step = leader(summary, kinds)
    if step and (comparisons := compare(summary, step, BEST_OF_N)):
        name = f"{family(step)}{f', of {len(kinds)} kinds the one these accuracies favour' if len(kinds) > 1 else ''}"
        yield f"Revisions inside the search ({name}) are {_at_budgets(comparisons, 'best-of-N weighted', problems)}."
        yield from _largest(summary, step, comparisons[-1])


def _tokens(comparisons: list[Entry]) -> str:
    """The ratios of sampled tokens, from the least to the most."""
    ratios = sorted(float(each["completion_tokens_ratio"]) for each in comparisons)
    ends = dict.fromkeys(number(ratio) for ratio in (ratios[0], ratios[-1]))
    return " to ".join(ends)


def _largest(summary: Entry, label: str, comparison: Entry) -> Iterator[str]:
    n = comparison["n"]
    side, rival = find(summary["curves"], label, n), find(summary["curves"], BEST_OF_N, n)
    if side and rival:
        yield (
            f"At N = {n} that is {estimate(side['accuracy'], side['ci95'])} against "
            f"{estimate(rival['accuracy'], rival['ci95'])}, for {number(comparison['completion_tokens_ratio'])} times "
            "the sampled tokens."
        )


def _revising(summary: Entry) -> Iterator[str]:
    yield from along_a_chain(summary)
    yield from splitting(summary)


def _adapting(summary: Entry) -> Iterator[str]:
    comparisons = compare(summary, POLICY_LABELS["predicted"], FIXED_LABEL)
    if not comparisons:
        return
    yield (
        "Choosing the strategy by predicted difficulty (compute-optimal) is "
        f"{_at_budgets(comparisons, 'the best fixed strategy', summary['problems'])}."
    )
    difficulty, last = summary["difficulty"], summary["policy"]["predicted"][-1]
    probe = difficulty["flops"]["predicted"]
    yield (
        f"Not in its price: the {difficulty['samples']} samples that tell a problem's difficulty, "
        f"{quantity(probe, 'FLOPs')}, {number(probe / last['usage']['flops'], 1)} times what the policy spends on "
        f"a problem at N = {last['n']}."
    )


def _sizes(summary: Entry) -> Iterator[str]:
    exchange = summary["exchange"]
    if not exchange:
        return
    names = Names.of(summary)
    rival = names.the("large")
    small, large = (quantity(summary["models"][name]["parameters"]) for name in (MODEL, LARGE))
    differences = [(f"R = {each['R']:g}", each["small"] - each["large"], each["difference_ci95"]) for each in exchange]
    yield (
        f"For equal FLOPs over pretraining and inference, {names.the('model')} ({small} parameters) with this policy "
        f"is {judged(differences, f'{rival} ({large}, one greedy answer)', summary['problems'])}; "
        "R is inference tokens over pretraining tokens."
    )
    held = [f"{each['R']:g}" for each in exchange if each["beyond_measured"]]
    if held:
        yield f"At R = {listed(held)} it is held at the largest budget measured, which is less than it might spend."


def _by_difficulty(summary: Entry) -> Iterator[str]:
    single = find(summary["curves"], "single sample", budgets(summary)[0])
    policies = summary["policy"]["predicted"]
    if not single or not policies:
        return
    last = policies[-1]
    sides = []
    for name, place in (("the easiest", 0), ("the hardest", -1)):
        sides.append(
            f"on {name} fifth of the problems accuracy goes from {percent(single['by_bin'][place])} "
            f"{interval(single['by_bin_ci95'][place])} with one sample to {percent(last['by_bin'][place])} "
            f"{interval(last['by_bin_ci95'][place])} with the policy at N = {last['n']}"
        )
    yield f"{sides[0][0].upper()}{sides[0][1:]}; {sides[1]}."


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
    Section("found", "What was found", context=_found),
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
