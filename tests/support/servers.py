"""The servers there are, as they answer, over one little language model; nothing is sent anywhere.

What each refuses, ignores and calls things was read in its sources and documentation.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest.mock import patch

import httpx

from computewise.core import Attempt, Completion, FinishReason, Step, Usage
from computewise.costs import Prices
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.models.server import connect
from computewise.models.server.limits import SpendLimit
from computewise.models.server.model import ServerModel
from computewise.simulated import RIGHT, WRONG, SimulatedTask

BOS, EOS = 1, 2
MERGED = {"\n\t": 200_000, "gh": 200_001}
"""The second is how the tokenizer writes what the model samples letter by letter."""
PIECES = {number: piece for piece, number in MERGED.items()}
LETTER, END = -0.25, -0.5
"""Log-probabilities of every letter, and of the end."""
COUNTING = "It goes on with 5 6 7 8 9 10 11 12 13 14"
"""What comes after anything but a simulated problem."""
_PROBLEM = re.compile(r"problem ([0-9]{5}) of ([1-9][0-9]?) steps")
_TURN = "<|assistant|>"
_BEGIN = "<s>"


def encode(text: str) -> list[int]:
    """As the tokenizer cuts: what it has merged, else letter by letter."""
    ids, at = [], 0
    while at < len(text):
        piece = next((piece for piece in (_BEGIN, *MERGED) if text.startswith(piece, at)), text[at])
        ids.append(BOS if piece == _BEGIN else MERGED.get(piece) or ord(piece))
        at += len(piece)
    return ids


def decode(ids: Sequence[int]) -> str:
    """The text, special tokens left out."""
    return "".join(PIECES.get(id) or chr(id) for id in ids if id not in (BOS, EOS))


def rendered(messages: Sequence[Mapping[str, Any]], *, go_on: bool = False, trim: bool = False) -> str:
    """A chat template; with `go_on` the last message is left open."""
    turns = [f"<|{one['role']}|>{one['content'].strip() if trim else one['content']}" for one in messages]
    return "<|end|>".join(turns) if go_on else "".join(f"{turn}<|end|>" for turn in turns) + _TURN


@dataclass(frozen=True, slots=True)
class Sampled:
    """A continuation: its pieces, the end token included, and what ended it."""

    pieces: tuple[str, ...]
    ended: str
    """eos, limit, or the stop text."""

    @property
    def ids(self) -> list[int]:
        return [EOS if piece == "" else MERGED.get(piece) or ord(piece) for piece in self.pieces]

    @property
    def logprobs(self) -> list[float]:
        return [END if piece == "" else LETTER for piece in self.pieces]

    @property
    def whole(self) -> str:
        return "".join(self.pieces)

    def text(self, *, keep: bool) -> str:
        if self.ended in ("eos", "limit"):
            return self.whole
        at = self.whole.index(self.ended)
        return self.whole[: at + len(self.ended)] if keep else self.whole[:at]


@dataclass(frozen=True, slots=True)
class Little:
    """Solves simulated problems: each step is right with probability `skill`, drawn from the seed.

    `blank` is the chance of an empty line before a step, `overrun` that a line's end is sampled as one token with a
    tab behind it; `thinks` is what it thinks first.
    """

    skill: float = 0.6
    blank: float = 0.0
    overrun: float = 0.0
    thinks: str = ""

    def goes_on(self, text: str, seed: int, *, most: int, stop: Sequence[str] = (), greedy: bool = False) -> Sampled:
        """What comes behind `text`."""
        pieces: list[str] = []
        for piece in self._pieces(text, random.Random(seed), greedy):
            pieces.append(piece)
            whole = "".join(pieces)
            for one in stop:
                if one in whole:
                    return Sampled(tuple(pieces), one)
            if piece == "":
                return Sampled(tuple(pieces), "eos")
            if len(pieces) >= most:
                break
        return Sampled(tuple(pieces), "limit")

    def _pieces(self, text: str, rng: random.Random, greedy: bool) -> list[str]:
        asked = text.rpartition("<|user|>")[2] if "<|user|>" in text else text
        found = list(_PROBLEM.finditer(text))
        if not found:
            said = asked.rpartition(_TURN)[2] if _TURN in asked else ""
            whole = self._thought() + COUNTING
            return [*(whole[len(said) :] if whole.startswith(said) else " and so on"), ""]
        number, depth = int(found[-1].group(1)), int(found[-1].group(2))
        said = text.rpartition(_TURN)[2] if _TURN in text else text[found[-1].end() :].removeprefix("\n")
        thought = "" if said or not self.thinks else self._thought()
        done = [line for line in said.split("\n") if line.strip()]
        flawless = WRONG not in said
        pieces = [*thought]
        for position in range(len(done) + 1, depth + 1):
            if rng.random() < self.blank:
                pieces.append("\n")
            right = self.skill >= 0.5 if greedy else rng.random() < self.skill
            flawless = flawless and right
            line = RIGHT if right else WRONG
            line += "" if position < depth else f" {number if flawless else number + rng.randint(1, 4)}"
            pieces += line
            if position < depth:
                pieces.append("\n\t" if rng.random() < self.overrun else "\n")
        return [*pieces, ""]

    def _thought(self) -> str:
        return f"<think>\n{self.thinks}\n</think>\n\n" if self.thinks else ""


class Stating(Little):
    """Says its answer as graders find it."""

    def _pieces(self, text: str, rng: random.Random, greedy: bool) -> list[str]:
        pieces = Little._pieces(self, text, rng, greedy)
        if "problem" not in text:
            return pieces
        stated = [letter for piece in pieces for letter in (" \\boxed{" if piece == " " else piece)]
        return [*stated, "}", ""]


@dataclass(slots=True)
class Local:
    """The same little model in this process, asked as a server is that continues one prompt at a time."""

    little: Little = field(default_factory=Little)
    name: str = "local"
    parameters: int = 1_000
    revises: bool = False
    revises_steps: bool = False
    steps: bool = True

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        completions = []
        for seed in seeds:
            found = self.little.goes_on(
                f"{prompt}\n{prefix}",
                seed & 0x7FFFFFFF,
                most=max_tokens,
                stop=[stop] if stop else [],
                greedy=temperature == 0,
            )
            text = found.text(keep=True)
            reason: FinishReason = "step"
            if found.ended in ("eos", "limit"):
                reason = "stop" if found.ended == "eos" else "length"
            usage = Usage(samples=1, completion_tokens=len(found.pieces))
            lines = text.splitlines(keepends=True) or [""]
            completions.append(Completion(tuple(Step(line, len(line), 0.0) for line in lines), reason, usage))
        return completions


class RefusedError(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.response = httpx.Response(status, json=body, headers=headers or {})


def openai_error(status: int, message: str) -> RefusedError:
    return RefusedError(status, {"error": {"message": message, "type": "invalid_request_error", "code": status}})


Intercept = Callable[[str, Mapping[str, Any]], httpx.Response | None]


@dataclass(slots=True)
class Server:
    """What all have in common; `asked` remembers every POST, `delay` is how long each is thought about.

    `intercept` may answer a request in the server's place.
    """

    little: Little = field(default_factory=Little)
    delay: float | None = None
    intercept: Intercept | None = None
    key: str | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    peak: int = 0
    cancelled: int = 0

    owner: ClassVar[str] = "someone"
    model: ClassVar[str] = "little-1b"

    def client(self, *, concurrency: int = 256, tries: int = 1) -> HttpClient:
        retry = Retry(tries=tries, first=0.001, longest=0.002)
        transport = httpx.MockTransport(self.handle)
        return HttpClient("http://test/v1", api_key=self.key, concurrency=concurrency, retry=retry, transport=transport)

    async def busy(self, requests: int) -> None:
        """Wait until so many are under way."""
        while self.under_way < requests:  # noqa: ASYNC110 - an event would be more code in every double
            await asyncio.sleep(0)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Of the requests to a path."""
        return [body for at, body in self.asked if at == path]

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.paths[path] += 1
        body = json.loads(request.content) if request.content else {}
        if request.method == "POST":
            self.asked.append((path, body))
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            await asyncio.sleep(0 if self.delay is None else self.delay)
            if self.intercept is not None and (answer := self.intercept(path, body)) is not None:
                return answer
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                raise openai_error(401, "no such key")
            return httpx.Response(200, json=self.answer(path, body))
        except RefusedError as refused:
            return refused.response
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON for a path."""
        if path == "/v1/models":
            return {"object": "list", "data": [self.listed()]}
        if path == "/v1/chat/completions":
            return self.chat(body)
        if path == "/v1/completions":
            return self.completions(body)
        return self.unknown(path)

    def unknown(self, path: str) -> Any:
        raise RefusedError(404, {"detail": "Not Found"})

    def listed(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "owned_by": self.owner}

    def completions(self, body: dict[str, Any]) -> Any:
        raise RefusedError(404, {"detail": "Not Found"})

    def chat(self, body: dict[str, Any]) -> Any:
        raise RefusedError(404, {"detail": "Not Found"})

    def samples(self, text: str, body: Mapping[str, Any], n: int) -> list[Sampled]:
        """The seed of the one behind another is the next number, as vLLM's is."""
        return [
            self.little.goes_on(
                text,
                body.get("seed", 0) + index,
                most=body.get("max_tokens", 16),
                stop=body.get("stop") or [],
                greedy=body.get("temperature", 1.0) == 0,
            )
            for index in range(n)
        ]

    def usage(self, prompt: int, found: Sequence[Sampled]) -> dict[str, Any]:
        counted = sum(len(one.pieces) for one in found)
        return {"prompt_tokens": prompt, "completion_tokens": counted, "total_tokens": prompt + counted}


