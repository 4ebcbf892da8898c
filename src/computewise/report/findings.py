"""The findings, in sentences that follow from the intervals: an interval that contains zero decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from computewise.core import LARGE, MODEL
from computewise.report.controller import deciding
from computewise.report.lookup import (
    BEAM,
    BEST_OF_N,
    FIXED_LABEL,
    POLICY_LABELS,
    Entry,
    budgets,
    family,
    find,
    leader,
    step_revision_labels,
)
from computewise.report.revisions import along_a_chain, splitting
from computewise.report.template import RunFiles, Section
from computewise.report.text import Names, estimate, interval, judged, listed, number, percent, quantity


def _context(source: RunFiles) -> dict[str, Any]:
    return {"headline": headline(source.summary)}


SECTION = Section("found", "What was found", context=_context)


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
