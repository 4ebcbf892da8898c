"""What a request cost, beside best-of-N at its budget: numbers for clients and the page, and metrics for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from computewise.controller.controller import Controller
from computewise.controller.dial import Dial
from computewise.core import Candidate, Usage
from computewise.costs import Flops, flops, known_flops
from computewise.serve.admission import Queue
from computewise.serve.planning import ByController, FixedStrategy, PassThrough
from computewise.serve.request import Baseline, CostSummary, DifficultyEstimate, RequestState
from computewise.strategies import BestOfN, Single, strategy_label


def strategy_of(work: RequestState) -> str:
    """The strategy with its settings, for a person."""
    match work.plan:
        case PassThrough():
            return "none"
        case FixedStrategy(strategy=strategy):
            return strategy_label(strategy)
        case ByController():
            return "policy"


def strategy_name(work: RequestState) -> str:
    """The strategy's name without settings, for the label of a metric."""
    return work.plan.strategy.name if isinstance(work.plan, FixedStrategy) else strategy_of(work)


def summarize_costs(work: RequestState) -> CostSummary:
    """What the request has cost; kept in `work` once the request has ended."""
    if work.costs is not None:
        return work.costs
    every = [c for ledger in work.ledgers.values() for c in ledger.explored.values()]
    usages = work.usages()
    spent = _flops(work, usages)
    chosen = work.answer.chosen if work.answer else None
    found = CostSummary(
        usage=sum(usages.values(), Usage()),
        usages=usages,
        flops=spent,
        generations=_generations(work, every),
        shown=0 if chosen is None else chosen.tokens,
        difficulty=_difficulty(work, every),
        baseline=None if spent is None else _baseline(work, every, spent.total),
    )
    if work.answer is not None or work.ended is not None:
        work.costs = found
    return found


def _flops(work: RequestState, usages: Mapping[str, Usage]) -> Flops | None:
    """The FLOPs of all models together; None where the size of one of them is unknown."""
    each = []
    for model, usage in usages.items():
        spent = known_flops(usage, work.parameters[model], work.verifier_parameters)
        if spent is None:
            return None
        each.append(spent)
    return Flops(*(sum(getattr(one, name) for one in each) for name in Flops.__slots__))


def cost_in_draws(work: RequestState, fitted: Controller) -> float | None:
    """What a request by the controller cost, in draws of its first arm; None where its currency is not known here."""
    match fitted.currency:
        case "samples":
            return float(sum(decision.action.arm is not None for decision in work.decisions))
        case "tokens":
            return summarize_costs(work).usage.completion_tokens / fitted.unit
        case "FLOPs":
            spent = summarize_costs(work).flops
            return None if spent is None else spent.total / fitted.unit
        case _:
            return None


def _generations(work: RequestState, every: Sequence[Candidate]) -> int:
    if work.answer is None:
        return sum(c.end == "stop" for c in every)
    return sum(c.id in work.answer.answers and c.end != "failed" for c in every)


def _difficulty(work: RequestState, every: Sequence[Candidate]) -> DifficultyEstimate | None:
    """Model-predicted difficulty (Snell et al. 2024, section 3.2), from this request's own solutions.

    One minus the verifier's mean value of those that ended; without a verifier, from two on, the share that does not
    answer as the chosen one does.
    """
    if work.answer is None:
        return None
    answers = work.answer.answers
    ended = [c for c in every if c.end == "stop" and c.id in answers]
    if work.valued is not None and not work.unread:
        values = [work.valued(c) for c in ended if len(c.scores) == len(c.steps)]
        return DifficultyEstimate(min(1.0, max(0.0, 1 - fmean(values))), len(values)) if values else None
    if len(ended) < 2 or work.answer.answer is None:
        return None
    return DifficultyEstimate(fmean(answers[c.id] != work.answer.answer for c in ended), len(ended))


def _baseline(work: RequestState, every: Sequence[Candidate], spent: float) -> Baseline | None:
    """Best-of-N beside `spent` FLOPs; None where no solution has ended yet, or a size is unknown."""
    if isinstance(work.plan, PassThrough) or not work.parameters:
        return None
    n = max(1, round(work.plan.generations))
    name = strategy_label(BestOfN(n))
    if isinstance(work.plan, FixedStrategy) and isinstance(work.plan.strategy, BestOfN | Single):
        return Baseline(name, spent)
    lengths = [c.tokens for c in every if c.end == "stop"]
    if not lengths:
        return None
    # Best-of-N reads the prompt once too.
    costs = {id: cost for ledger in work.ledgers.values() for id, cost in ledger.costs.items()}
    read = max(costs[c.id].prompt_tokens for c in every if c.parent is None and c.id in costs)
    sizes = next(iter(work.parameters.values())), work.verifier_parameters
    if sizes[0] is None or sizes[1] is None:
        return None
    sampled = round(n * fmean(lengths))
    usage = Usage(n, n * read, (n - 1) * read, sampled, n * read + sampled, (n - 1) * read)
    return Baseline(name, flops(usage, sizes[0], sizes[1]).total)


def failures(work: RequestState) -> list[str]:
    """The errors by which samples were lost, each once."""
    texts = [" ".join(str(error).split()) for error in work.failed_samples.errors]
    return list(dict.fromkeys([*texts, *(f"verifier: {text}" for text in work.unread)]))