def _finish(one: Sampled) -> str:
    return "length" if one.ended == "limit" else "stop"


def _columns(one: Sampled) -> dict[str, Any]:
    """The log-probabilities of a completion; the end token is shown by its name."""
    return {"tokens": [piece or "<|eos|>" for piece in one.pieces], "token_logprobs": one.logprobs}


def _content(one: Sampled, *, ids: bool = False) -> dict[str, Any]:
    shown = zip(one.pieces, one.logprobs, one.ids, strict=True)
    return {"content": [{"token": p or "<|eos|>", "logprob": v, **({"id": i} if ids else {})} for p, v, i in shown]}


def _said(one: Sampled, *, keep: bool, field_name: str = "reasoning_content") -> dict[str, Any]:
    """A message, thinking apart."""
    text = one.text(keep=keep)
    thought, found, rest = text.partition("</think>\n\n")
    message: dict[str, Any] = {"role": "assistant", "content": rest if found else text}
    if found:
        message[field_name] = thought.removeprefix("<think>\n").strip()
    return message


@dataclass(slots=True)
class VLLM(Server):
    """vLLM 0.33; `reports_cache` is its --enable-prompt-tokens-details."""

    reports_cache: bool = False
    context: int = 4096
    owner: ClassVar[str] = "vllm"

    def listed(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "owned_by": self.owner, "max_model_len": self.context}

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/version":
            return {"version": "0.33.0"}
        if path == "/tokenize":
            if "messages" in body:
                ids = [BOS, *encode(rendered(body["messages"]))]
            else:
                ids = [BOS] * body["add_special_tokens"] + encode(body["prompt"])
            return {"tokens": ids, "count": len(ids), "max_model_len": self.context}
        if path == "/detokenize":
            return {"prompt": _BEGIN * body["tokens"].count(BOS) + decode(body["tokens"])}
        return Server.answer(self, path, body)

    def _checked(self, body: Mapping[str, Any], prompt: int) -> int:
        n: int = body.get("n", 1)
        if n > 1 and body["temperature"] == 0:
            raise openai_error(400, f"n must be 1 when using greedy sampling, got {n}.")
        if prompt + body.get("max_tokens", 16) > self.context:
            raise openai_error(400, f"This model's maximum context length is {self.context} tokens.")
        return n

    def _usage(self, prompt: int, found: Sequence[Sampled]) -> dict[str, Any]:
        usage = self.usage(prompt, found)
        return usage | ({"prompt_tokens_details": {"cached_tokens": prompt - 1}} if self.reports_cache else {})

    def completions(self, body: dict[str, Any]) -> Any:
        prompt = body["prompt"]
        ids = prompt if isinstance(prompt, list) else [BOS] * body.get("add_special_tokens", True) + encode(prompt)
        found = self.samples(decode(ids), body, self._checked(body, len(ids)))
        keep = body.get("include_stop_str_in_output", False)
        choices = [
            {
                "index": index,
                "text": one.text(keep=keep),
                "finish_reason": _finish(one),
                "stop_reason": None if one.ended in ("eos", "limit") else one.ended,
                "logprobs": _columns(one) if body.get("logprobs") is not None else None,
                "token_ids": one.ids if body.get("return_token_ids") else None,
            }
            for index, one in enumerate(found)
        ]
        # In any order: whoever reads them goes by the index.
        return {"choices": choices[::-1], "usage": self._usage(len(ids), found)}

    def chat(self, body: dict[str, Any]) -> Any:
        go_on = body.get("continue_final_message", False)
        if go_on and body.get("add_generation_prompt", True):
            raise openai_error(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        ids = [BOS, *encode(rendered(body["messages"], go_on=go_on))]
        found = self.samples(decode(ids), body, self._checked(body, len(ids)))
        choices = [
            {
                "index": index,
                "message": _said(one, keep=body.get("include_stop_str_in_output", False), field_name="reasoning"),
                "finish_reason": _finish(one),
                "stop_reason": None if one.ended in ("eos", "limit") else one.ended,
                "logprobs": _content(one) if body.get("logprobs") else None,
            }
            for index, one in enumerate(found)
        ]
        return {"choices": choices, "usage": self._usage(len(ids), found)}


@dataclass(slots=True)
class SGLang(Server):
    """SGLang 0.5.23; `path` is the model's directory on its machine."""

    path: str = "/nowhere"
    owner: ClassVar[str] = "sglang"

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/get_model_info":
            return {"model_path": self.path, "is_generation": True}
        if path == "/server_info":
            return {"version": "0.5.23", "model_path": self.path}
        if path == "/tokenize":
            return {"tokens": [BOS] * body["add_special_tokens"] + encode(body["prompt"])}
        return Server.answer(self, path, body)

    def _choices(self, body: dict[str, Any], found: Sequence[Sampled], chat: bool) -> list[dict[str, Any]]:
        if body.get("top_k", -1) == 0:
            raise openai_error(400, "top_k must be -1 (disable) or at least 1, got 0.")
        keep = body.get("no_stop_trim", False)
        return [
            {
                "index": index,
                **({"message": _said(one, keep=keep)} if chat else {"text": one.text(keep=keep)}),
                "finish_reason": _finish(one),
                "matched_stop": {"eos": EOS, "limit": None}.get(one.ended, one.ended),
                "logprobs": (_content(one) if chat else _columns(one)) if body.get("logprobs") else None,
            }
            for index, one in enumerate(found)
        ]

    def completions(self, body: dict[str, Any]) -> Any:
        prompt = body["prompt"]
        ids = prompt if isinstance(prompt, list) else [BOS, *encode(prompt)]
        found = self.samples(decode(ids), body, body.get("n", 1))
        return {"choices": self._choices(body, found, chat=False), "usage": self.usage(len(ids), found)}

    def chat(self, body: dict[str, Any]) -> Any:
        messages = [dict(one) for one in body["messages"]]
        go_on = body.get("continue_final_message", False)
        if not go_on and messages[-1]["role"] == "assistant":
            messages[-1]["role"] = "user"
        ids = [BOS, *encode(rendered(messages, go_on=go_on))]
        found = self.samples(decode(ids), body, body.get("n", 1))
        return {"choices": self._choices(body, found, chat=True), "usage": self.usage(len(ids), found)}


@dataclass(slots=True)
class LlamaServer(Server):
    """llama-server with `slots` of --parallel; its model file has a template where `template` says so."""

    slots: int = 4
    template: bool = True
    owner: ClassVar[str] = "llamacpp"

    def listed(self) -> dict[str, Any]:
        meta = {"n_params": 1_100_000_000, "n_ctx_train": 2048}
        return {"id": self.model, "object": "model", "owned_by": self.owner, "meta": meta}

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/props":
            settings = {"n_ctx": 2048, "params": {"top_k": 40}}
            return {"total_slots": self.slots, "default_generation_settings": settings, "build_info": "b7000"}
        if path == "/apply-template":
            if not self.template:
                raise openai_error(500, "this model has no template")
            return {"prompt": rendered(body["messages"])}
        if path == "/tokenize":
            return {"tokens": [BOS] * body["add_special"] + encode(body["content"])}
        if path == "/detokenize":
            return {"content": decode(body["tokens"])}
        if path == "/completion":
            return self.native(body)
        return Server.answer(self, path, body)

    def native(self, body: dict[str, Any]) -> Any:
        n = body.get("n_cmpl", 1)
        if n > self.slots:
            raise openai_error(400, f"n_cmpl cannot be greater than the number of slots, got {n} for {self.slots}")
        ids = body["prompt"] if isinstance(body["prompt"], list) else [BOS, *encode(body["prompt"])]
        found = self.samples(decode(ids), body | {"max_tokens": body["n_predict"]}, n)
        held = [self._one(index, one, len(ids), body) for index, one in enumerate(found)]
        return held[::-1] if n > 1 else held[0]

    def _one(self, index: int, one: Sampled, read: int, body: Mapping[str, Any]) -> dict[str, Any]:
        ended = one.ended if one.ended in ("eos", "limit") else "word"
        seen = len(one.pieces)
        if ended == "word":
            seen -= min(len(encode(one.ended)), seen)
        elif ended == "eos":
            seen -= 1
        shown = list(zip(one.pieces, one.ids, one.logprobs, strict=True))[:seen]
        whole = {
            "index": index,
            "content": one.text(keep=False),
            "tokens": one.ids if body.get("return_tokens") else [],
            "stop_type": ended,
            "stopping_word": one.ended if ended == "word" else "",
            "tokens_evaluated": read,
            "timings/cache_n": read - 1,
        }
        if body.get("n_probs"):
            whole["completion_probabilities"] = [{"id": i, "token": p, "logprob": v} for p, i, v in shown]
        return {name: whole[name] for name in body.get("response_fields") or whole if name in whole}

    def chat(self, body: dict[str, Any]) -> Any:
        n = body.get("n", 1)
        if n > self.slots:
            raise openai_error(400, f"n_cmpl cannot be greater than the number of slots, got {n} for {self.slots}")
        go_on = body["messages"][-1]["role"] == "assistant"
        prefill = body["messages"][-1]["content"] if go_on else ""
        ids = [BOS, *encode(rendered(body["messages"], go_on=go_on))]
        found = self.samples(decode(ids), body, n)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": prefill + one.text(keep=False)},
                "finish_reason": _finish(one),
                "logprobs": _content(one, ids=True) if body.get("logprobs") else None,
            }
            for index, one in enumerate(found)
        ]
        details = {"prompt_tokens_details": {"cached_tokens": len(ids) - 1}}
        return {"choices": choices, "usage": self.usage(len(ids), found[:1]) | details}


