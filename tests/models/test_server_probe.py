"""What is concluded of each server, and why a search by steps is refused on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import msgspec
import pytest
from refusing import Refusing
from requests_to_servers import ask
from servers import (
    COUNTING,
    SERVERS,
    TEMPLATE,
    TGI,
    VLLM,
    DeepSeek,
    Hosted,
    HostedThinker,
    Little,
    LlamaServer,
    LMStudio,
    Ollama,
    Server,
    SGLang,
    Strict,
    decode,
    encode,
    found_on,
    openai_error,
    rendered,
    served,
)

from computewise.errors import ComputewiseError, ServerError, UsageError
from computewise.http.client import HttpClient
from computewise.models.server import connect
from computewise.models.server.capabilities import Capabilities
from computewise.models.server.connect import parameters_in
from computewise.models.server.probe import MANY, find_model
from computewise.strategies import STRATEGIES

Expected = dict[str, Any]
KINDS: list[tuple[str, str | None, Expected]] = [
    ("vllm", None, {"rung": "A", "n": MANY, "token_ids": True, "keeps_stop": True, "logprobs": True, "context": 4096}),
    ("sglang", None, {"rung": "C", "n": MANY, "token_ids": True, "keeps_stop": True, "logprobs": True}),
    ("sglang", "plain", {"rung": "A", "n": MANY, "template": "plain"}),
    ("llama", None, {"rung": "A", "n": 4, "keeps_stop": False, "cached_tokens": True, "echoes": True, "context": 2048}),
    ("ollama", None, {"rung": "C", "n": 1, "logprobs": False, "prefill": True}),
    ("ollama", "plain", {"rung": "B", "n": 1, "token_ids": False}),
    ("lmstudio", None, {"rung": "D", "n": 1, "raw": True, "prefill": False, "logprobs": False}),
    ("lmstudio", "plain", {"rung": "B", "says_which_stop": False}),
    ("tgi", None, {"rung": "D", "prefill": True, "keeps_separator": False}),
    ("tgi", "plain", {"rung": "A", "n": 1, "says_which_stop": True, "keeps_stop": True}),
    ("transformers", "plain", {"rung": "A", "n": 1, "prefill": False, "logprobs": False}),
    ("hosted", None, {"rung": "D", "raw": False, "n": MANY, "logprobs": True, "prefill": False}),
    ("deepseek", None, {"rung": "C", "n": 1, "marked_prefill": True, "keeps_separator": True}),
]


@pytest.mark.parametrize(("name", "template", "expected"), KINDS, ids=[f"{kind[0]}-{kind[1]}" for kind in KINDS])
async def test_each_server_is_known_for_what_it_can_do(name: str, template: str | None, expected: Expected) -> None:
    found = (await found_on(SERVERS[name](), chat_template=template)).capabilities
    held = {**found.to_dict(), "steps": found.steps}
    assert {field: held[field] for field in expected} == expected
    assert found.steps == (found.rung != "D")
    assert found.chat
    assert not found.thinks


@pytest.mark.parametrize("name", SERVERS)
async def test_to_find_out_takes_few_requests_of_few_tokens(name: str) -> None:
    server = SERVERS[name]()
    await found_on(server)
    assert sum(server.paths.values()) <= 30
    bodies = [body for path, body in server.asked if path.endswith("completions")]
    limits = [body.get("max_tokens") or body["max_completion_tokens"] for body in bodies]
    assert all(0 < limit <= 24 for limit in limits)


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama", "ollama"])
async def test_a_server_that_tells_its_kind_tells_its_version(name: str) -> None:
    found = (await found_on(SERVERS[name]())).capabilities
    assert found.version in ("0.33.0", "0.5.23", "b7000", "0.30.1")


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama", "ollama"])
async def test_a_server_is_known_behind_a_list_that_names_another_owner(name: str) -> None:
    plainly = (await found_on(SERVERS[name]())).capabilities
    kind: Any = SERVERS[name]

    class Renamed(kind):  # type: ignore[misc]
        owner = "organization"

    assert (await found_on(Renamed())).capabilities.server == plainly.server


async def test_cached_tokens_are_reported_where_the_server_was_told_to() -> None:
    assert (await found_on(VLLM(reports_cache=True))).capabilities.cached_tokens
    assert not (await found_on(VLLM())).capabilities.cached_tokens


async def test_more_than_one_is_not_asked_for_greedily_which_vllm_refuses() -> None:
    server = VLLM()
    await found_on(server)
    greedy = [body for path, body in server.asked if path.endswith("completions") and body["temperature"] == 0]
    assert greedy
    assert all(body.get("n", 1) == 1 for body in greedy)


REASONS: list[tuple[str, Callable[[], Server], str | None, str]] = [
    ("no raw prompts and no prefill", Hosted, None, "neither accepts raw prompts nor continues"),
    ("nobody tells the template", LMStudio, None, "give --chat-template FILE, or plain"),
    ("it thinks", lambda: VLLM(Little(thinks="hm")), None, "it thinks before it answers"),
]


@pytest.mark.parametrize(
    ("server", "template", "why"), [reason[1:] for reason in REASONS], ids=[reason[0] for reason in REASONS]
)
async def test_every_refusal_has_its_reason(server: Callable[[], Server], template: str | None, why: str) -> None:
    found = (await found_on(server(), chat_template=template)).capabilities
    assert not found.steps
    assert why in found.why_no_steps
    assert "\n" not in found.why_no_steps
    strategies = found.strategies()
    assert set(strategies) == set(STRATEGIES)
    assert all(strategies[name] is None for name in STRATEGIES if not STRATEGIES[name].needs_steps)
    assert all(why in (strategies[name] or "") for name in STRATEGIES if STRATEGIES[name].needs_steps)


@dataclass(slots=True)
class TrimmingChat(Strict):
    """Goes on from the assistant's last message, but trims it first."""

    known = Strict.known | {"top_p", "presence_penalty", "frequency_penalty", "stop"}
    counts: bool = True

    def chat(self, body: dict[str, Any]) -> Any:
        self._checked(body)
        text = rendered(body["messages"], go_on=body["messages"][-1]["role"] == "assistant", trim=True)
        (one,) = self.samples(text, body, 1)
        choice = {"index": 0, "message": {"content": one.text(keep=False)}, "finish_reason": "stop"}
        return {"choices": [choice], **({"usage": self.usage(len(encode(text)), [one])} if self.counts else {})}


