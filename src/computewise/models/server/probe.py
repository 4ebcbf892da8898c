"""Find out by a few requests of a few tokens each what a server can do with a model."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from computewise.errors import ServerError, UsageError
from computewise.http.client import VERSION, HttpClient
from computewise.http.refusals import refused
from computewise.http.servers import ask, ask_or_none, get_or_none, kind_of, said, token_ids
from computewise.models.server.capabilities import (
    CHAT,
    COMPLETIONS,
    DIALECTS,
    LLAMA,
    OLLAMA,
    OPEN,
    SGLANG,
    THINKING_OFF,
    VLLM,
    Capabilities,
    Dialect,
)
from computewise.models.server.choices import Choice, ChoiceMessage, envelope_of, tokens_of
from computewise.models.server.counts import finite, whole_number

MANY = 128
"""Most continuations in one request, if the server sets no bound of its own."""
_PROMPT = "1 2 3 4"
SYSTEM = "Go on."
"""What the system says, since instructions are the system's message."""
_LITTLE = 4
"""Most tokens of a prompt of one character, unless a template is put around it."""
_STRANGE = "# 7"
"""A text that no answer begins with by itself."""
_DIALECTS = {"vllm": VLLM, "sglang": SGLANG, "llama": LLAMA, "ollama": OLLAMA, "openai": OPEN}
_VERSIONS = {VLLM.name: "/version", SGLANG.name: "/server_info", OLLAMA.name: "/api/version"}

Body = dict[str, Any]


async def find_model(client: HttpClient, model: str | None) -> tuple[str, Mapping[str, Any]]:
    """The model's name and its entry in the server's list; without a name, the only model there."""
    by_name = listed_in(await get_or_none(client, "models"))
    if model is None:
        if len(by_name) != 1:
            advice = "" if by_name or VERSION.search(client.base_url) else f", and {client.base_url}/v1 none either"
            listed = ", ".join(by_name) or f"none{advice}"
            raise UsageError(f"name the model by --model: {client.base_url} lists {listed}")
        model = next(iter(by_name))
    entry = by_name.get(model) or next(iter(by_name.values()), {})
    if model not in by_name and by_name and entry.get("owned_by") not in ("llamacpp", "library"):
        raise UsageError(f"{client.base_url} has no model {model!r}: it lists {', '.join(sorted(by_name)[:20])}")
    return model, entry


def listed_in(held: Any) -> dict[str, Mapping[str, Any]]:
    """The entries of a server's list of models by name; empty where `held` is no such list."""
    listed = held.get("data") if isinstance(held, dict) else None
    entries = listed if isinstance(listed, list) else []
    return {str(one["id"]): one for one in entries if isinstance(one, dict) and "id" in one}


async def probe(client: HttpClient, model: str, entry: Mapping[str, Any], *, thinking: bool = True) -> Capabilities:
    """What the server can do with `model`; raises `ServerError` if it does not answer or refuses the key.

    Without `thinking` its chat template is told not to let the model think.
    """
    dialect = _added(entry) or _DIALECTS[await kind_of(client, entry)]
    if not thinking:
        dialect = replace(dialect, fixed={**dialect.fixed, **THINKING_OFF})
    found = Capabilities(server=dialect.name, dialect=dialect.name, version=await _version(client, dialect))
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    size = finite((meta or {}).get("n_params"))
    parameters, context = None if size is None or size < 1 else round(size), whole_number(entry.get("max_model_len"), 1)
    found = replace(found, parameters=parameters, context=context)
    try:
        found = await _chat(client, model, dialect, found)
    except ServerError as error:
        if not _unusable(error):
            raise
        found, refusal = replace(found, chat=False), error
    found = await _raw_prompts(client, model, dialect, found)
    if not found.chat and not found.raw:
        raise UsageError(f"{client.base_url} answers neither chat nor completions for {model!r}: {refusal}")
    adapted = {path: client.accepted(model, path).adaptation.to_dict() for path in (CHAT, COMPLETIONS)}
    return replace(found, adapted={path: held for path, held in adapted.items() if held})