@dataclass(slots=True)
class Ollama(Server):
    """One continuation a request; only its own API takes a prompt as it is."""

    owner: ClassVar[str] = "library"
    model: ClassVar[str] = "little:1b"

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/api/version":
            return {"version": "0.30.1"}
        if path == "/api/generate":
            return self.generate(body)
        return Server.answer(self, path, body)

    def generate(self, body: dict[str, Any]) -> Any:
        options = body.get("options") or {}
        text = body["prompt"] if body.get("raw") else rendered([{"role": "user", "content": body["prompt"]}])
        (one,) = self.samples(text, options | {"max_tokens": options.get("num_predict", 128)}, 1)
        return {
            "response": one.text(keep=False),
            "done": True,
            "done_reason": _finish(one),
            "prompt_eval_count": len(encode(text)) + 1,
            "eval_count": len(one.pieces),
        }

    def completions(self, body: dict[str, Any]) -> Any:
        if not isinstance(body["prompt"], str):
            raise openai_error(400, "prompt must be a string")
        text = rendered([{"role": "user", "content": body["prompt"]}])
        (one,) = self.samples(text, body, 1)
        choice = {"index": 0, "text": one.text(keep=False), "finish_reason": _finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(text)), [one])}

    def chat(self, body: dict[str, Any]) -> Any:
        text = rendered(body["messages"], go_on=body["messages"][-1]["role"] == "assistant")
        (one,) = self.samples(text, body, 1)
        message = _said(one, keep=False, field_name="reasoning")
        choice = {"index": 0, "message": message, "finish_reason": _finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(text)), [one])}


