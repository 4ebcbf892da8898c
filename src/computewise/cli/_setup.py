"""From flags to a setup: which models, verifier and task a command opens, and what a person should know of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from computewise.cli import say
from computewise.cli._flags import DEFAULTS, ServerFlags, TaskFlags
from computewise.core import LARGE, MODEL, Role
from computewise.costs import Prices
from computewise.errors import UsageError
from computewise.http.client import api_key_for
from computewise.models.server.connect import ServerModelSpec, parameters_in, probe_model
from computewise.session import Limits
from computewise.setups.embedded import WEIGHTS, EmbeddedSpec
from computewise.setups.server import EMBEDDED_PRM, ServerSpec, SpendPolicy, SpendReport
from computewise.tasks.arithmetic import TASKS
from computewise.verifiers.base import ADDED_VERIFIERS, LOGPROB, MODEL_FREE, VerifierSpec, is_added
from computewise.verifiers.load import added_verifier
from computewise.verifiers.templates import find_template

NO_VERIFIER = "none"
CHOICES = "judge (any chat model), logprob (the model's own probabilities) or a reward model's name (docs/servers.md)"
DEVIATION = 0.02
"""Share by which a server's count of tokens may differ before it is reported: some leave out the end token."""


def server_setup(flags: ServerFlags, task: TaskFlags) -> ServerSpec:
    """Probe the servers that `flags` name; without a verifier answers are chosen by majority vote.

    Raises `UsageError` for flags that do not fit together or that a server cannot follow.
    """
    flags.check()
    assert flags.base_url is not None
    problems = task.spec()
    if flags.verifier == EMBEDDED_PRM and problems.name not in TASKS:
        raise UsageError(f"the verifier prm reads the embedded tasks only ({', '.join(TASKS)}): name another")
    small, large = asyncio.run(_probe(flags, flags.base_url))
    number: dict[str, Any] = {
        name: default if getattr(flags, name) is None else getattr(flags, name) for name, default in DEFAULTS.items()
    }
    given: dict[Role, tuple[float, ...] | None] = {MODEL: flags.prices, LARGE: flags.large_prices}
    prices = {role: Prices(*each) for role, each in given.items() if each is not None}
    return ServerSpec(
        small=small,
        large=large,
        verifier=_verifier(flags, small),
        problems=problems,
        bounds=Limits(steps=number["max_steps"], tokens=number["max_tokens"]),
        sampling_temperature=number["temperature"],
        prices=prices,
        spending=SpendPolicy(
            tokens=flags.max_total_tokens,
            dollars=flags.max_dollars,
            cache=None if flags.no_cache else flags.cache or default_cache(),
            concurrency=number["concurrency"],
            in_flight=number["in_flight"],
            account=print_spending,
        ),
    )


def embedded_setup(
    flags: ServerFlags, task: TaskFlags, *, solver: str = WEIGHTS[MODEL], weights: Path | None = None
) -> EmbeddedSpec:
    """The embedded models; raises `UsageError` for flags that only a server's models have."""
    flags.check()
    return EmbeddedSpec(
        name=task.embedded(),
        solver=flags.model or solver,
        judge=flags.verifier or EMBEDDED_PRM,
        weights=weights,
        sampling_temperature=DEFAULTS["temperature"] if flags.temperature is None else flags.temperature,
    )


def notes(flags: ServerFlags, spec: ServerSpec) -> list[str]:
    """A line each for what the flags left out: a verifier, and numbers of parameters."""
    found = [
        f"the number of parameters of {label} is unknown, so no FLOPs are counted: give it by {flag} 7e9"
        for label, flag in spec.unknown_sizes().items()
    ]
    found += temperature_notes(spec)
    if flags.verifier is None:
        found.append(
            "without a verifier the majority's answer is given; one would weight the votes and guide searches: "
            f"--verifier {CHOICES}"
        )
    return found


def temperature_notes(spec: ServerSpec) -> list[str]:
    """A line for each model and temperature that its server does not accept."""
    return [
        f"{label} does not accept a temperature of {asked:g}: it samples at "
        + ("its own temperature" if used is None else f"a temperature of {used:g}")
        for label, asked, used in spec.other_temperatures()
    ]


def print_spending(report: SpendReport) -> None:
    """Print on standard error what was sampled, what the cache saved, and a deviating count by the server."""
    seen = report.observed
    if not (seen.requests or report.saved.samples):
        return
    line = f"{report.model}: {seen.requests} requests, {seen.counted:,} tokens sampled"
    if report.saved.completion_tokens:
        line += f", {report.saved.completion_tokens:,} more taken from the cache"
    if seen.said and abs(seen.said - seen.counted) > DEVIATION * seen.counted:
        line += f"; the server reports {seen.said:,}"
    say(line, stderr=True)


def default_cache() -> Path:
    """The cache that all runs of this user share."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "computewise" / "generations.sqlite"


async def _probe(flags: ServerFlags, base_url: str) -> tuple[ServerModelSpec, ServerModelSpec | None]:
    small = await probe_model(
        base_url,
        flags.model,
        api_key=api_key_for(MODEL),
        parameters=flags.parameters,
        chat_template=flags.chat_template,
        thinking=not flags.no_thinking,
        thinking_budget=flags.thinking_budget,
    )
    if flags.large is None:
        return small, None
    elsewhere = (flags.large_url or base_url).rstrip("/") != base_url.rstrip("/")
    large = await probe_model(
        flags.large_url or base_url,
        flags.large,
        api_key=api_key_for(LARGE if elsewhere else MODEL),
        parameters=flags.large_parameters,
        thinking=not flags.no_thinking,
    )
    return small, large


def _verifier(flags: ServerFlags, small: ServerModelSpec) -> VerifierSpec | None:
    """A judge is the model itself unless another is named."""
    name = flags.verifier or NO_VERIFIER
    if name == EMBEDDED_PRM:
        return None
    if name == LOGPROB and not small.capabilities.logprobs:
        raise UsageError(f"{small.capabilities.server} gives no log-probabilities to judge by: name another verifier")
    if name in MODEL_FREE:
        return VerifierSpec(name)
    if is_added(name):
        if flags.verifier_url or flags.verifier_model or flags.verifier_path:
            raise UsageError(f"the verifier {name} is Python: it takes no --verifier-url, -model or -path")
        size = added_verifier(name).parameters if flags.verifier_parameters is None else flags.verifier_parameters
        return VerifierSpec(name, parameters=None if size is None else round(size))
    others = (*MODEL_FREE, *ADDED_VERIFIERS, "your own module:object")
    template, model = find_template(name, others), flags.verifier_model
    if template.judge is not None and "/" not in template.name and flags.verifier_path is None:
        if model is None and flags.verifier_url is not None:
            raise UsageError(f"name the model that is the verifier {name} at --verifier-url by --verifier-model")
        model = model or small.model
    size = flags.verifier_parameters
    if size is None:
        size = small.parameters if model == small.model else parameters_in(model or template.name)
    if size is None and flags.verifier_path is not None:
        size = 0  # the weights are counted when they are read
    return VerifierSpec(
        name,
        model=model,
        base_url=None if flags.verifier_path else flags.verifier_url or small.base_url,
        path=flags.verifier_path,
        parameters=None if size is None else round(size),
    )
