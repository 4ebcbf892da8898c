"""Find out by a few requests of a few tokens each what a server can do with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from computewise.errors import UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import get_or_none, kind_of
from computewise.models.server.capabilities import (
    DIALECTS,
    FEWEST,
    LLAMA,
    OLLAMA,
    OPEN,
    OPENAI,
    SGLANG,
    THINKING,
    THINKING_OFF,
    VLLM,
    Capabilities,
    Dialect,
)
from computewise.models.server.choices import ChoiceMessage, envelope_of, tokens_of

MANY = 128
"""Most continuations in one request, if the server sets no bound of its own."""
_PROMPT = "1 2 3 4"
_LITTLE = 4
"""Most tokens of a prompt of one character, unless a template is put around it."""
_STRANGE = "# 7"
"""A text that no answer begins with by itself."""
_DIALECTS = {"vllm": VLLM, "sglang": SGLANG, "llama": LLAMA, "ollama": OLLAMA, "openai": OPEN}
_VERSIONS = {VLLM.name: "/version", SGLANG.name: "/server_info", OLLAMA.name: "/api/version"}

Body = dict[str, Any]


async def find_model(client: HttpClient, model: str | None) -> tuple[str, Mapping[str, Any]]:
    """The model's name and its entry in the server's list; without a name, the only model there."""
    held = await get_or_none(client, "models")
    listed = held.get("data") if isinstance(held, dict) else None
    by_name = {str(one.get("id")): one for one in listed or [] if isinstance(one, dict)}
    if model is None:
        if len(by_name) != 1:
            raise UsageError(f"name the model by --model: {client.base_url} lists {', '.join(by_name) or 'none'}")
        model = next(iter(by_name))
    entry = by_name.get(model) or next(iter(by_name.values()), {})
    if model not in by_name and by_name and entry.get("owned_by") not in ("llamacpp", "library"):
        raise UsageError(f"{client.base_url} has no model {model!r}: it lists {', '.join(sorted(by_name)[:20])}")
    return model, entry


async def probe(client: HttpClient, model: str, entry: Mapping[str, Any], *, thinking: bool = True) -> Capabilities:
    """What the server can do with `model`; raises `ServerError` if it does not answer or refuses the key.

    Without `thinking` its chat template is told not to let the model think.
    """
    dialect = _added(entry) or _DIALECTS[await kind_of(client, entry)]
    if not thinking:
        dialect = replace(dialect, fixed={**dialect.fixed, **THINKING_OFF})
    found = Capabilities(server=dialect.name, dialect=dialect.name, version=await _version(client, dialect))
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    found = replace(found, parameters=(meta or {}).get("n_params"), context=entry.get("max_model_len"))
    found = await _chat(client, model, dialect, found)
    if dialect.name == LLAMA.name:
        return await _llama(client, found)
    if dialect.name == OLLAMA.name:
        # /v1/completions puts the template around a prompt; /api/generate takes it raw, for one continuation.
        held = await get_or_none(
            client, "/api/generate", {"model": model, "prompt": _PROMPT, "raw": True, "stream": False}
        )
        return replace(found, raw=held is not None, n=1, logprobs=False)
    return await _completions(client, model, dialect, found)


def _added(entry: Mapping[str, Any]) -> Dialect | None:
    """The kind of server that a package added for this owner; None where there is none."""
    owner = entry.get("owned_by")
    return next((DIALECTS[name] for name in DIALECTS.added if owner and DIALECTS[name].owned_by == owner), None)


async def _version(client: HttpClient, dialect: Dialect) -> str | None:
    held = await get_or_none(client, _VERSIONS[dialect.name]) if dialect.name in _VERSIONS else None
    return str(held["version"]) if isinstance(held, dict) and "version" in held else None


async def _llama(client: HttpClient, found: Capabilities) -> Capabilities:
    held = await get_or_none(client, "/props")
    props = held if isinstance(held, dict) else {}
    settings = props.get("default_generation_settings") or {}
    return replace(
        found,
        raw=True,
        token_ids=True,
        n=int(props.get("total_slots") or 1),
        says_which_stop=True,
        logprobs=True,
        cached_tokens=True,
        context=settings.get("n_ctx"),
        version=props.get("build_info"),
    )


def _body(model: str, dialect: Dialect, **fields: Any) -> Body:
    given = {"model": model, dialect.limit: 1, "temperature": 1.0, "seed": 1}
    return {**given, **dialect.fixed, **dialect.sampling, **fields}


async def _completions(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    """Find the request with the most fields that `/v1/completions` accepts."""
    for way in (dialect, OPENAI, FEWEST):
        for fields in ({"n": 2, "logprobs": 1}, {"logprobs": 1}, {"n": 2}, {}):
            held = await get_or_none(client, "completions", _body(model, way, prompt="1", **way.token_ids, **fields))
            if held is not None:
                return await _raw(client, model, way, held, found)
    return found


async def _raw(client: HttpClient, model: str, dialect: Dialect, held: Any, found: Capabilities) -> Capabilities:
    choices, counts = envelope_of(held)
    if counts.prompt_tokens is not None and counts.prompt_tokens > _LITTLE:
        return found  # a template was put around it
    ids = await get_or_none(client, "/tokenize", {"model": model, "prompt": _PROMPT, "add_special_tokens": True})
    ids = ids.get("tokens") if isinstance(ids, dict) else None
    taken = ids and await get_or_none(client, "completions", _body(model, dialect, prompt=ids))
    return await _stops(
        client,
        model,
        dialect,
        replace(
            found,
            dialect=dialect.name,
            raw=True,
            token_ids=bool(taken),
            n=MANY if len(choices) == 2 else 1,
            logprobs=tokens_of(choices[0]) is not None,
            cached_tokens=found.cached_tokens or counts.cached_tokens is not None,
        ),
    )


async def _stops(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    """Stop a greedy continuation at a text that is known to come, and see what the server reports."""
    fields: Body = {"prompt": _PROMPT, "max_tokens": 16, "temperature": 0.0}
    held = await get_or_none(client, "completions", _body(model, dialect, **fields))
    text = "" if held is None else envelope_of(held)[0][0].text or ""
    if not text.strip():
        return replace(found, says_which_stop=dialect.fired is not None, keeps_stop=bool(dialect.keep_stop))
    stop = next((letter for letter in text[len(text) // 2 :] if not letter.isspace()), text.strip()[0])
    held = await get_or_none(client, "completions", _body(model, dialect, **fields, stop=[stop], **dialect.keep_stop))
    if held is None:
        return found
    choice = envelope_of(held)[0][0]
    keeps = (choice.text or "").endswith(stop)
    fired = dialect.fired is not None and getattr(choice, dialect.fired) == stop
    says = keeps or fired or choice.finish_reason == "stop_sequence"
    return replace(found, says_which_stop=says, keeps_stop=keeps)


async def _chat(client: HttpClient, model: str, dialect: Dialect, found: Capabilities) -> Capabilities:
    """Sample a greedy answer, then request its second half after its first."""
    messages = [{"role": "user", "content": _PROMPT}]
    for way in (dialect, OPENAI, FEWEST, THINKING):
        fields = {way.limit: 24, "temperature": 0.0 if way.greedy else 1.0}
        held = await get_or_none(client, "chat/completions", _body(model, way, messages=messages, **fields))
        if held is not None:
            break
    else:
        return replace(found, chat=False)
    choices, counts = envelope_of(held)
    message = choices[0].message or ChoiceMessage()
    text = message.content or ""
    found = replace(
        await _chat_options(client, _body(model, way, messages=messages), found),
        dialect=way.name,
        cached_tokens=counts.cached_tokens is not None,
        thinks=bool(message.thinking or counts.thinking_tokens) or "<think>" in text,
    )
    return found if found.thinks or len(text) < 2 else await _prefill(client, model, way, text, found)


async def _chat_options(client: HttpClient, body: Body, found: Capabilities) -> Capabilities:
    """Probe `n` and log-probabilities apart from the greedy answer: vLLM refuses n greedy answers."""
    shown: Body = {"logprobs": True, "top_logprobs": 1}
    for more in ({"n": 2, **shown}, shown, {"n": 2}):
        held = await get_or_none(client, "chat/completions", {**body, **more})
        if held is not None:
            choices, _ = envelope_of(held)
            return replace(found, n=MANY if len(choices) == 2 else 1, logprobs=tokens_of(choices[0]) is not None)
    return found


async def _prefill(client: HttpClient, model: str, dialect: Dialect, text: str, found: Capabilities) -> Capabilities:
    # Split before a space, where no token is cut in two.
    half = text[: max(text.rfind(" ", 1, len(text) // 2 + 1), 0) or len(text) // 2]

    async def go_on(begun: str, marked: bool, most: int) -> tuple[str, int | None]:
        last = {"role": "assistant", "content": begun, **({"prefix": True} if marked else {})}
        messages = [{"role": "user", "content": _PROMPT}, last]
        fields = {"messages": messages, dialect.limit: most, "temperature": 0.0, **dialect.prefill}
        held = await get_or_none(client, "chat/completions", _body(model, dialect, **fields))
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
            return replace(found, prefill=True, echoes=echoes, marked_prefill=marked, keeps_separator=keeps)
    return found
