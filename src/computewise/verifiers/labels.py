"""Verifiers that are read by the probability of a label token, through each server's API, and how answers are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from computewise.core import Usage
from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import ask, get_or_none, kind_of, tokenize
from computewise.models.server.choices import ROUNDING
from computewise.models.server.counts import finite, least_tokens, read_counts, whole_number
from computewise.session import gather
from computewise.verifiers.templates import Labels, Layout, ScoredSteps, StepPrompt, render_prompt


async def label_ids(client: HttpClient, kind: str, model: str, labels: Labels) -> tuple[int, int]:
    """The good and the bad label's id; raises `UsageError` for a label that is not a single token."""
    given = (labels.good, labels.good_id), (labels.bad, labels.bad_id)
    good, bad = [await _single(client, kind, model, text) if id is None else id for text, id in given]
    if good == bad:
        raise UsageError(f"the labels {labels.good!r} and {labels.bad!r} are the same token, {good}")
    return good, bad


async def _single(client: HttpClient, kind: str, model: str, text: str) -> int:
    ids = await tokenize(client, kind, model, text, special=False)
    if len(ids) != 1:
        raise UsageError(f"the label {text!r} is {len(ids)} tokens to {model}: a label must be a single token")
    return ids[0]


async def server_kind(client: HttpClient) -> str:
    """The kind of server: "vllm", "sglang", "llama", or "openai" for any other; `ServerError` if none answers."""
    listed = await get_or_none(client, "models")
    models = listed.get("data") if isinstance(listed, dict) else None
    first = models[0] if isinstance(models, list) and models else None
    kind = await kind_of(client, first if isinstance(first, dict) else {})
    return "openai" if kind == "ollama" else kind


BYTES_A_TOKEN = 4

"""The estimate where a server does not report how many tokens it read."""

NEVER = -9999.0

"""A log-probability of this or less is a server's placeholder for a token that is very unlikely."""


def at(answer: Any, *path: str | int) -> Any:
    """The value at a path of names and indices; raises `ModelError` where there is none."""
    held = answer
    for place in path:
        known = isinstance(held, dict) if isinstance(place, str) else isinstance(held, list)
        if not known or (place not in held if isinstance(place, str) else len(held) <= place):
            raise ModelError(f"the server's answer has no {'.'.join(map(str, path))}")
        held = held[place]
    return held


def number(value: Any, what: str) -> float:
    """The value as a number, which is finite; raises `ModelError` for anything else."""
    if (found := finite(value)) is None:
        raise ModelError(f"the server's answer holds {str(value)[:60]!r} as {what}: it must be a number")
    return found


def log_probability(value: Any) -> float | None:
    """A log-probability, -inf where the token has no probability; None for a value that cannot be one.

    That is null, NaN, anything that is no number, or a number above 0 by more than rounding.
    """
    if isinstance(value, float) and value == -math.inf:
        return value
    found = finite(value)
    if found is None or found > ROUNDING:
        return None
    return -math.inf if found <= NEVER else min(found, 0.0)


def rows(answer: Any, name: str, count: int, key: str) -> list[Any]:
    """The field `key` of each of the `count` entries of the list `name`, sorted by index."""
    held = at(answer, name)
    if not isinstance(held, list) or len(held) != count:
        found = len(held) if isinstance(held, list) else type(held).__name__
        raise ModelError(f"the server answered {found} entries of {name} for {count} inputs")
    values = [at(entry, key) for entry in held]
    given = [entry.get("index") for entry in held]
    if all(index is None for index in given):
        return values
    places = [whole_number(index) for index in given]
    if {*places} != {*range(count)}:
        raise ModelError(f"the server numbered {count} entries of {name} as {sorted(map(str, given))}")
    return [value for _, value in sorted(zip(places, values, strict=True), key=lambda pair: pair[0] or 0)]