@dataclass(slots=True)
class LMStudio(Server):
    """Raw completions, one a request; what it does not know it ignores, a path it does not know it answers with 200."""

    owner: ClassVar[str] = "organization_owner"

    def unknown(self, path: str) -> Any:
        return {"error": f"Unexpected endpoint or method. (GET {path})"}

    def completions(self, body: dict[str, Any]) -> Any:
        if not isinstance(body["prompt"], str):
            raise RefusedError(400, {"error": "'prompt' field must be a string"})
        (one,) = self.samples(body["prompt"], body, 1)
        choice = {"index": 0, "text": one.text(keep=False), "logprobs": None, "finish_reason": _finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(body["prompt"])), [one])}

    def chat(self, body: dict[str, Any]) -> Any:
        text = rendered(body["messages"])
        (one,) = self.samples(text, body, 1)
        choice = {"index": 0, "message": _said(one, keep=False), "logprobs": None, "finish_reason": _finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(text)), [one])}


@dataclass(slots=True)
class TGI(Server):
    """Text Generation Inference 3.3: refuses top_p = 1, keeps the stop text, says "stop_sequence", trims a prefill."""

    def _checked(self, body: Mapping[str, Any]) -> None:
        if not 0 < body.get("top_p", 0.5) < 1:
            raise RefusedError(
                422, {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}
            )

    def completions(self, body: dict[str, Any]) -> Any:
        self._checked(body)
        if not isinstance(body["prompt"], str):
            raise RefusedError(422, {"error": "prompt: invalid type", "error_type": "validation"})
        (one,) = self.samples(body["prompt"], body, 1)
        choice = {"index": 0, "text": one.text(keep=True), "logprobs": None, "finish_reason": self._finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(body["prompt"])) + 1, [one])}

    def chat(self, body: dict[str, Any]) -> Any:
        self._checked(body)
        go_on = body["messages"][-1]["role"] == "assistant"
        text = rendered(body["messages"], go_on=go_on)
        text = text.rstrip() if go_on else text
        (one,) = self.samples(text, body, 1)
        choice = {"index": 0, "message": _said(one, keep=True), "finish_reason": self._finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(text)), [one])}

    def _finish(self, one: Sampled) -> str:
        return {"eos": "stop", "limit": "length"}.get(one.ended, "stop_sequence")


