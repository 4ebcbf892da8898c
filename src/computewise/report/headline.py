"""What was found, in sentences that follow from the intervals: nothing is called better whose interval holds zero."""

from __future__ import annotations

from collections.abc import Iterator

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
    """Three to six sentences for the top of the page, worded by `verdict`."""
    return [
        *_search(summary),
        *_adapting(summary),
        *_probe(summary),
        *_sizes(summary),
        *_hardest(summary),
    ]


def compare(summary: Entry, side: str, against: str) -> list[Entry]:
    """The paired differences of `side` minus `against`, by rising budget."""
    found = [each for each in summary["comparisons"] if each["policy"] == side and each["against"] == against]
    return sorted(found, key=lambda each: int(each["n"]))


def judged(comparisons: list[Entry], rival: str, how: str) -> str:
    """Every budget under what its interval says: "better than X at 4 (+9.0 points [2.1, 15.4]) and ...", the good news first."""
    groups = {kind: [each for each in comparisons if verdict(each["ci95"]) is kind] for kind in Verdict}
    parts = []
    for kind, members in groups.items():
        if members:
            at = listed([f"{each['n']} ({points(each['difference'], each['ci95'])})" for each in members])
            phrase = _PHRASES[kind].format(rival="it" if parts else rival)
            parts.append(f"{phrase} at {at}{'' if parts else f' {how}'}")
    return listed(parts)


def _search(summary: Entry) -> Iterator[str]:
    comparisons = compare(summary, BEAM, BEST_OF_N)
    if not comparisons:
        return
    yield f"Beam search (M = 4) is {judged(comparisons, 'best-of-N weighted', 'generations')}."
    n = comparisons[-1]["n"]
    beam, rival = find(summary["curves"], BEAM, n), find(summary["curves"], BEST_OF_N, n)
    if beam and rival:
        ratio = number(comparisons[-1]["completion_tokens_ratio"])
        yield (
            f"At {n} generations that is {estimate(beam['accuracy'], beam['ci95'])} against "
            f"{estimate(rival['accuracy'], rival['ci95'])}, for {ratio} times the sampled tokens."
        )


def _adapting(summary: Entry) -> Iterator[str]:
    comparisons = compare(summary, POLICY_LABELS["predicted"], FIXED_LABEL)
    if comparisons:
        yield (
            "Choosing the strategy by predicted difficulty (compute-optimal) is "
            f"{judged(comparisons, 'the best fixed strategy', 'generations')}."
        )


def _probe(summary: Entry) -> Iterator[str]:
    difficulty, policies = summary["difficulty"], summary["policy"]["predicted"]
    if policies:
        last, probe = policies[-1], difficulty["flops"]["predicted"]
        yield (
            f"Not in its price: {difficulty['samples']} samples that tell a problem's difficulty, "
            f"{quantity(probe, 'FLOPs')} a problem, {number(probe / last['usage']['flops'], 1)} times what the policy "
            f"spends at {last['n']} generations."
        )


def _sizes(summary: Entry) -> Iterator[str]:
    models = summary["models"]
    small, large = (quantity(models[name]["parameters"]) for name in ("small", "large"))
    exchange = summary["exchange"]
    if not exchange:
        return
    parts = []
    for kind, words in (
        (Verdict.BETTER, "better than"),
        (Verdict.OPEN, "not distinguishable from"),
        (Verdict.WORSE, "worse than"),
    ):
        held = [each for each in exchange if verdict(each["difference_ci95"]) is kind]
        if held:
            at = listed(
                [f"R = {each['R']:g} ({points(each['small'] - each['large'], each['difference_ci95'])})" for each in held]
            )
            parts.append(f"{words} {'it' if parts else 'the large one'} at {at}")
    yield (
        f"For equal FLOPs over pretraining and inference, the small model ({small} parameters) with this policy is, "
        f"against the large one ({large}) answering greedily, {listed(parts)}."
        + (
            f" {_held(exchange)}, the small model is held at the largest budget measured, below what it might spend."
            if any(each["beyond_measured"] for each in exchange)
            else ""
        )
    )


def _held(exchange: list[Entry]) -> str:
    return f"At R = {listed([format(each['R'], 'g') for each in exchange if each['beyond_measured']])}"


def _hardest(summary: Entry) -> Iterator[str]:
    single = find(summary["curves"], "single sample", budgets(summary)[0])
    policies = summary["policy"]["predicted"]
    if not single or not policies:
        return
    last = policies[-1]
    sides = []
    for name, bin in (("the easiest", 0), ("the hardest", -1)):
        sides.append(
            f"on {name} fifth of the problems accuracy goes from {percent(single['by_bin'][bin])} "
            f"{interval(single['by_bin_ci95'][bin])} with one sample to {percent(last['by_bin'][bin])} "
            f"{interval(last['by_bin_ci95'][bin])} with the policy at {last['n']} generations"
        )
    yield f"{sides[0][0].upper()}{sides[0][1:]}; {sides[1]}."