def read_usage(answer: Any, texts: Sequence[str], *, written: str | None = None) -> Usage:
    """The tokens that the server read of `texts`, and how many of them were cached, and those of what it wrote.

    A count that is not reported, or cannot be right, is estimated from the text. Cached tokens are 0 where they are not
    reported: vLLM reports them with --enable-prompt-tokens-details, SGLang with --enable-cache-report.
    """
    counts = read_counts(answer.get("usage") if isinstance(answer, dict) else None)
    read, wrote = counts.prompt_tokens, 0
    if read is None or read < sum(map(least_tokens, texts)):
        read = sum(map(estimate, texts))
    if written is not None:
        wrote = counts.completion_tokens or 0
        wrote = wrote if wrote >= least_tokens(written) else estimate(written)
    return Usage(verifier_tokens=read + wrote, cached_verifier_tokens=min(counts.cached_tokens or 0, read))


def estimate(text: str) -> int:
    """An estimate of the number of tokens of a text."""
    return -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)


class LabelServer(Protocol):
    """The API of a server that returns how likely the good label is, of the two."""

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """P(good) / (P(good) + P(bad)) as the next token after each prompt, and the usage."""
        ...


class LabelReader:
    """Sends one prompt for each new step, up to its read-out: each is a prefix of the next, for the prefix cache."""

    def __init__(self, layout: Layout, server: LabelServer) -> None:
        self._layout = layout
        self._server = server

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        prompts = [prompt for solution in solutions for prompt in self._prompts(question, solution)]
        scores, usage = await self._server.probability(prompts)
        if len(scores) != len(prompts):
            raise ModelError(f"the server gave {len(scores)} scores for {len(prompts)} prompts")
        rest = iter(scores)
        return [tuple(islice(rest, solution.new)) for solution in solutions], usage

    def _prompts(self, question: str, solution: ScoredSteps) -> list[str]:
        prompt: StepPrompt = render_prompt(self._layout, question, solution.steps)
        return [prompt.prefix(step) for step in range(solution.known, len(solution.steps))]


def of_two(good: float, bad: float) -> float:
    """The softmax of two log-probabilities, at the first."""
    difference = bad - good
    if math.isnan(difference):
        return math.nan
    return 1 / (1 + math.exp(difference)) if difference < 700 else 0.0


def from_listed(listed: Mapping[str, float], good: str, bad: str) -> float:
    """P(good) / (P(good) + P(bad)) from a server's list of the likeliest tokens with their log-probabilities.

    Tokens that differ from a label only by blanks around it count as that label. A label that is not listed gets the
    most it can have: the least of the listed probabilities, or what all of them leave of 1, whichever is smaller.
    Raises `ModelError` where neither label is listed with a log-probability that can be.
    """
    known = {token: value for token, held in listed.items() if (value := log_probability(held)) is not None}
    shares = {token: math.exp(value) for token, value in known.items()}
    found = {label: [p for token, p in shares.items() if plain(token) == label] for label in (good, bad)}
    if not any(found.values()):
        likely = ", ".join(repr(token) for token in sorted(shares, key=lambda token: -shares[token])[:5])
        raise ModelError(f"neither {good!r} nor {bad!r} is among the likeliest next tokens ({likely}): wrong template?")
    at_most = min(min(shares.values()), max(0.0, 1 - math.fsum(shares.values())))
    of_good, of_bad = (math.fsum(found[label]) if found[label] else at_most for label in (good, bad))
    if of_good + of_bad == 0:
        raise ModelError(f"{good!r} and {bad!r} are both given no probability: wrong template?")
    return of_good / (of_good + of_bad)


def plain(token: str) -> str:
    """A token's text without blanks, or the characters that vocabularies write for them, at its ends."""
    return token.strip(" \n\t\u2581\u0120\u010a")


OPENAI_TOP_TOKENS = 20

"""How many of the likeliest tokens are requested: the most that servers return."""