async def _raw_prompts(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    if dialect.name == LLAMA.name:
        return await _llama(client, found)
    if dialect.name == OLLAMA.name:
        # /v1/completions puts the template around a prompt; /api/generate takes it raw, for one continuation.
        held = await get_or_none(
            client, "/api/generate", {"model": model, "prompt": _PROMPT, "raw": True, "stream": False}
        )
        return replace(found, raw=held is not None, n=1, logprobs=False)
    return await _completions(client, model, dialect, found)


def _unusable(error: ServerError) -> bool:
    """Whether a route of the server is of no use, rather than the whole server."""
    return refused(error, finding=True) or error.status == 200


def _added(entry: Mapping[str, Any]) -> Dialect | None:
    """The kind of server that a package added for this owner; None where there is none."""
    owner = entry.get("owned_by")
    return next((DIALECTS[name] for name in DIALECTS.added if owner and DIALECTS[name].owned_by == owner), None)


async def _version(client: HttpClient, dialect: Dialect) -> str | None:
    held = await said(client, _VERSIONS[dialect.name]) if dialect.name in _VERSIONS else None
    return str(held["version"]) if isinstance(held, dict) and "version" in held else None


async def _llama(client: HttpClient, found: Capabilities) -> Capabilities:
    held = await get_or_none(client, "/props")
    props = held if isinstance(held, dict) else {}
    settings, build = props.get("default_generation_settings"), props.get("build_info")
    return replace(
        found,
        raw=True,
        token_ids=True,
        n=whole_number(props.get("total_slots"), 1) or 1,
        says_which_stop=True,
        logprobs=True,
        cached_tokens=True,
        context=whole_number(settings.get("n_ctx"), 1) if isinstance(settings, dict) else None,
        version=build if isinstance(build, str) else None,
    )


def _body(model: str, dialect: Dialect, **fields: Any) -> Body:
    given = {"model": model, "max_tokens": 1, "temperature": 1.0, "seed": 1}
    return {**given, **dialect.fixed, **dialect.sampling, **fields}


async def _completions(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    """Find the request with the most fields that `/v1/completions` accepts."""
    fields: Body = {"prompt": "1", **dialect.token_ids, "n": 2, "logprobs": 1}
    try:
        held = await ask(client, COMPLETIONS, _body(model, dialect, **fields), keep=THINKING_OFF, finding=True)
    except ServerError as error:
        if not _unusable(error):
            raise
        return found
    return await _raw(client, model, dialect, held, found)


async def _raw(client: HttpClient, model: str, dialect: Dialect, held: Any, found: Capabilities) -> Capabilities:
    choices, counts = envelope_of(held)
    if counts.prompt_tokens is not None and counts.prompt_tokens > _LITTLE:
        return found  # a template was put around it
    ids = await get_or_none(client, "/tokenize", {"model": model, "prompt": _PROMPT, "add_special_tokens": True})
    ids = token_ids(ids.get("tokens") if isinstance(ids, dict) else None)
    taken = ids and await ask_or_none(client, COMPLETIONS, _body(model, dialect, prompt=ids))
    return await _stops(
        client,
        model,
        dialect,
        replace(
            found,
            raw=True,
            token_ids=bool(taken),
            n=MANY if len(choices) == 2 else 1,
            logprobs=_has_logprobs(choices[0]),
            cached_tokens=found.cached_tokens or counts.cached_tokens is not None,
        ),
    )


def _has_logprobs(choice: Choice) -> bool:
    tokens = tokens_of(choice)
    return tokens is not None and not math.isnan(tokens.mean_logprob)


async def _stops(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    """Stop a greedy continuation at a text that is known to come, and see what the server reports."""
    fields: Body = {"prompt": _PROMPT, "max_tokens": 16, "temperature": 0.0}
    held = await ask_or_none(client, COMPLETIONS, _body(model, dialect, **fields))
    text = "" if held is None else envelope_of(held)[0][0].text or ""
    if not text.strip():
        return replace(found, says_which_stop=dialect.fired is not None, keeps_stop=bool(dialect.keep_stop))
    stop = next((letter for letter in text[len(text) // 2 :] if not letter.isspace()), text.strip()[0])
    for more in [dialect.keep_stop, {}] if dialect.keep_stop else [{}]:
        held = await ask_or_none(client, COMPLETIONS, _body(model, dialect, **fields, stop=[stop], **more))
        if held is not None:
            break
    else:
        return replace(found, stops=False)
    choice = envelope_of(held)[0][0]
    keeps = (choice.text or "").endswith(stop)
    fired = dialect.fired is not None and getattr(choice, dialect.fired) == stop
    says = keeps or fired or choice.finish_reason == "stop_sequence"
    return replace(found, says_which_stop=says, keeps_stop=keeps, stops=True)


async def _chat(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    """Sample a greedy answer, then request its second half after its first."""
    body = _body(model, dialect, messages=_messages(), max_tokens=24, temperature=0.0)
    choices, counts = envelope_of(await ask(client, CHAT, body, keep=THINKING_OFF, finding=True))
    message = choices[0].message or ChoiceMessage()
    text = message.content or ""
    found = replace(
        await _chat_options(client, _body(model, dialect, messages=_messages()), found),
        cached_tokens=counts.cached_tokens is not None,
        thinks=bool(message.thinking or counts.thinking_tokens) or "<think>" in text,
    )
    return found if found.thinks or len(text) < 2 else await _prefill(client, model, dialect, text, found)


def _messages(*more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": _PROMPT}, *more]


async def _chat_options(client: HttpClient, body: Body, found: Capabilities) -> Capabilities:
    """Probe `n` and log-probabilities apart from the greedy answer: vLLM refuses n greedy answers."""
    more: Body = {"n": 2, "logprobs": True, "top_logprobs": 1}
    choices, _ = envelope_of(await ask(client, CHAT, {**body, **more}, keep=THINKING_OFF, finding=True))
    return replace(found, n=MANY if len(choices) == 2 else 1, logprobs=_has_logprobs(choices[0]))


async def _prefill(client: HttpClient, model: str, dialect: Dialect, text: str, found: Capabilities) -> Capabilities:
    # Split before a space, where no token is cut in two.
    half = text[: max(text.rfind(" ", 1, len(text) // 2 + 1), 0) or len(text) // 2]

    def continuing(begun: str, marked: bool, most: int) -> Body:
        last = {"role": "assistant", "content": begun, **({"prefix": True} if marked else {})}
        fields = {"messages": _messages(last), "max_tokens": most, "temperature": 0.0, **dialect.prefill}
        return _body(model, dialect, **fields)

    async def go_on(begun: str, marked: bool, most: int) -> tuple[str, int | None]:
        held = await ask_or_none(client, CHAT, continuing(begun, marked, most))
        if held is None:
            return "", None
        choices, counts = envelope_of(held)
        return (choices[0].message or ChoiceMessage()).content or "", counts.prompt_tokens

    for marked in (False, True):
        came, before = await go_on(half, marked, 24)
        # The server may also have begun a new answer with the same text.
        echoes = came.startswith(half) and (await go_on(_STRANGE, marked, 4))[0].startswith(_STRANGE)
        rest = came.removeprefix(half) if echoes else came
        if rest and rest.startswith(text[len(half) :]):
            _, after = await go_on(half + "\n\n", marked, 1)
            keeps = before is not None and after is not None and after > before
            stopped: Body = {**continuing(half, marked, 4), "stop": ["\n\n"], **dialect.keep_stop}
            stops = not keeps or await _accepts(client, stopped, {*dialect.prefill, *THINKING_OFF})
            return replace(
                found, prefill=True, echoes=echoes, marked_prefill=marked, keeps_separator=keeps, stops=stops
            )
    return found


async def _accepts(client: HttpClient, body: Body, keep: Collection[str]) -> bool:
    try:
        await ask(client, CHAT, body, keep=keep, finding=True)
    except ServerError as error:
        if not _unusable(error):
            raise
        return False
    return True
