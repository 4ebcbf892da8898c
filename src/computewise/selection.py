"""Select an answer by votes, aggregate a verifier's step scores to a candidate's value, and rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from computewise.errors import UsageError

T = TypeVar("T")


class Ballot(NamedTuple):
    """One candidate's answer, its value, and the chain of revisions that it belongs to."""

    answer: str | None
    value: float
    chain: str = ""


Select = Callable[[Sequence[Ballot]], int | None]


def best(ballots: Sequence[Ballot]) -> int | None:
    """The candidate of the highest value ("naive" best-of-N)."""
    answered = [index for index, ballot in enumerate(ballots) if ballot.answer is not None]
    return max(answered, key=lambda index: ballots[index].value, default=None)


def weighted(ballots: Sequence[Ballot]) -> int | None:
    """Best-of-N weighted: the answer whose candidates' values sum highest (Snell et al. 2024, section 5.1)."""
    return _elect(ballots, lambda ballot: ballot.value)


def majority(ballots: Sequence[Ballot]) -> int | None:
    """Self-consistency: the most frequent answer; no verifier needed."""
    return _elect(ballots, lambda ballot: 1.0)


def hierarchical(ballots: Sequence[Ballot]) -> int | None:
    """Best-of-N weighted inside each chain, then across the chains' winners (Snell et al. 2024, section 6.1)."""
    chains: dict[str, list[int]] = {}
    for index, ballot in enumerate(ballots):
        chains.setdefault(ballot.chain, []).append(index)
    winners = []
    for members in chains.values():
        winner = weighted([ballots[index] for index in members])
        if winner is not None:
            winners.append(members[winner])
    winners.sort()
    chosen = weighted([ballots[index] for index in winners])
    return None if chosen is None else winners[chosen]


def _elect(ballots: Sequence[Ballot], weight: Callable[[Ballot], float]) -> int | None:
    totals: dict[str, float] = {}
    for ballot in ballots:
        if ballot.answer is not None:
            totals[ballot.answer] = totals.get(ballot.answer, 0.0) + weight(ballot)
    if not totals:
        return None
    winner = max(totals, key=totals.__getitem__)
    return best([ballot if ballot.answer == winner else Ballot(None, 0.0) for ballot in ballots])


def vote_share(ballots: Sequence[Ballot], answer: str | None, alone: float | None) -> float | None:
    """The answer's share of the vote, weighted by value; `alone` where fewer than two candidates answered.

    None where no candidate that answered has a value above 0.
    """
    votes = [ballot for ballot in ballots if ballot.answer is not None]
    if len(votes) < 2:
        return alone
    total = sum(ballot.value for ballot in votes)
    return sum(ballot.value for ballot in votes if ballot.answer == answer) / total if total else None


SELECTIONS: dict[str, Select] = {"weighted": weighted, "majority": majority, "best": best, "hierarchical": hierarchical}


def find_selection(name: str) -> Select:
    """The selection of that name."""
    try:
        return SELECTIONS[name]
    except KeyError:
        raise UsageError(f"unknown selection {name!r}: allowed are {', '.join(SELECTIONS)}") from None


AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "prod": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
}


def check_aggregation(name: str) -> None:
    """Raise `UsageError` for a name that is not in `AGGREGATIONS`."""
    if name not in AGGREGATIONS:
        raise UsageError(f"unknown aggregation {name!r}: allowed are {', '.join(AGGREGATIONS)}")


def aggregate(scores: Sequence[float], how: str) -> float:
    """One of `AGGREGATIONS`; 0 without a score."""
    return float(AGGREGATIONS[how](scores)) if scores else 0.0


def top(items: Sequence[T], count: int, value: Callable[[T], float]) -> list[T]:
    """The `count` items of highest value, best first, earlier ones first among equals; all where there are fewer."""
    return sorted(items, key=value, reverse=True)[:count]
