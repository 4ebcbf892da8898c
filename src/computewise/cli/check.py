"""`computewise check`."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from computewise.cli import open_console, say
from computewise.cli._flags import SERVER, TASK, ServedFlags, ServerFlags, TaskFlags, with_setup, write_setup
from computewise.cli._setup import server_setup
from computewise.core import MODEL, Candidate, Model
from computewise.errors import ModelError, RunError, UsageError
from computewise.models.server.capabilities import Capabilities
from computewise.models.server.connect import ServerModelSpec
from computewise.samples import mean_token_probability, repeated_samples
from computewise.setups.server import ServerSpec
from computewise.tasks.load import QUESTION

ANYTHING = "Write a few sentences about anything you like."
TRIALS, TRIAL_TOKENS = 4, 96
"""Samples of that text, and their tokens, that show whether samples differ."""
RUNGS = {
    "A": "raw prompts, and the server says what ended a step",
    "B": "raw prompts; whether a step or the solution ended shows in the next request",
    "C": "chat that goes on from the assistant's message",
    "D": "whole solutions only",
}


def check(
    *,
    save: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    served: Annotated[ServedFlags, Parameter(name="*", group=SERVER)] = ServedFlags(),
    task_flags: Annotated[TaskFlags, Parameter(name="*", group=TASK)] = TaskFlags(),
) -> None:
    """Find out what an OpenAI-compatible server can do with a model, and which strategies that allows.

    It sends a dozen requests of a few tokens, and samples four short texts to see whether they differ, with the key in
    the environment variable COMPUTEWISE_API_KEY. A verifier that is named has to tell a right solution from a wrong
    one.

    Parameters
    ----------
    save:
        Write the flags and what was found to this TOML file, for --setup of solve, study and serve. It holds no key.
    as_json:
        Print one JSON object.

    """
    flags, task_flags = with_setup(ServerFlags.of(served), task_flags)
    if flags.base_url is None:
        raise UsageError("name the server: --base-url http://localhost:8000/v1")
    spec = server_setup(replace(flags, no_cache=True), task_flags.named(QUESTION))
    verifier, seen = asyncio.run(_try(replace(spec, spending=replace(spec.spending, account=None))))
    found = spec.small
    if save is not None:
        held = replace(flags, base_url=found.base_url, model=found.model, parameters=found.parameters)
        _write(save, write_setup(held, task_flags))
    if as_json:
        plain = {**found.to_dict(), "strategies": found.capabilities.strategies(), "notes": seen}
        print(json.dumps({**plain, "verifier": verifier} if verifier else plain, indent=2))
    else:
        _show(found, verifier)
        if save is not None:
            say(f"written to {save}: computewise solve QUESTION --setup {save}")
        for note in seen:
            open_console().print(note, style="yellow")
    for label, flag in spec.unknown_sizes().items():
        say(
            f"computewise: the number of parameters of {label} is unknown: FLOPs are counted with {flag} 7e9",
            stderr=True,
        )


async def _try(spec: ServerSpec) -> tuple[str | None, list[str]]:
    """The verifier's name, once it has passed its self-check, None for "none"; and what a few samples show."""
    async with spec.open() as setup:
        verifier = setup.verifier()
        return None if verifier is None else verifier.name, await _sampled(setup.model(MODEL), spec.temperature())


async def _sampled(model: Model, temperature: float) -> list[str]:
    """What is to be said of a few beginnings of a text that may go on in any way."""
    try:
        found = await model.sample(
            ANYTHING, "", TRIALS, stop=None, max_tokens=TRIAL_TOKENS, temperature=temperature, seeds=range(TRIALS)
        )
    except ModelError as error:
        return [f"{TRIALS} samples of a trial failed: {error}"]
    notes = dict.fromkeys(note for one in found for note in one.notes)
    drawn = [Candidate(str(at), None, one.steps, thinking=one.thinking) for at, one in enumerate(found)]
    chances = [math.nan if one.tokens == 0 else mean_token_probability(one) ** one.tokens for one in drawn]
    texts = [(c.thinking + c.text, None if math.isnan(p) else p) for c, p in zip(drawn, chances, strict=True)]
    alike = repeated_samples([texts], f"{TRIALS} samples of a trial") if temperature > 0 else None
    return [*notes] if alike is None else [*notes, alike]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None


def _show(served: ServerModelSpec, verifier: str | None) -> None:
    found = served.capabilities
    console = open_console()
    version = f" {found.version}" if found.version else ""
    console.print(f"{served.model} at {served.base_url}: {found.server}{version}")
    table = Table(show_header=False, box=None)
    for name, value in _facts(served, found).items():
        table.add_row(name, value)
    console.print(table)
    if verifier is not None:
        console.print(f"verifier {verifier}: it tells a right solution from a wrong one")
    console.print(f"rung {found.rung}: {RUNGS[found.rung]}", style="bold")
    strategies = found.strategies()
    allowed = [name for name, why in strategies.items() if why is None]
    refused = [name for name, why in strategies.items() if why is not None]
    console.print(f"allowed: {', '.join(allowed)}")
    if refused:
        console.print(f"refused: {', '.join(refused)}: {found.why_no_steps}", style="yellow")


def _facts(served: ServerModelSpec, found: Capabilities) -> dict[str, str]:
    prefill = "no"
    if found.prefill:
        prefill = "yes" if found.keeps_separator else "yes, but the blank line that ends a step is trimmed"
    return {
        "parameters": "unknown" if served.parameters is None else f"{served.parameters:.3g}",
        "context": f"{found.context} tokens" if found.context else "not said",
        "chat": _yes(found.chat),
        "raw completions": _yes(found.raw),
        "chat template": found.template or "not known here",
        "token-id prompts": _yes(found.token_ids),
        "n > 1": f"up to {found.n} a request" if found.n > 1 else "no: one request for each",
        "says which stop fired": _yes(found.says_which_stop),
        "goes on from a prefix in chat": prefill,
        "log-probabilities": _yes(found.logprobs),
        "cached tokens in usage": _yes(found.cached_tokens),
        "thinks before it answers": _yes(found.thinks),
        **({"requests differ": "; ".join(found.told)} if found.told else {}),
        "temperature 0": _temperature(found),
    }


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _temperature(found: Capabilities) -> str:
    lowest = found.temperature(0.0)
    if lowest is None:
        return "no temperature at all: greedy samples at the server's own"
    return "yes" if lowest == 0 else f"no: greedy samples at {lowest:g}"
