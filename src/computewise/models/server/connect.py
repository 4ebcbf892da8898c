"""From a URL and a name to a model: probe the server, choose the template and the route."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from computewise.costs import Prices
from computewise.errors import ModelError, ServerError, UsageError
from computewise.http.accepted import adaptation_from
from computewise.http.client import VERSION, HttpClient
from computewise.http.servers import FIRST_ANSWER, IMPATIENT, get_or_none, said
from computewise.models.messages import Message
from computewise.models.server.capabilities import (
    DIALECTS,
    LLAMA,
    OLLAMA,
    SGLANG,
    THINKING_OFF,
    VLLM,
    Capabilities,
    Dialect,
    Fields,
    Route,
)
from computewise.models.server.limits import SpendLimit
from computewise.models.server.model import ServerModel
from computewise.models.server.probe import find_model, listed_in, probe
from computewise.models.server.routes import ChatRoute, CompletionsRoute, LlamaRoute, OllamaRoute
from computewise.models.server.templates import (
    LlamaTemplate,
    PlainTemplate,
    PromptTemplate,
    TokenizeTemplate,
    read_template,
    taking_system,
)

PLAIN = "plain"
FIRST_TEXT = 40.0
"""Seconds that a server has for the first tokens, as it may load the model first."""
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerModelSpec:
    """A model on a server, and how it is called: plain data.

    `chat_template` is a file or a model's directory, "plain" for a base model, None for the server's own.
    `thinking_budget` bounds the tokens of thinking, if the server can.
    """

    base_url: str
    model: str
    parameters: int | None
    """None where neither the user nor the server nor the name says it: FLOPs are then unknown."""
    capabilities: Capabilities
    chat_template: str | None = None
    thinking: bool = True
    thinking_budget: int | None = None
    revision: str = ""
    """What the server reports about the weights."""

    @property
    def label(self) -> str:
        """The name for a person: the last part of a path or a repository's name."""
        return self.model.rstrip("/").rpartition("/")[2] or self.model

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything that decides the model's answers, and so without its address."""
        return {
            "model": self.model,
            "parameters": self.parameters,
            "capabilities": self.capabilities.to_dict(),
            "chat_template": self.chat_template,
            "thinking": self.thinking,
            "thinking_budget": self.thinking_budget,
            "revision": self.revision,
        }


async def probe_model(
    base_url: str,
    model: str | None,
    *,
    api_key: str | None = None,
    parameters: float | None = None,
    chat_template: str | None = None,
    thinking: bool = True,
    thinking_budget: int | None = None,
) -> ServerModelSpec:
    """Find out what the server can do with the model; raises `UsageError` for an unknown one."""
    failure: UsageError | None = None
    for address in await _addresses(base_url, api_key):
        async with HttpClient(address, api_key=api_key, retry=IMPATIENT, timeout=FIRST_TEXT) as client:
            try:
                name, entry = await find_model(client, model)
                found = await probe(client, name, entry, thinking=thinking)
            except UsageError as error:
                failure = failure or error
                continue
            template = await _template(client, name, found, chat_template, thinking)
            if template is not None:
                begun = (await template.render([Message("user", "1")])).text
                thinks = found.thinks or begun.rstrip().endswith("<think>")
                found = replace(found, template=template.name, thinks=thinks)
            break
    else:
        assert failure is not None
        raise failure
    if thinking_budget is not None and DIALECTS[found.dialect].thinking_budget is None:
        raise UsageError(f"{found.server} cannot bound thinking: leave out --thinking-budget")
    return ServerModelSpec(
        base_url=address,
        model=name,
        parameters=_parameters(name, found, parameters),
        capabilities=found,
        chat_template=chat_template,
        thinking=thinking,
        thinking_budget=thinking_budget,
        revision=_revision(entry),
    )


async def _addresses(base_url: str, api_key: str | None) -> list[str]:
    """The addresses that the server may have: the given one, and with /v1 behind it where that lists models instead."""
    async with HttpClient(base_url, api_key=api_key, retry=IMPATIENT, timeout=FIRST_ANSWER) as client:
        given = client.base_url
        if VERSION.search(given):
            await get_or_none(client, "models")  # a silent port is told before anything that needs patience
            return [given]
        if listed_in(await said(client, "models")):
            return [given]
    usual = f"{given}/v1"
    async with HttpClient(usual, api_key=api_key, retry=IMPATIENT, timeout=FIRST_ANSWER) as client:
        return [usual] if listed_in(await get_or_none(client, "models")) else [given, usual]


