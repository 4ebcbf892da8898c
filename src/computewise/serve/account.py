"""What a request took, beside what best-of-N at its budget would have: numbers for clients, metrics and the page."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from computewise.compute import Flops
from computewise.core import Candidate, Usage
from computewise.serve.choosing import ByPolicy, Fixed, Passing
from computewise.serve.work import Work
from computewise.session import Ledger
from computewise.strategies import BestOfN, Single, label


@dataclass(frozen=True, slots=True)
class Difficulty:
    """`estimate` is how likely one solution is wrong (1 the hardest), from `samples` of this request."""

    estimate: float
    samples: int

    @property
    def bin(self) -> int:
        """A fifth of that scale, 1 the easiest."""
        return min(5, int(self.estimate * 5) + 1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Best-of-N where N is what the request was given, priced by its own solutions."""

    name: str
    flops: float


def strategy_of(work: Work) -> str:
    """For a person."""
    match work.plan:
        case Passing():
            return "none"
        case Fixed(strategy=strategy):
            return label(strategy)
        case ByPolicy():
            return "policy"


def strategy_name(work: Work) -> str:
    """Without its settings: one of a few, for a metric's label."""
    return work.plan.strategy.name if isinstance(work.plan, Fixed) else strategy_of(work)


def difficulty(work: Work) -> Difficulty | None:
    """Model-predicted difficulty (Snell et al. 2024, section 3.2), from this request's own solutions.

    One minus the verifier's mean value of those that ended; without a verifier, from two on, the share that does not
    answer as the chosen one does.
    """
    if work.solved is None:
        return None
    ended = [c for c in work.explored() if c.id in work.solved.answers and c.end == "stop"]
    if work.valued is not None:
        values = [work.valued(c) for c in ended if len(c.scores) == len(c.steps)]
        return Difficulty(min(1.0, max(0.0, 1 - fmean(values))), len(values)) if values else None
    if len(ended) < 2 or work.solved.answer is None:
        return None
    return Difficulty(fmean(work.solved.answers[c.id] != work.solved.answer for c in ended), len(ended))


def baseline(work: Work, spent: float) -> Baseline | None:
    """Of a request that took `spent` FLOPs; None where nothing has ended, and nobody knows how long a solution is."""
    if isinstance(work.plan, Passing) or not work.parameters:
        return None
    n = max(1, round(work.plan.generations))
    name = label(BestOfN(n))
    if isinstance(work.plan, Fixed) and isinstance(work.plan.strategy, BestOfN | Single):
        return Baseline(name, spent)
    lengths = [_length(c) for c in work.explored() if c.end == "stop"]
    if not lengths:
        return None
    # The prompt is read once, as it is here.
    read = max(cost.prompt_tokens for ledger in work.ledgers.values() for cost in _first_costs(ledger))
    each = next(iter(work.parameters.values())) + work.verifier_parameters
    return Baseline(name, (read + n * fmean(lengths)) * 2.0 * each)


def saved(spent: float, beside: Baseline | None) -> float | None:
    """The share of the baseline's FLOPs that was not spent; negative where more was."""
    return None if beside is None or not beside.flops else 1 - spent / beside.flops


def generations(work: Work) -> int:
    """Solutions that the answer was selected from; while the search goes on, those that have ended."""
    every = work.explored()
    if work.solved is None:
        return sum(c.end == "stop" for c in every)
    return sum(c.id in work.solved.answers and c.end != "failed" for c in every)


def shown_tokens(work: Work) -> int:
    """Sampled tokens of the solution that the client sees."""
    chosen = work.solved.chosen if work.solved else None
    return 0 if chosen is None else _length(chosen)


def failures(work: Work) -> list[str]:
    """What was lost on the way, each once."""
    texts = [" ".join(str(error).split()) for error in work.lost.errors]
    return list(dict.fromkeys([*texts, *(f"verifier: {text}" for text in work.unread)]))


def usage_of(work: Work) -> dict[str, Any]:
    """OpenAI's `usage`, with all that was spent; what the client does not see was spent on reasoning."""
    usage = work.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": max(0, usage.completion_tokens - shown_tokens(work)),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def account(work: Work) -> dict[str, Any]:
    """The object `computewise` of an answer."""
    assert work.solved is not None
    usage, spent, hard, plan = work.usage, work.flops(), difficulty(work), work.plan
    beside = baseline(work, spent.total)
    return {
        "trace": work.id,
        "strategy": strategy_of(work),
        "price": plan.price if isinstance(plan, ByPolicy) else None,
        "answer": work.solved.answer,
        "confidence": work.solved.confidence,
        "difficulty": None if hard is None else {**_plain(hard), "bin": hard.bin},
        "generations": generations(work),
        "samples": usage.samples,
        "verifier_tokens": usage.verifier_tokens,
        "verifier_calls": work.verifier_calls,
        "flops": {**_plain(spent), "total": spent.total},
        "baseline": None if beside is None else _plain(beside),
        "saved": saved(spent.total, beside),
        "models": {name: _plain(one) for name, one in work.usages().items()},
        "exhausted": work.solved.exhausted,
        "stopped": work.solved.stopped,
        "lost_samples": work.lost.samples,
        "failures": failures(work),
    }


def _plain(held: Flops | Usage | Difficulty | Baseline) -> dict[str, Any]:
    return {name: getattr(held, name) for name in held.__slots__}


def _first_costs(ledger: Ledger) -> list[Usage]:
    """Of what was sampled right behind the prompt."""
    return [ledger.costs[c.id] for c in list(ledger.explored.values()) if c.parent is None and c.id in ledger.costs]


def _length(candidate: Candidate) -> int:
    return sum(step.tokens for step in candidate.steps)