def usage_of(work: RequestState) -> dict[str, Any]:
    """OpenAI's `usage`, with everything sampled; tokens that the client does not see count as reasoning."""
    took = summarize_costs(work)
    usage = took.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": max(0, usage.completion_tokens - took.shown),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def account(work: RequestState) -> dict[str, Any]:
    """The object `computewise` of an answer."""
    assert work.answer is not None
    took, plan = summarize_costs(work), work.plan
    usage, spent, hard, beside = took.usage, took.flops, took.difficulty, took.baseline
    return {
        "trace": work.id,
        "strategy": strategy_of(work),
        "price": plan.price if isinstance(plan, ByController) else None,
        "answer": work.answer.answer,
        "confidence": work.answer.confidence,
        "difficulty": None if hard is None else {**_plain(hard), "bin": hard.bin},
        "generations": took.generations,
        "samples": usage.samples,
        "verifier_tokens": usage.verifier_tokens,
        "verifier_calls": work.verifier_calls,
        "flops": None if spent is None else {**_plain(spent), "total": spent.total},
        "baseline": None if beside is None else _plain(beside),
        "saved": took.saved,
        "models": {name: _plain(one) for name, one in took.usages.items()},
        "exhausted": work.answer.exhausted,
        "stopped": work.answer.stopped,
        "lost_samples": work.failed_samples.samples,
        "failures": failures(work),
    }


def _plain(held: Flops | Usage | DifficultyEstimate | Baseline) -> dict[str, Any]:
    return {name: getattr(held, name) for name in held.__slots__}


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self, queue: Queue) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "computewise_requests",
            "Requests by how they ended.",
            ["endpoint", "strategy", "budget", "status"],
            registry=registry,
        )
        self._refused = Counter(
            "computewise_refused", "Requests refused before they began.", ["status"], registry=registry
        )
        self._seconds = Histogram(
            "computewise_request_seconds", "Time to an answer.", ["strategy"], buckets=_SECONDS, registry=registry
        )
        self._samples = Histogram(
            "computewise_request_generations",
            "Generations for an answer.",
            ["strategy"],
            buckets=_SAMPLES,
            registry=registry,
        )
        self._amplification = Histogram(
            "computewise_token_amplification", "Sampled tokens by token shown.", buckets=_SAMPLES, registry=registry
        )
        tokens = Counter("computewise_tokens", "Tokens by what they were.", ["kind"], registry=registry)
        self._tokens = {kind: tokens.labels(kind) for kind in ("prompt", "cached", "completion", "verifier")}
        self._flops = Counter("computewise_flops", "Floating-point operations.", ["part"], registry=registry)
        self._calls = Counter("computewise_verifier_calls", "Calls of the verifier.", registry=registry)
        self._lost = Counter("computewise_lost_samples", "Samples a server lost.", registry=registry)
        self._difficulty = Counter(
            "computewise_difficulty",
            "Answers by estimated difficulty, 1 the easiest fifth.",
            ["bin"],
            registry=registry,
        )
        self._decisions = Counter("computewise_decisions", "Decisions of the policy.", ["kind"], registry=registry)
        labels = ["asked"]
        self._price = Gauge("computewise_dial_price", "Running price of a mean cost.", labels, registry=registry)
        self._mean = Gauge("computewise_dial_mean_cost", "Mean cost so far, in draws.", labels, registry=registry)
        for name, text, read in (
            ("requests_in_flight", "Requests worked on.", lambda: queue.in_flight),
            ("requests_waiting", "Requests in the queue.", lambda: queue.waiting),
            ("tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks())),
        ):
            Gauge(f"computewise_{name}", text, registry=registry).set_function(read)

    def dialled(self, dial: Dial) -> None:
        """Show a running price and what it came to."""
        self._price.labels(f"{dial.target:g}").set(dial.now)
        self._mean.labels(f"{dial.target:g}").set(dial.mean)

    def refused(self, status: int) -> None:
        """Count a request that was refused."""
        self._refused.labels(str(status)).inc()

    def ended(self, work: RequestState) -> None:
        """Count a request that has ended."""
        plan, strategy = work.plan, strategy_name(work)
        budget = "" if isinstance(plan, PassThrough) else _bucket(plan.generations)
        self._requests.labels(work.request.endpoint, strategy, budget, work.status).inc()
        took = summarize_costs(work)
        usage, spent = took.usage, took.flops
        for kind, tokens in (
            ("prompt", usage.prompt_tokens - usage.cached_prompt_tokens),
            ("cached", usage.cached_prompt_tokens),
            ("completion", usage.completion_tokens),
            ("verifier", usage.verifier_tokens),
        ):
            self._tokens[kind].inc(tokens)
        for part in ("prompt", "completion", "verifier") if spent else ():
            self._flops.labels(part).inc(getattr(spent, part))
        self._calls.inc(work.verifier_calls)
        self._lost.inc(work.failed_samples.samples)
        for decision in work.decisions:
            self._decisions.labels(decision.action.kind).inc()
        if work.status in ("done", "passed"):
            self._seconds.labels(strategy).observe(work.seconds)
        if work.status == "done":
            self._samples.labels(strategy).observe(took.generations)
            if took.shown:
                self._amplification.observe(usage.completion_tokens / took.shown)
            if took.difficulty is not None:
                self._difficulty.labels(str(took.difficulty.bin)).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus's format."""
        return generate_latest(self.registry)


def _bucket(generations: float) -> str:
    """The next larger of a few sizes, which bounds the number of series."""
    return str(next((size for size in _BUDGETS if generations <= size), f"above {_BUDGETS[-1]}"))
