"""What was found, in sentences that follow from the intervals: nothing is called better whose interval holds zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from computewise.report.families import FIXED_LABEL, POLICY_LABELS, Entry, budgets, find
from computewise.report.words import (
    Verdict,
    estimate,
    interval,
    listed,
    number,
    percent,
    points,
    quantity,
    verdict,
)

BEAM = "beam search, M = 4, weighted"
BEST_OF_N = "best-of-N, weighted"
_PHRASES = {
    Verdict.BETTER: "better than {rival}",
    Verdict.WORSE: "worse than {rival}",
    Verdict.OPEN: "not distinguishable from {rival}",
}


def headline(summary: Entry) -> list[str]:
    """At most four findings for the top of the page, a sentence or two each, worded by `verdict`."""
    findings = (_search(summary), _adapting(summary), _sizes(summary), _by_difficulty(summary))
    return [" ".join(sentences) for finding in findings if (sentences := list(finding))]


def compare(summary: Entry, side: str, against: str) -> list[Entry]:
    """The paired differences of `side` minus `against`, by rising budget."""
    found = [each for each in summary["comparisons"] if each["policy"] == side and each["against"] == against]
    return sorted(found, key=lambda each: int(each["n"]))


def judged(differences: Sequence[tuple[str, float, Sequence[float]]], rival: str) -> str:
    """Every (where, difference, interval) under what its interval says: "better than X at ... and worse at ..."."""
    groups = {kind: [each for each in differences if verdict(each[2]) is kind] for kind in Verdict}
    parts: list[str] = []
    for kind, members in groups.items():
        if members:
            at = listed([f"{where} ({points(difference, bounds)})" for where, difference, bounds in members])
            parts.append(f"{_PHRASES[kind].format(rival='it' if parts else rival)} at {at}")
    return listed(parts)


def _at_budgets(comparisons: list[Entry], rival: str) -> str:
    return judged([(f"N = {each['n']}", each["difference"], each["ci95"]) for each in comparisons], rival)


def _search(summary: Entry) -> Iterator[str]:
    comparisons = compare(summary, BEAM, BEST_OF_N)
    if not comparisons:
        return
    yield f"Given N generations, beam search (M = 4) is {_at_budgets(comparisons, 'best-of-N weighted')}."
    n = comparisons[-1]["n"]
    beam, rival = find(summary["curves"], BEAM, n), find(summary["curves"], BEST_OF_N, n)
    if beam and rival:
        ratio = number(comparisons[-1]["completion_tokens_ratio"])
        yield (
            f"At N = {n} that is {estimate(beam['accuracy'], beam['ci95'])} against "
            f"{estimate(rival['accuracy'], rival['ci95'])}, for {ratio} times the sampled tokens."
        )


def _adapting(summary: Entry) -> Iterator[str]:
    comparisons = compare(summary, POLICY_LABELS["predicted"], FIXED_LABEL)
    if not comparisons:
        return
    yield (
        "Choosing the strategy by predicted difficulty (compute-optimal) is "
        f"{_at_budgets(comparisons, 'the best fixed strategy')}."
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
    small, large = (quantity(summary["models"][name]["parameters"]) for name in ("small", "large"))
    differences = [(f"R = {each['R']:g}", each["small"] - each["large"], each["difference_ci95"]) for each in exchange]
    yield (
        f"For equal FLOPs over pretraining and inference, the small model ({small} parameters) with this policy is "
        f"{judged(differences, f'the large one ({large}, one greedy answer)')}; "
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
