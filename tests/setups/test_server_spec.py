"""Served models as a source: what a configuration keeps of them, and who is sent which key."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import VLLM, Little, Server, found_on

from computewise.core import LARGE, MODEL, Usage
from computewise.costs import Prices
from computewise.http import client as http_client
from computewise.http.client import KEYS, api_key_for
from computewise.models.cached import CachedModel
from computewise.models.server.connect import ServerModelSpec, spec_from_dict
from computewise.session import Limits
from computewise.setups.server import ServerSpec, SpendPolicy, SpendReport, spec_from_config
from computewise.study.executors import AsyncExecutor, executor_for
from computewise.tasks.load import TaskSpec
from computewise.verifiers.base import VerifierSpec

PRICES = Prices(input=0.1, cached_input=0.05, output=0.4, verifier=0.2)
PROBLEM = "problem 41734 of 3 steps"


async def source(server: Server | None = None, **changes: Any) -> ServerSpec:
    """A vLLM with log-probabilities for a verifier, on free questions."""
    settings: dict[str, Any] = {
        "small": await found_on(server or VLLM()),
        "large": None,
        "verifier": VerifierSpec("logprob"),
        "problems": TaskSpec("question", grader="exact", delimiter="\n"),
        "bounds": Limits(steps=7, tokens=99),
        "sampling_temperature": 0.7,
        "prices": {},
        "spending": SpendPolicy(),
    }
    return ServerSpec(**{**settings, **changes})


async def two(**changes: Any) -> ServerSpec:
    """A larger model and a judge, each on a server of its own."""
    large = replace(
        await found_on(VLLM()), model="someone/big-7b", base_url="http://larger/v1", parameters=7_000_000_000
    )
    judge = VerifierSpec("judge", model="wise-3b", base_url="http://judge/v1", parameters=3_000_000_000)
    return await source(large=large, verifier=judge, prices={"model": PRICES, "large": PRICES}, **changes)


def sockets(monkeypatch: pytest.MonkeyPatch, server: Server) -> list[tuple[str, str | None]]:
    """`server` wherever anybody calls; who was sent which key."""
    seen: list[tuple[str, str | None]] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        return await server.handle(request)

    monkeypatch.setattr(http_client, "AiohttpTransport", lambda *_: httpx.MockTransport(handle))
    return seen


async def test_a_configuration_gives_the_source_back() -> None:
    for held in (await source(), await two()):
        plain = json.loads(json.dumps(held.to_dict()))
        assert spec_from_config(plain) == held
        assert pickle.loads(pickle.dumps(held)) == held


async def test_the_embedded_verifier_is_restored() -> None:
    held = await source(verifier=None, problems=TaskSpec("expressions"))
    assert held.to_dict()["verifier"] == "prm"
    assert spec_from_config(json.loads(json.dumps(held.to_dict()))) == held
    assert (held.split(), (await source()).split()) == ("test", "all")


async def test_where_servers_are_is_kept_apart() -> None:
    held = await two()
    plain = held.to_dict()
    assert plain.pop("servers") == {
        "model": "http://test/v1",
        "large": "http://larger/v1",
        "verifier": "http://judge/v1",
    }
    assert "http://" not in json.dumps(plain)
    moved = replace(held, small=replace(held.small, base_url="http://moved/v1"))
    assert {**moved.to_dict(), "servers": 0} == {**held.to_dict(), "servers": 0}


async def test_what_decides_a_number_is_in_the_configuration() -> None:
    held = await two()
    others = [
        replace(held, small=replace(held.small, revision="another")),
        replace(held, small=replace(held.small, thinking=False)),
        replace(held, small=replace(held.small, chat_template="plain")),
        replace(held, large=None),
        replace(held, verifier=VerifierSpec("logprob")),
        replace(held, problems=replace(held.problems, instruction="Be brief.")),
        replace(held, bounds=Limits(steps=8, tokens=99)),
        replace(held, sampling_temperature=0.8),
        replace(held, prices={}),
    ]
    plains = [json.dumps(one.to_dict()) for one in (held, *others)]
    assert len(set(plains)) == len(plains)
    assert replace(held, spending=SpendPolicy(tokens=5, cache=Path("x"))).to_dict() == held.to_dict()


async def test_names_and_sizes() -> None:
    models = (await two()).roles()
    assert models.labels == {"model": "little-1b", "large": "big-7b", "verifier": "wise-3b"}
    assert models.sizes == {"model": 1_000_000_000, "large": 7_000_000_000, "verifier": 3_000_000_000}
    assert models.steps
    assert (await source()).roles().labels["verifier"] == "logprob"
    assert (await source()).roles().sizes["verifier"] == 0
    assert "verifier" not in (await source(verifier=VerifierSpec("none"))).roles().sizes


@pytest.mark.parametrize(
    ("template", "label"),
    [
        ("qwen2.5-math-7b", "qwen2.5-math-7b"),
        ("Qwen/Qwen2.5-Math-PRM-7B", "Qwen2.5-Math-PRM-7B"),
        ("somewhere/my.toml", "my"),
    ],
)
async def test_a_verifier_is_called_by_all_of_its_name(template: str, label: str) -> None:
    verifier = VerifierSpec(template, base_url="http://reader/v1", parameters=7_000_000_000)
    assert (await source(verifier=verifier)).roles().labels["verifier"] == label


async def test_limits_temperature_and_who_works() -> None:
    held = await source(spending=SpendPolicy(in_flight=5))
    assert (held.limits(), held.temperature(), executor_for(held)) == (
        Limits(steps=7, tokens=99),
        0.7,
        AsyncExecutor(5),
    )


async def test_a_configuration_of_a_later_version_is_read() -> None:
    found = await found_on(VLLM())
    plain = found.to_dict()
    assert spec_from_dict(plain | {"capabilities": {**plain["capabilities"], "later": 1}}, found.base_url) == found


async def test_the_revision_is_what_the_list_says_of_the_weights() -> None:
    class Rooted(VLLM):
        def listed(self) -> dict[str, Any]:
            return {**VLLM.listed(self), "root": "someone/little", "created": 5}

    first, same, other = [(await found_on(server)).revision for server in (Rooted(), Rooted(), Rooted(context=99))]
    assert first == same == json.dumps({"max_model_len": 4096, "root": "someone/little"})
    assert other != first


def test_a_key_is_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for role, name in KEYS.items():
        monkeypatch.setenv(name, "")
        assert api_key_for(role) is None
        monkeypatch.setenv(name, f"sk-{role}")
    assert [api_key_for(role) for role in KEYS] == [f"sk-{role}" for role in KEYS]


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_each_server_is_sent_its_own_key(elsewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for role, name in KEYS.items():
        monkeypatch.setenv(name, f"sk-{role}")
    seen = sockets(monkeypatch, VLLM(Little()))
    held = await source()
    large = replace(held.small, base_url="http://larger/v1" if elsewhere else "http://test/v1/", model="little-1b")
    async with replace(held, large=large).open() as opened:
        seen.clear()
        for role in (MODEL, LARGE):
            await opened.model(role).sample(PROBLEM, "", 1, stop=None, max_tokens=40, temperature=1.0, seeds=[1])
    assert set(seen) == {("test", "Bearer sk-model"), *([("larger", "Bearer sk-large")] if elsewhere else [])}


async def ask(held: ServerSpec, seed: int = 1) -> tuple[str, Usage]:
    """One solution, and what of it came from the cache."""
    async with held.open() as opened:
        model = opened.model("model")
        (found,) = await model.sample(PROBLEM, "", 1, stop=None, max_tokens=40, temperature=1.0, seeds=[seed])
        assert isinstance(model, CachedModel)
        return "".join(step.text for step in found.steps), model.saved


async def test_the_cache_s_keys_hold_what_decides_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets(monkeypatch, VLLM(Little()))
    template = tmp_path / "template.jinja"
    template.write_text("<|user|>{{ messages[0].content }}<|end|><|assistant|>", "utf-8")
    held = await source(spending=SpendPolicy(cache=tmp_path / "cache.sqlite"))
    rendered = replace(held, small=replace(held.small, chat_template=str(template)))
    moved = replace(held, small=replace(held.small, base_url="http://moved/v1"))
    told = replace(held, problems=replace(held.problems, instruction="Be brief."))
    other = replace(held, small=replace(held.small, revision="another"))
    assert not (await ask(held))[1].samples
    for one, known in ((held, True), (moved, True), (told, False), (other, False), (rendered, False), (rendered, True)):
        _, saved = await ask(one)
        assert (saved.samples == 1) == known, one
    template.write_text("<|user|>{{ messages[0].content }} !<|end|><|assistant|>", "utf-8")
    assert not (await ask(rendered))[1].samples


async def test_every_model_gives_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = VLLM(Little())
    sockets(monkeypatch, server)
    accounts: list[SpendReport] = []
    held = await source(spending=SpendPolicy(cache=tmp_path / "cache.sqlite", account=accounts.append))
    for _ in range(2):
        await ask(held)
    paid, free = accounts
    assert (paid.model, paid.observed.requests, paid.saved.samples) == ("little-1b", 1, 0)
    assert paid.observed.counted == paid.observed.said > 0
    assert (free.observed.requests, free.saved.completion_tokens) == (0, paid.observed.counted)


async def test_one_ceiling_is_for_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets(monkeypatch, VLLM(Little()))
    held = await source(spending=SpendPolicy(tokens=60))
    async with replace(held, large=held.small).open() as opened:
        asked: dict[str, Any] = {"stop": None, "max_tokens": 40, "temperature": 1.0, "seeds": [1]}
        await opened.model("model").sample(PROBLEM, "", 1, **asked)
        with pytest.raises(Exception, match="the spending limit of 60 tokens is reached"):
            await opened.model("large").sample(PROBLEM, "", 1, **asked)


def test_a_name_for_people_is_the_last_part_of_it() -> None:
    served: dict[str, Any] = {"base_url": "http://test/v1", "parameters": 1, "capabilities": None}
    names = ("little", "someone/little", "/models/little/", "/")
    assert [ServerModelSpec(model=name, **served).label for name in names] == ["little", "little", "little", "/"]
