"""What was found about revisions, in sentences that follow from the intervals."""

from __future__ import annotations

from collections.abc import Iterator

from computewise.report.families import Entry, family, ratios, split_budgets, underspent
from computewise.report.names import Names
from computewise.report.words import Verdict, estimate, judged, number, points, verdict

HALVES = {"sampling and search": "sampling and search alone", "revisions": "revisions alone"}
_ALONG = {
    Verdict.BETTER: "rises from {first} to {last}",
    Verdict.WORSE: "falls from {first} to {last}",
    Verdict.OPEN: "goes from {first} to {last}, which is not distinguishable",
}
_SPLIT = {
    Verdict.BETTER: "sequential is better",
    Verdict.WORSE: "parallel is better",
    Verdict.OPEN: "not distinguishable",
}
_GATE = {
    Verdict.BETTER: "better than its first attempt",
    Verdict.WORSE: "worse than its first attempt",
    Verdict.OPEN: "not distinguishable from its first attempt",
}


def along_a_chain(summary: Entry) -> Iterator[str]:
    """Whether a later attempt is more often right than the first; nothing where no chain was followed."""
    if len(summary["along"]) < 2:
        return
    first, last = summary["along"][0], summary["along"][-1]
    paired = summary["along_change"]["right"]
    change = _ALONG[verdict(paired["ci95"])].format(
        first=f"{_rate(first['right'])} at the first", last=f"{_rate(last['right'])} at attempt {last['attempt']}"
    )
    yield (
        f"Along a chain of revisions the share of right attempts (pass@1) {change}: "
        f"{points(paired['difference'], paired['ci95'])}, paired."
    )


def at_the_gate(summary: Entry) -> Iterator[str]:
    """The same of chains that end at an attempt the verifier trusts."""
    if len(summary["along"]) < 2:
        return
    last, paired = summary["along"][-1], summary["along_change"]["gated"]
    says = f"{_GATE[verdict(paired['ci95'])]} ({points(paired['difference'], paired['ci95'])})"
    yield (
        f"A chain that ends at its first attempt worth {summary['trust']:g} or more to the verifier is right in "
        f"{_rate(last['gated'])} after at most {last['attempt']} attempts, {says}."
    )


def splitting(summary: Entry) -> Iterator[str]:
    """All sequential against all parallel at the largest budget; nothing where one of them is missing."""
    n = max(split_budgets(summary), default=0)
    rows = ratios(summary, n)
    sequential = next((row for row in rows if row["chains"] == 1), None)
    parallel = next((row for row in rows if row["chain_length"] == 1), None)
    if not sequential or not parallel:
        return
    paired = sequential["minus_parallel"]
    parts = [_split("over all problems", paired["difference"], paired["ci95"])]
    for where, place in (("on the easiest fifth", 0), ("on the hardest", -1)):
        parts.append(_split(where, paired["by_bin"][place], paired["by_bin_ci95"][place]))
    yield (
        f"One chain of {n} attempts minus {n} parallel first attempts, both selected by the verifier, for "
        f"{number(paired['flops_ratio'])} times the FLOPs: {'; '.join(parts)}."
    )


def parallel_sampler(summary: Entry) -> Iterator[str]:
    """What the parallel end is, so that it is not taken for the small model."""
    rows = [row for row in ratios(summary, max(split_budgets(summary), default=0)) if row["chain_length"] == 1]
    for row in rows:
        yield (
            f"{row['chains']} x 1 is {Names.of(summary).the('revision')} as a plain parallel sampler, which never sees "
            "an earlier attempt: against it a chain is not credited with what the fine-tuning did."
        )


def halves(summary: Entry) -> Iterator[str]:
    """Small against large with one mechanism at a time."""
    names = Names.of(summary)
    for name, entries in summary["exchange_halves"].items():
        differences = [
            (f"R = {each['R']:g}", each["small"] - each["large"], each["difference_ci95"]) for each in entries
        ]
        rival = names.the("large")
        yield f"With {HALVES.get(name, name)} {names.the('small')} is {judged(differences, rival)}."


def spending(summary: Entry, n: int) -> Iterator[str]:
    """How far under their budget some methods stay; nothing where all spend theirs."""
    rows = underspent(summary, n)
    if rows:
        least, most = (f"{number(r['usage']['generations'], 1)} ({family(r['label'])})" for r in (rows[0], rows[-1]))
        span = f"from {least} to {most}" if len(rows) > 1 else least
        yield (
            f"A budget N is what a method may spend, and some stop earlier: at N = {n}, {len(rows)} of them spent "
            f"{span} generations instead. Every curve is drawn at what was spent, not at N."
        )


def _split(where: str, difference: float, bounds: list[float]) -> str:
    return f"{where} {points(difference, bounds)}, {_SPLIT[verdict(bounds)]}"


def _rate(rate: Entry) -> str:
    return estimate(rate["value"], rate["ci95"])