@dataclass(slots=True)
class Strict(Server):
    """Refuses every field that it does not know."""

    known: ClassVar[frozenset[str]] = frozenset({"model", "messages", "prompt", "max_tokens", "temperature", "seed"})

    def _checked(self, body: Mapping[str, Any]) -> None:
        if unknown := body.keys() - self.known:
            raise openai_error(400, f"Unrecognized request argument supplied: {', '.join(sorted(unknown))}")

    def chat(self, body: dict[str, Any]) -> Any:
        self._checked(body)
        return self._answered(body)

    def _answered(self, body: dict[str, Any]) -> dict[str, Any]:
        """A trailing message of the assistant's is one of those before; it answers anew."""
        text = rendered(body["messages"])
        found = self.samples(text, body, body.get("n", 1))
        choices = [
            {
                "index": index,
                "message": _said(one, keep=False),
                "finish_reason": _finish(one),
                "logprobs": _content(one) if body.get("logprobs") else None,
            }
            for index, one in enumerate(found)
        ]
        return {"choices": choices, "usage": self.usage(len(encode(text)), found)}


@dataclass(slots=True)
class Hosted(Strict):
    """A service with OpenAI's chat and nothing else."""

    known: ClassVar[frozenset[str]] = Strict.known | {
        "n",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "logprobs",
        "top_logprobs",
    }


