"""`computewise check`."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from computewise.core import MODEL
from computewise.http.client import api_key_for
from computewise.models.server.capabilities import Capabilities
from computewise.models.server.connect import ServerModelSpec, probe_model

RUNGS = {
    "A": "raw prompts, and the server says what ended a step",
    "B": "raw prompts; whether a step or the solution ended shows in the next request",
    "C": "chat that goes on from the assistant's message",
    "D": "whole solutions only",
}


def check(
    *,
    base_url: str,
    model: str | None = None,
    parameters: float | None = None,
    chat_template: str | None = None,
    thinking: Annotated[bool, Parameter(negative="--no-thinking")] = True,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Find out what an OpenAI-compatible server can do with a model, and which strategies that allows.

    A dozen requests of a few tokens. A key is taken from the environment variable COMPUTEWISE_API_KEY.

    Parameters
    ----------
    base_url:
        Such as http://localhost:8000/v1.
    model:
        Its name there; may be left out where there is only one.
    parameters:
        How many it has, such as 1.5e9, where neither the server nor the name says so.
    chat_template:
        A Jinja file, or a model's directory, to render prompts with; "plain" for a base model that has none. Without
        it the server is asked to render, where it can.
    thinking:
        --no-thinking tells a reasoning model's template not to let it think.
    as_json:
        Print one JSON object.

    """
    served = asyncio.run(
        probe_model(
            base_url,
            model,
            api_key=api_key_for(MODEL),
            parameters=parameters,
            chat_template=chat_template,
            thinking=thinking,
        )
    )
    if as_json:
        print(json.dumps({**served.to_dict(), "strategies": served.capabilities.strategies()}, indent=2))
    else:
        _show(served)


def _show(served: ServerModelSpec) -> None:
    found = served.capabilities
    console = Console()
    version = f" {found.version}" if found.version else ""
    console.print(f"{served.model} at {served.base_url}: {found.server}{version}", markup=False, highlight=False)
    table = Table(show_header=False, box=None)
    for name, value in _facts(served, found).items():
        table.add_row(name, value)
    console.print(table)
    console.print(f"rung {found.rung}: {RUNGS[found.rung]}", style="bold", highlight=False)
    strategies = found.strategies()
    allowed = [name for name, why in strategies.items() if why is None]
    refused = [name for name, why in strategies.items() if why is not None]
    console.print(f"allowed: {', '.join(allowed)}", highlight=False)
    if refused:
        console.print(f"refused: {', '.join(refused)}: {found.why_no_steps}", style="yellow", highlight=False)


def _facts(served: ServerModelSpec, found: Capabilities) -> dict[str, str]:
    prefill = "no"
    if found.prefill:
        prefill = "yes" if found.keeps_separator else "yes, but the blank line that ends a step is trimmed"
    return {
        "parameters": f"{served.parameters:.3g}",
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
    }


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