class OpenaiCompletions:
    """One-token completions of a raw prompt with `logprobs`; the server must not put it into a chat template.

    Labels are recognised by their text: see `from_listed`, also for a label that is not listed.
    """

    def __init__(self, client: HttpClient, model: str, labels: tuple[str, str]) -> None:
        self._client = client
        self._model = model
        self._labels = labels

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.labels.LabelServer.probability`."""
        found = await gather(map(self._one, prompts))
        return [score for score, _ in found], sum((usage for _, usage in found), Usage())

    async def _one(self, prompt: str) -> tuple[float, Usage]:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": OPENAI_TOP_TOKENS,
        }
        answer = await ask(self._client, "completions", body, keep=("logprobs",))
        return from_listed(_listed(at(answer, "choices", 0, "logprobs")), *self._labels), read_usage(answer, [prompt])


def _listed(logprobs: Any) -> dict[str, float]:
    """Log-probabilities by text, from either of two shapes; of tokens with equal texts the likelier counts."""
    if isinstance(logprobs, dict) and "content" in logprobs:
        listed = at(logprobs, "content", 0, "top_logprobs")
        pairs = [(str(at(one, "token")), one.get("logprob")) for one in listed] if isinstance(listed, list) else []
    else:
        found = at(logprobs, "top_logprobs", 0)
        pairs = list(found.items()) if isinstance(found, dict) else []
    if not pairs:
        raise ModelError("the server listed no likeliest tokens: it returns no log-probabilities")
    by_text: dict[str, float] = {}
    for text, held in pairs:
        if (logprob := log_probability(held)) is not None:
            by_text[text] = max(logprob, by_text.get(text, -math.inf))
    return by_text


class SglangScore:
    """SGLang's `score` route: many prompts in a request, as texts after an empty query.

    `score_extraction_token` would read a whole solution at once, but works only on a server without a prefix cache.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.labels.LabelServer.probability`."""
        body = {
            "model": self._model,
            "query": "",
            "items": list(prompts),
            "label_token_ids": list(self._ids),
            "apply_softmax": True,
            "item_first": False,
        }
        answer = await self._client.post("score", body)
        scores = at(answer, "scores")
        if not isinstance(scores, list) or len(scores) != len(prompts):
            found = len(scores) if isinstance(scores, list) else type(scores).__name__
            raise ModelError(f"the server answered {found} scores for {len(prompts)} prompts")
        return [number(at(answer, "scores", place, 0), "a score") for place in range(len(prompts))], read_usage(
            answer, prompts
        )


LLAMA_TOP_TOKENS = 64

"""How many of the likeliest tokens are requested: there is no upper limit, but each makes the answer longer."""


class LlamaCompletion:
    """One-token completions with `n_probs`, which are those before any sampler; tokens are compared by id."""

    def __init__(self, client: HttpClient, ids: tuple[int, int]) -> None:
        self._client = client
        self._ids = ids

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.labels.LabelServer.probability`."""
        found = await gather(map(self._one, prompts))
        return [score for score, _ in found], sum((usage for _, usage in found), Usage())

    async def _one(self, prompt: str) -> tuple[float, Usage]:
        body = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": LLAMA_TOP_TOKENS,
            "post_sampling_probs": False,
            "temperature": 0.0,
            "cache_prompt": True,
        }
        answer = await self._client.post("/completion", body)
        listed = at(answer, "completion_probabilities", 0, "top_logprobs")
        if not isinstance(listed, list) or not listed:
            raise ModelError("the server listed no likeliest tokens")
        known = ((at(one, "id"), log_probability(at(one, "logprob"))) for one in listed)
        logprobs = {str(id): logprob for id, logprob in known if logprob is not None}
        good, bad = map(str, self._ids)
        return from_listed(logprobs, good, bad), _usage(answer, prompt)


def _usage(answer: Any, prompt: str) -> Usage:
    """`tokens_evaluated` counts the whole prompt, `timings.cache_n` the cached tokens among them."""
    timings = answer.get("timings")
    cached = timings.get("cache_n") if isinstance(timings, dict) else None
    said = {"prompt_tokens": answer.get("tokens_evaluated"), "prompt_tokens_details": {"cached_tokens": cached}}
    return read_usage({"usage": said}, [prompt])