@pytest.mark.parametrize("counts", [True, False])
async def test_a_chat_that_trims_or_might_trim_its_delimiter_is_not_searched(counts: bool) -> None:
    found = (await found_on(TrimmingChat(counts=counts))).capabilities
    assert (found.prefill, found.keeps_separator, found.rung) == (True, False, "D")
    assert "trims the blank line" in found.why_no_steps


async def test_completions_around_which_a_template_is_put_are_no_raw_prompts() -> None:
    """As Ollama's, and what a proxy makes of them for a provider that has only a chat."""

    class Wrapped(LMStudio):
        def completions(self, body: dict[str, Any]) -> Any:
            messages = [{"role": "user", "content": body["prompt"]}]
            return LMStudio.completions(self, {**body, "prompt": rendered(messages)})

    found = (await found_on(Wrapped(), chat_template="plain")).capabilities
    assert (found.raw, found.rung) == (False, "D")


async def test_to_answer_anew_and_say_the_same_is_no_echo() -> None:
    """A greedy server that puts its answer behind the assistant's message says the whole of it again."""
    server = Hosted()
    found = (await found_on(server)).capabilities
    said = [body["messages"][-1] for path, body in server.asked if path.endswith("chat/completions")]
    assert any(one["role"] == "assistant" for one in said)
    assert not found.prefill
    assert not found.echoes


async def test_a_prefill_is_cut_before_a_space() -> None:
    server = VLLM()
    await found_on(server)
    begun = [body["messages"][-1]["content"] for path, body in server.asked if body.get("continue_final_message")]
    assert COUNTING.startswith(begun[0] + " ")


async def test_a_hosted_model_that_thinks_out_of_sight_is_seen_to() -> None:
    found = (await found_on(HostedThinker())).capabilities
    assert (found.rung, found.thinks, found.n) == ("D", True, MANY)
    assert found.adapted["chat/completions"]["limit"] == "max_completion_tokens"
    assert found.temperature(0.0) == found.temperature(1.0) == 1