@dataclass(slots=True)
class HostedThinker(Hosted):
    """A service's model that thinks, says how much but not what, and takes neither max_tokens nor a temperature."""

    known: ClassVar[frozenset[str]] = (Strict.known - {"max_tokens"}) | {"n", "max_completion_tokens"}
    thought: int = 20

    def chat(self, body: dict[str, Any]) -> Any:
        if body.get("temperature", 1.0) != 1:
            raise openai_error(
                400, "Unsupported value: 'temperature' does not support 0. Only the default is supported"
            )
        self._checked(body)
        room = body["max_completion_tokens"] - self.thought
        held = self._answered({**body, "max_tokens": room}) if room > 0 else None
        n = body.get("n", 1)
        if held is None:
            choice = {"message": {"content": ""}, "finish_reason": "length"}
            held = {"choices": [choice] * n, "usage": {"prompt_tokens": 9, "completion_tokens": 0}}
        held["usage"]["completion_tokens"] += n * self.thought
        held["usage"]["completion_tokens_details"] = {"reasoning_tokens": n * self.thought}
        return held


@dataclass(slots=True)
class Transformers(Strict):
    """`transformers serve` of a version that refuses n and log-probabilities; the stop text stays."""

    known: ClassVar[frozenset[str]] = Strict.known | {"top_p", "presence_penalty", "frequency_penalty", "stop"}

    def completions(self, body: dict[str, Any]) -> Any:
        self._checked(body)
        if not isinstance(body["prompt"], str):
            raise RefusedError(400, {"detail": "prompt must be a string."})
        (one,) = self.samples(body["prompt"], body, 1)
        choice = {"index": 0, "text": one.text(keep=True), "finish_reason": _finish(one)}
        return {"choices": [choice], "usage": self.usage(len(encode(body["prompt"])), [one])}


