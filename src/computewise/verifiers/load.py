"""From a specification to a verifier that has proved itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from computewise.core import Verifier
from computewise.errors import UsageError
from computewise.http.client import HttpClient
from computewise.registry import import_object
from computewise.verifiers.base import (
    ADDED_VERIFIERS,
    SUM,
    LogprobVerifier,
    Reader,
    StepVerifier,
    VerifierSpec,
    as_verifier,
    is_added,
    may_be_verifier,
    self_check,
)
from computewise.verifiers.heads import EmbeddingsReader, PoolingReader, VllmCompletions, VllmScoring
from computewise.verifiers.judge import JudgeReader
from computewise.verifiers.labels import (
    LabelReader,
    LabelServer,
    LlamaCompletion,
    OpenaiCompletions,
    SglangScore,
    label_ids,
    server_kind,
)
from computewise.verifiers.templates import Labels, VerifierTemplate, find_template


async def open_verifier(spec: VerifierSpec, client: HttpClient | None = None) -> Verifier | None:
    """The verifier, None for "none"; raises `UsageError` where it cannot tell a right solution from a wrong one.

    `client` speaks to `spec.base_url` and stays the caller's to close.
    """
    if spec.template == "none":
        return None
    if spec.template == "logprob":
        return LogprobVerifier()
    if is_added(spec.template):
        return added_verifier(spec.template)
    template = find_template(spec.template)
    if spec.path is not None:
        verifier: Verifier = _local(spec, template)
    elif client is not None:
        verifier = await _remote(spec, template, client)
    else:
        raise UsageError(f"the verifier {template.name} at {spec.base_url} needs a client")
    await self_check(verifier, template.check or SUM)
    return verifier


def added_verifier(name: str) -> Verifier:
    """The registered verifier of that name, or the one that ``module:object`` names; raises `UsageError`."""
    if name in ADDED_VERIFIERS:
        return ADDED_VERIFIERS[name]
    return as_verifier(name, import_object(name, "verifier", may_be_verifier))


def _local(spec: VerifierSpec, template: VerifierTemplate) -> StepVerifier:
    from computewise.verifiers.local import load_reader

    reader = load_reader(Path(spec.path or ""), template, device=spec.device, dtype=spec.dtype)
    return _verifier(spec, template, reader, spec.parameters or reader.parameters)


async def _remote(spec: VerifierSpec, template: VerifierTemplate, client: HttpClient) -> StepVerifier:
    if template.judge is not None:
        return await _judge(spec, template, client)
    kind = await server_kind(client) if spec.server == "auto" else spec.server
    model = spec.model or template.name
    return _verifier(spec, template, await _reader(template, kind, model, client), spec.parameters)


async def _judge(spec: VerifierSpec, template: VerifierTemplate, client: HttpClient) -> StepVerifier:
    """Or, where the server gives no log-probabilities, its fallback."""
    assert template.judge is not None
    if spec.model is None and "/" not in template.name:
        raise UsageError(f"the verifier {template.name} needs a model: any chat model that the server has")
    samples, model = spec.samples or template.judge.samples, spec.model or template.name
    reader = JudgeReader(client, model, template.layout, template.judge, samples=samples)
    if not await reader.gives_logprobs() and template.judge.fallback:
        return await _judge(replace(spec, model=model), find_template(template.judge.fallback), client)
    return _verifier(spec, template, reader, spec.parameters)


async def _reader(template: VerifierTemplate, kind: str, model: str, client: HttpClient) -> Reader:
    if template.labels is not None:
        return LabelReader(template.layout, await _label_server(template.labels, kind, model, client))
    if kind != "vllm":
        raise UsageError(f"{template.name} has a {template.family} head: {kind} cannot serve it, vllm or a path can")
    if template.head is not None:
        return PoolingReader(client, model, template.layout, template.head)
    return EmbeddingsReader(client, model, template.layout)


async def _label_server(labels: Labels, kind: str, model: str, client: HttpClient) -> LabelServer:
    if kind == "openai":
        return OpenaiCompletions(client, model, (labels.good, labels.bad))
    ids = await label_ids(client, kind, model, labels)
    if kind == "llama":
        return LlamaCompletion(client, ids)
    servers: dict[str, Callable[[HttpClient, str, tuple[int, int]], LabelServer]] = {
        "vllm": VllmCompletions,
        "vllm-scoring": VllmScoring,
        "sglang": SglangScore,
    }
    return servers[kind](client, model, ids)


def _verifier(spec: VerifierSpec, template: VerifierTemplate, reader: Reader, parameters: int | None) -> StepVerifier:
    name = template.name if spec.model in (None, template.name) else f"{template.name} {spec.model}"
    return StepVerifier(reader, name=name, parameters=parameters, aggregation=spec.aggregation or template.aggregation)