def spec_from_dict(plain: Mapping[str, Any], base_url: str) -> ServerModelSpec:
    """The model that `ServerModelSpec.to_dict` described, at this address."""
    names = {field.name for field in fields(Capabilities)}
    found = Capabilities(**{name: value for name, value in plain["capabilities"].items() if name in names})
    return ServerModelSpec(**{**plain, "capabilities": found}, base_url=base_url)


async def connect_model(
    served: ServerModelSpec,
    client: HttpClient,
    *,
    delimiter: str,
    instruction: str = "",
    ceiling: SpendLimit | None = None,
    prices: Prices | None = None,
) -> ServerModel:
    """The model behind `client`, which must be connected to the server that `served` describes."""
    found = served.capabilities
    for path, plain in found.adapted.items():
        accepted = client.accepted(served.model, path)
        if not accepted.shapes:  # nothing has been learned from the server itself
            accepted.adaptation = adaptation_from(plain)
    template = await _template(client, served.model, found, served.chat_template, served.thinking)
    return ServerModel(
        client,
        served.model,
        served.parameters,
        found,
        _route(served, client, template),
        template if found.rendered else None,
        delimiter,
        instruction,
        ceiling or SpendLimit(),
        prices,
    )


def _route(served: ServerModelSpec, client: HttpClient, template: PromptTemplate | None) -> Route:
    found, dialect = served.capabilities, DIALECTS[served.capabilities.dialect]
    if template is not None and found.rendered and served.thinking_budget is None:
        if found.server == LLAMA.name:
            return LlamaRoute(client, logprobs=found.logprobs)
        if found.server == OLLAMA.name:
            return OllamaRoute(client, served.model)
        kept: Dialect = dialect if found.keeps_stop else replace(dialect, keep_stop={})
        return CompletionsRoute(
            client,
            served.model,
            kept,
            logprobs=found.logprobs,
            special=template.special,
            says=found.says_which_stop,
        )
    return ChatRoute(
        client,
        served.model,
        replace(dialect, marked_prefill=found.marked_prefill, fixed={**dialect.fixed, **_fixed(served.thinking)}),
        logprobs=found.logprobs,
        echoes=found.echoes,
        thinking_budget=served.thinking_budget,
    )


async def _template(
    client: HttpClient, model: str, found: Capabilities, given: str | None, thinking: bool
) -> PromptTemplate | None:
    """The given template, else the server's own if it renders for clients; None without either."""
    if given == PLAIN:
        return PlainTemplate()
    if given is not None:
        return await taking_system(read_template(Path(given), thinking=thinking))
    template: PromptTemplate | None
    if found.server == LLAMA.name:
        template = LlamaTemplate(client, _fixed(thinking))
    elif found.server == VLLM.name:
        template = TokenizeTemplate(client, model, _fixed(thinking))
    elif found.server == SGLANG.name:
        template = await _local(client, thinking)
    else:
        return None
    try:
        return None if template is None else await taking_system(template)
    except (ServerError, ModelError):
        return None


async def _local(client: HttpClient, thinking: bool) -> PromptTemplate | None:
    """The template in the directory that SGLang serves, if this machine has it."""
    held = await client.get("/get_model_info")
    path = Path(str(held.get("model_path", ""))) if isinstance(held, dict) else Path()
    return read_template(path, thinking=thinking) if (path / "tokenizer_config.json").exists() else None


def _fixed(thinking: bool) -> Fields:
    return {} if thinking else THINKING_OFF


def _revision(entry: Mapping[str, Any]) -> str:
    """vLLM reports a repository or a directory as `root`, llama.cpp the numbers of a file as `meta`."""
    told = {name: entry[name] for name in ("root", "meta", "max_model_len") if entry.get(name)}
    return json.dumps(told, sort_keys=True)


def _parameters(name: str, found: Capabilities, given: float | None) -> int | None:
    """What the user gives, else what the server says, else what the name says, such as 1.5B."""
    if given is not None:
        if not 1 <= given < math.inf:
            raise UsageError(f"parameters = {given:g} is not allowed: at least 1, such as 1.5e9")
        return round(given)
    return found.parameters or parameters_in(name)


def parameters_in(name: str) -> int | None:
    """The size in a model's name, such as 1.5B or 500m; the largest if there are several."""
    sizes = [float(size) * (1e9 if unit in "bB" else 1e6) for size, unit in _SIZE.findall(name)]
    return round(max(sizes)) if sizes else None