@dataclass(slots=True)
class DeepSeek(Strict):
    """Goes on from an assistant's message that is marked; thinks apart where the model does."""

    known: ClassVar[frozenset[str]] = Hosted.known - {"n"}

    def chat(self, body: dict[str, Any]) -> Any:
        self._checked(body)
        last = body["messages"][-1]
        if last["role"] == "assistant" and not last.get("prefix"):
            raise openai_error(400, "The last message of role assistant must have prefix set to true.")
        text = rendered(body["messages"], go_on=last["role"] == "assistant")
        (one,) = self.samples(text, body, 1)
        choice = {
            "index": 0,
            "message": _said(one, keep=False),
            "finish_reason": _finish(one),
            "logprobs": _content(one) if body.get("logprobs") else None,
        }
        return {"choices": [choice], "usage": self.usage(len(encode(text)), [one])}


SERVERS: dict[str, type[Server]] = {
    "vllm": VLLM,
    "sglang": SGLang,
    "llama": LlamaServer,
    "ollama": Ollama,
    "lmstudio": LMStudio,
    "tgi": TGI,
    "transformers": Transformers,
    "hosted": Hosted,
    "thinker": HostedThinker,
    "deepseek": DeepSeek,
}


TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""What `rendered` does, for Jinja."""


async def found_on(server: Server, **settings: Any) -> connect.ServerModelSpec:
    """What `find_served` finds."""
    with patch.object(connect, "HttpClient", lambda *_, **__: server.client()):
        return await connect.probe_model("http://test/v1", None, **{"parameters": 1e9, **settings})


@asynccontextmanager
async def served(
    server: Server,
    *,
    chat_template: str | None = None,
    thinking: bool = True,
    thinking_budget: int | None = None,
    delimiter: str = "\n",
    instruction: str = "",
    ceiling: SpendLimit | None = None,
    prices: Prices | None = None,
    concurrency: int = 256,
    tries: int = 1,
) -> AsyncIterator[ServerModel]:
    """Its model, as the commands open it; what was asked to find out is forgotten."""
    found = await found_on(server, chat_template=chat_template, thinking=thinking, thinking_budget=thinking_budget)
    async with server.client(concurrency=concurrency, tries=tries) as client:
        model = await connect.connect_model(
            found, client, delimiter=delimiter, instruction=instruction, ceiling=ceiling, prices=prices
        )
        server.asked.clear()
        server.paths.clear()
        server.peak = 0
        yield model


class Lenient(SimulatedTask):
    """Reads an answer that a delimiter stands behind: where nobody says what ended a solution, one is put there."""

    def answer(self, solution: str) -> str | None:
        return SimulatedTask.answer(self, solution.rstrip("\n"))
