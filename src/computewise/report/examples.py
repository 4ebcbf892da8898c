"""Choose recorded search trees that show different cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from computewise.core import MODEL
from computewise.difficulty import rank_bins
from computewise.runs import Record, StrategyParams
from computewise.selection import Ballot, majority, weighted
from computewise.viewer.tree import ViewNode, from_records

MOST_LINES, LEAST_PRUNED = 45, 3
"""A tree with more merged nodes, or fewer pruned ones, is chosen only where no other shows the same case."""


@dataclass(frozen=True, slots=True)
class Example:
    """One problem's search tree, its answer, and the majority answer of independent samples of the same problem."""

    why: str
    problem: str
    settings: StrategyParams
    bin: int
    """Difficulty bin, 1 the easiest."""
    nodes: list[ViewNode]
    """Equal siblings merged, parents before children."""
    answer: str | None
    right: bool
    vote: str | None
    vote_right: bool
    samples: int
    right_answers: frozenset[str]
    """The answers that were graded right in any run of the problem."""

    @property
    def found(self) -> bool:
        """Whether a right answer was among the final candidates."""
        ends = [node for node in self.nodes if node.end is not None and node.state != "pruned"]
        return any(node.answer in self.right_answers for node in ends)

    @property
    def pruned(self) -> int:
        """The number of merged nodes that were discarded."""
        return sum(node.state == "pruned" for node in self.nodes)

    @property
    def outline(self) -> list[tuple[int, ViewNode]]:
        """The nodes that led to a final candidate, each with its depth, parents before children."""
        below: dict[str | None, list[ViewNode]] = defaultdict(list)
        for node in self.nodes:
            if node.state != "pruned":
                below[node.parent].append(node)

        def lines(parent: str | None, depth: int) -> Iterator[tuple[int, ViewNode]]:
            for node in below[parent]:
                yield depth, node
                yield from lines(node.id, depth + 1)

        return list(lines(None, 0))

    def drawing(self, prompt: str) -> dict[str, object]:
        """The data that the viewer draws."""
        return {
            "id": self.problem,
            "status": "done",
            "question": prompt,
            "solution": None,
            "stopped": None,
            "decisions": [],
            "nodes": msgspec.to_builtins(self.nodes),
        }


def examples(records: Sequence[Record], probes: int) -> list[Example]:
    """About four examples of different cases; the first of each kind in the order of the run.

    `probes` samples a problem estimate its difficulty: those of a run of their own, or the last of the pool.
    """
    every = list(_all(records, probes))
    hardest = max((each.bin for each in every), default=0)
    kinds: tuple[tuple[str, Callable[[Example], bool]], ...] = (
        ("Search is right where the majority is wrong", lambda each: each.right and not each.vote_right),
        ("Search is wrong where the majority is right", lambda each: not each.right and each.vote_right),
        (
            "A failure of the verifier: a right answer was among the final candidates and another was chosen",
            lambda each: not each.right and each.found,
        ),
        ("A failure on the hardest fifth", lambda each: not each.right and each.bin == hardest and not each.found),
        ("An easy problem", lambda each: each.right and each.bin == 1),
    )
    taken: list[Example] = []
    for why, shows in kinds:
        fitting = [each for each in every if shows(each) and each.problem not in {one.problem for one in taken}]
        if fitting:
            taken.append(
                replace(
                    min(fitting, key=lambda each: (len(each.nodes) > MOST_LINES, each.pruned < LEAST_PRUNED)), why=why
                )
            )
    return taken


def _all(records: Sequence[Record], probes: int) -> Iterator[Example]:
    """The examples of all records of the first seed that have a tree; bins are those of the analysis."""
    bins = _bins(records, probes)
    trees = [record for record in records if record.tree and record.problem in bins]
    first = min((record.seed for record in trees), default=0)
    pools = {record.problem: record for record in records if record.purpose == "pool" and record.seed == first}
    right: dict[str, set[str]] = defaultdict(set)
    for record in records:
        right[record.problem].update(one.answer for one in record.candidates if one.correct and one.answer is not None)
    for record in trees:
        pool = pools.get(record.problem)
        if record.seed != first or pool is None or record.tree is None:
            continue
        place = weighted([Ballot(one.answer, one.value) for one in record.candidates])
        chosen = None if place is None else record.candidates[place]
        voted = majority([Ballot(one.answer, one.value) for one in pool.candidates])
        yield Example(
            why="",
            problem=record.problem,
            settings=record.strategy,
            bin=bins[record.problem] + 1,
            nodes=from_records(record.tree, record.candidates, chosen),
            answer=chosen.answer if chosen else None,
            right=chosen is not None and chosen.correct,
            vote=None if voted is None else pool.candidates[voted].answer,
            vote_right=voted is not None and pool.candidates[voted].correct,
            samples=len(pool.candidates),
            right_answers=frozenset(right[record.problem]),
        )


def _bins(records: Sequence[Record], probes: int) -> dict[str, int]:
    """Oracle bins, 0 the easiest, of the problems that never failed."""
    lost = {record.problem for record in records if record.error}
    apart = any(record.purpose == "difficulty" for record in records)
    first = min((record.seed for record in records if record.purpose == "pool"), default=0)
    held = [
        record
        for record in records
        if record.candidates
        and record.problem not in lost
        and record.role == MODEL
        and (record.purpose == "difficulty" if apart else (record.purpose, record.seed) == ("pool", first))
    ]
    drawn = [record.candidates[-probes:] for record in held]
    ease = [sum(one.correct for one in each) / len(each) for each in drawn]
    ids = [record.problem for record in held]
    return dict(zip(ids, rank_bins(ease, ids).tolist(), strict=True))
