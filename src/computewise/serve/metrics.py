"""The metrics of a server, for Prometheus."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from computewise.serve.accounting import strategy_name, summarize_costs
from computewise.serve.admission import Queue
from computewise.serve.planning import PassThrough
from computewise.serve.request import RequestState

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
        for name, text, read in (
            ("requests_in_flight", "Requests worked on.", lambda: queue.in_flight),
            ("requests_waiting", "Requests in the queue.", lambda: queue.waiting),
            ("tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks())),
        ):
            Gauge(f"computewise_{name}", text, registry=registry).set_function(read)

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