@pytest.mark.parametrize("thinks", ["hm"])
@pytest.mark.parametrize("kind", [VLLM, SGLang, LMStudio, DeepSeek])
async def test_a_model_that_thinks_is_seen_to(kind: Callable[..., Server], thinks: str) -> None:
    assert (await found_on(kind(Little(thinks=thinks)))).capabilities.thinks


async def test_a_template_that_opens_the_thinking_itself_says_that_the_model_thinks(tmp_path: Path) -> None:
    template = tmp_path / "thinking.jinja"
    template.write_text(TEMPLATE.replace("<|assistant|>", "<|assistant|><think>\n"))
    assert (await found_on(VLLM(), chat_template=str(template))).capabilities.thinks
    template.write_text(TEMPLATE.replace("<|assistant|>", "<|assistant|><think>\n\n</think>\n\n"))
    assert not (await found_on(VLLM(), chat_template=str(template))).capabilities.thinks


async def test_without_thinking_every_probe_says_so() -> None:
    server = VLLM()
    await found_on(server, thinking=False)
    kwargs = [body.get("chat_template_kwargs") for path, body in server.asked if path != "/detokenize"]
    plain = [body for path, body in server.asked if path == "/tokenize" and "prompt" in body]
    assert kwargs.count({"enable_thinking": False}) == len(kwargs) - len(plain)


async def test_the_only_model_listed_is_meant_and_another_must_be_named() -> None:
    class Two(VLLM):
        def answer(self, path: str, body: dict[str, Any]) -> Any:
            if path == "/v1/models":
                return {"data": [{"id": "a", "owned_by": "vllm"}, {"id": "b", "owned_by": "vllm"}]}
            return VLLM.answer(self, path, body)

    assert (await found_on(VLLM())).model == VLLM.model
    async with Two().client() as client:
        assert (await find_model(client, "b"))[0] == "b"
        with pytest.raises(UsageError, match="lists a, b"):
            await find_model(client, None)
        with pytest.raises(UsageError, match="has no model 'c': it lists a, b"):
            await find_model(client, "c")


async def test_llama_and_ollama_answer_to_any_name() -> None:
    for kind in (LlamaServer, Ollama):
        async with kind().client() as client:
            assert (await find_model(client, "another"))[0] == "another"


async def test_a_refused_key_is_an_error_at_once() -> None:
    server = Hosted(key="another")
    client = server.client()
    server.key = "secret-key"
    async with client:
        with pytest.raises(ServerError) as error:
            await find_model(client, None)
    assert error.value.status == 401


async def test_a_server_of_neither_chat_nor_completions_is_refused() -> None:
    with pytest.raises(UsageError, match="neither chat nor completions"):
        await found_on(Server())


async def test_a_base_model_without_a_chat_is_searched_as_such() -> None:
    class Base(VLLM):
        def chat(self, body: dict[str, Any]) -> Any:
            return Server.chat(self, body)

    found = (await found_on(Base(), chat_template="plain")).capabilities
    assert (found.chat, found.rung, found.n) == (False, "A", MANY)


async def test_thinking_is_bounded_only_where_the_server_can() -> None:
    assert (await found_on(VLLM(), thinking_budget=64)).thinking_budget == 64
    with pytest.raises(UsageError, match="cannot bound thinking"):
        await found_on(SGLang(), thinking_budget=64)


async def test_parameters_are_given_said_by_the_server_or_by_the_name() -> None:
    assert (await found_on(VLLM(), parameters=3e9)).parameters == 3_000_000_000
    assert (await found_on(LlamaServer(), parameters=None)).parameters == 1_100_000_000
    assert (await found_on(VLLM(), parameters=None)).parameters == 1_000_000_000
    assert [parameters_in(name) for name in ("Qwen3-1.7B", "a/SmolLM2-135M-Instruct", "mixtral-8x7b", "v2.5")] == [
        1_700_000_000,
        135_000_000,
        None,
        None,
    ]
    with pytest.raises(UsageError, match="at least 1"):
        await found_on(VLLM(), parameters=0.5)


async def test_capabilities_are_plain_and_come_back() -> None:
    found = (await found_on(VLLM())).capabilities
    plain = msgspec.json.decode(msgspec.json.encode(found.to_dict()))
    assert (plain.pop("rung"), plain.pop("steps")) == ("A", True)
    assert Capabilities(**plain) == found


