"""Recent requests for the page; a client sees its own, and their trees while they grow."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from computewise.controller.solve import why
from computewise.core import Candidate, Usage
from computewise.serve.accounting import failures, strategy_of, summarize_costs
from computewise.serve.planning import ByController, PassThrough
from computewise.serve.request import Answer, RequestState
from computewise.viewer.tree import from_candidates

MOST_TOKENS = 2_000_000
"""The most sampled tokens of ended requests that are kept: some tens of megabytes."""
MOST_NODES = 2_000
_START = 200
_ENDED = ("done", "failed", "cancelled", "passed")


class History:
    """The last `most` requests; of those that have ended the oldest are dropped first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._works: OrderedDict[str, RequestState] = OrderedDict()
        self._over: OrderedDict[str, int] = OrderedDict()
        self._tokens = 0

    def __contains__(self, id: str) -> bool:
        return id in self._works

    def add(self, work: RequestState) -> None:
        """Make the request visible."""
        self._works[work.id] = work

    def ended(self, work: RequestState) -> None:
        """Keep what is needed to show it, and drop the oldest where there are too many."""
        work.forget()
        self._over[work.id] = tokens = work.usage.completion_tokens
        self._tokens += tokens
        while self._over and (len(self._over) > self._most or self._tokens > MOST_TOKENS):
            oldest, tokens = self._over.popitem(last=False)
            self._tokens -= tokens
            del self._works[oldest]

    def recent(self, client: str, limit: int) -> list[dict[str, Any]]:
        """Summaries of a client's requests, newest first."""
        own = [work for work in reversed(self._works.values()) if work.client == client]
        return [summary(work) for work in own[:limit]]

    def find(self, client: str, id: str) -> RequestState | None:
        """One request of a client; None for an unknown one, and for another client's."""
        work = self._works.get(id)
        return work if work is not None and work.client == client else None


def version(work: RequestState) -> int:
    """A number that grows whenever there is something new to see."""
    seen = sum(len(ledger.explored) for ledger in work.ledgers.values()) + len(work.decisions)
    usage = work.usage
    order = 2 if work.status in _ENDED else int(work.status == "running")
    return order * 10**12 + seen + usage.completion_tokens + usage.verifier_tokens


def summary(work: RequestState) -> dict[str, Any]:
    """One entry of the list."""
    took, solved = summarize_costs(work), work.answer
    usage, spent, hard, beside = took.usage, took.flops and took.flops.total, took.difficulty, took.baseline
    return {
        "id": work.id,
        "version": version(work),
        "created": work.created,
        "seconds": work.seconds,
        "endpoint": work.request.endpoint,
        "stream": work.request.stream,
        "model": work.request.model,
        "prompt": work.request.prompt[:_START],
        "status": work.status,
        "strategy": strategy_of(work),
        "effort": work.request.effort,
        "answer": solved.answer if solved else None,
        "confidence": solved.confidence if solved else None,
        "difficulty": None if hard is None else {"estimate": hard.estimate, "samples": hard.samples},
        "generations": took.generations,
        "completion_tokens": usage.completion_tokens,
        "verifier_tokens": usage.verifier_tokens,
        "flops": spent,
        "baseline": None if beside is None else {"name": beside.name, "flops": beside.flops},
        "saved": took.saved if work.status == "done" else None,
        "failures": failures(work),
        "error": work.error,
        "why_passed": work.plan.why if isinstance(work.plan, PassThrough) else None,
    }


async def detail(work: RequestState) -> dict[str, Any]:
    """All that the page shows of a request; the slow part runs in a thread, on copies."""
    head, solved, over = summary(work), work.answer, work.status in _ENDED
    explored, decisions = work.explored(), list(work.decisions)
    costs = {id: usage for ledger in work.ledgers.values() for id, usage in ledger.costs.items()}
    shown, renamed = await asyncio.to_thread(_nodes, work, solved, over, _cut(solved, explored), costs)
    price = work.plan.price if isinstance(work.plan, ByController) else 0.0
    return {
        **head,
        "question": work.request.prompt,
        "solution": solved.text if solved else None,
        "stopped": solved.stopped if solved else None,
        "decisions": [
            {
                "kind": decision.action.kind,
                "arm": decision.action.arm,
                "worth": decision.action.worth if abs(decision.action.worth) < 1e9 else None,
                "confidence": decision.action.confidence,
                "leader": decision.leader,
                "why": why(decision, price),
                "drawn": [{"answer": one.answer, "value": one.value} for one in decision.solutions],
                "nodes": list(dict.fromkeys(renamed[c.id] for c in decision.drawn if c.id in renamed)),
            }
            for decision in decisions
        ],
        "nodes": shown,
        "truncated": max(0, len(explored) - MOST_NODES),
    }


def _cut(solved: Answer | None, explored: list[Candidate]) -> list[Candidate]:
    """As many candidates as can be shown, in their order; the ancestors of final candidates are kept first."""
    if len(explored) <= MOST_NODES:
        return explored
    by_id, first = {candidate.id: candidate for candidate in explored}, dict[str, None]()
    for id in solved.answers if solved else ():
        at = by_id.get(id)
        while at is not None and at.id not in first:
            first[at.id] = None
            at = by_id.get(at.parent or "")
    kept = set([*first, *(id for id in by_id if id not in first)][:MOST_NODES])
    return [candidate for candidate in explored if candidate.id in kept]


def _nodes(
    work: RequestState, solved: Answer | None, over: bool, explored: list[Candidate], costs: dict[str, Usage]
) -> tuple[list[Any], dict[str, str]]:
    return from_candidates(
        explored,
        final=list(solved.answers) if solved else [] if over else None,
        chosen=solved.chosen.id if solved and solved.chosen else None,
        answer=work.answer_of,
        value=work.valued,
        arms={f"{number}:": arm for number, arm in enumerate(work.arms) if arm},
        costs=costs,
    )