NONSENSE: list[Any] = [
    None,
    [],
    7,
    "text",
    {},
    {"choices": None},
    {"choices": []},
    {"choices": [7]},
    {"choices": [{"message": {"content": 7}}]},
    {"choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": []}}]},
    {"choices": [{"index": "x"}], "usage": 7},
    {"error": "out of memory"},
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=map(str, range(len(NONSENSE))))
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/completions", "/tokenize", "/version"])
async def test_nonsense_with_status_200_is_an_error_of_one_line_or_passed_over(path: str, nonsense: Any) -> None:
    def intercept(at: str, body: Mapping[str, Any]) -> httpx.Response | None:
        return httpx.Response(200, json=nonsense) if at == path else None

    said = ""
    try:
        await found_on(VLLM(intercept=intercept), chat_template="plain")
    except ComputewiseError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 600


def test_a_tgi_double_refuses_what_tgi_refuses() -> None:
    with pytest.raises(Exception, match="top_p"):
        TGI().completions({"prompt": "1", "top_p": 1.0})


@pytest.mark.parametrize("named", [None, "fake-1b"])
@pytest.mark.parametrize("given", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/completions", "/v1/models/"])
async def test_an_address_is_found_without_its_version_and_with_a_route_behind_it(
    given: str, named: str | None
) -> None:
    server = Refusing()
    with patch.object(connect, "HttpClient", lambda base_url, **_: server.client(base_url)):
        found = await connect.probe_model(f"http://test{given}", named, parameters=1e9)
    assert found.base_url == "http://test/v1"


@pytest.mark.parametrize("given", ["", "/v1"])
async def test_an_address_without_a_server_of_models_is_told_both_ways(given: str) -> None:
    def nothing(base_url: str, **_: Any) -> HttpClient:
        return HttpClient(base_url, transport=httpx.MockTransport(lambda _: httpx.Response(404, text="Not Found")))

    with patch.object(connect, "HttpClient", nothing):
        with pytest.raises(UsageError, match=f"name the model by --model: http://test{given} lists none") as error:
            await connect.probe_model(f"http://test{given}", None)
        assert ("http://test/v1 none either" in str(error.value)) == (given == "")
        with pytest.raises(UsageError, match="404: Not Found") as error:
            await connect.probe_model(f"http://test{given}", "m")
    assert ("should the address be http://test/v1?" in str(error.value)) == (given == "")


TEMPLATES = {
    "takes": TEMPLATE,
    "refuses": "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE,
    "leaves out": TEMPLATE.replace("in messages %}", "in messages if message.role != 'system' %}"),
}


@pytest.mark.parametrize("kind", TEMPLATES)
async def test_a_template_that_takes_no_system_message_gets_it_in_the_users(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "template.jinja"
    path.write_text(TEMPLATES[kind])
    server = VLLM()
    async with served(server, chat_template=str(path), instruction="Be brief.") as model:
        await ask(model, prompt="Well?")
    (body,) = server.bodies("/v1/completions")
    apart, folded = "<|system|>Be brief.<|end|><|user|>Well?", "<|user|>Be brief.\n\nWell?"
    prompt = decode(body["prompt"]) if isinstance(body["prompt"], list) else body["prompt"]
    assert (apart if kind == "takes" else folded) in prompt
    assert prompt.count("Be brief.") == 1


async def test_a_chat_that_refuses_stop_texts_is_not_searched_by_steps() -> None:
    class Unstoppable(DeepSeek):
        def chat(self, body: dict[str, Any]) -> Any:
            if "stop" in body:
                raise openai_error(400, "stop is not supported")
            return DeepSeek.chat(self, body)

    found = (await found_on(Unstoppable())).capabilities
    assert not found.steps
    assert found.why_no_steps == "the server refuses stop texts, which end a step"


async def test_a_temperature_that_is_not_accepted_is_told() -> None:
    found = (await found_on(HostedThinker())).capabilities
    assert [found.temperature(asked) for asked in (0.0, 0.7, 1.0)] == [1.0, 1.0, 1.0]
    assert any("max_completion_tokens for max_tokens" in one for one in found.told)
    assert (await found_on(VLLM())).capabilities.told == []
