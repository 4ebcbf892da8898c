"""What is asked of a server that refuses some of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from refusing import OPTIONAL, STATUSES, WORDINGS, Refusing, limit_of

from computewise.core import Candidate, Completion, Problem, Step
from computewise.errors import ServerError, UsageError
from computewise.http.accepted import Adaptation, adaptation_from, folded
from computewise.http.servers import ask
from computewise.models.server import connect
from computewise.models.server.model import ServerModel
from computewise.verifiers.base import VerifierSpec
from computewise.verifiers.load import open_verifier

TOLD = ["Unsupported parameter", "Invalid request.", "messages", "messages", "Unsupported parameter"]
TOLD += ["Unsupported parameter", "cannot be served by any provider", "The request was refused", ""]
"""What each of `WORDINGS` says to a person."""

QUESTION = "What is 6*7?"
MANY = 5
SERVERS = st.builds(
    Refusing,
    unknown=st.frozensets(st.sampled_from(OPTIONAL)),
    temperatures=st.sampled_from([(0.0, 2.0), (0.0, 1.0), (0.01, 2.0), (0.1, 1.0), (0.3, 1.0), (1.0, 1.0)]),
    most_n=st.sampled_from([1, 2, 3, 4, 128]),
    most_listed=st.sampled_from([0, 1, 5, 20]),
    system=st.booleans(),
    status=st.sampled_from(STATUSES),
    wording=st.sampled_from(range(len(WORDINGS))),
)


async def sampled(model: ServerModel, n: int, temperature: float = 1.0) -> list[Completion]:
    """Whole solutions."""
    return await model.sample(QUESTION, "", n, stop=None, max_tokens=60, temperature=temperature, seeds=list(range(n)))


async def probed(server: Refusing) -> connect.ServerModelSpec:
    with patch.object(connect, "HttpClient", lambda *_, **__: server.client()):
        return await connect.probe_model("http://test/v1", None, parameters=1e9)


async def solved(server: Refusing) -> connect.ServerModelSpec:
    """Probe the server, sample several solutions and a greedy one, and have one judged."""
    spec = await probed(server)
    async with server.client() as client:
        model = await connect.connect_model(spec, client, delimiter="\n\n", instruction="Answer in a box.")
        found = [*await sampled(model, MANY), *await sampled(model, 1, temperature=0.0)]
        assert [one.steps[0].text for one in found] == [r"It is \boxed{42}."] * (MANY + 1)
        judge = await open_verifier(VerifierSpec("judge", model=spec.model, base_url="http://test/v1"), client)
        assert judge is not None
        right = Candidate("0", None, (Step("6 * 7 = 42", 5, 0.0),), (), "stop")
        ((score,), _) = await judge.score(Problem("1", QUESTION), [right])
        assert score[0] > 0.8
    return spec


@given(SERVERS)
@example(Refusing(unknown=frozenset(OPTIONAL), system=False, wording=WORDINGS.index(WORDINGS[-1])))
async def test_whatever_is_refused_what_is_left_is_used(server: Refusing) -> None:
    await solved(server)
    answered = [body for body in server.asked if server._refusal(body) is None]
    assert all(limit_of(body) <= 60 or limit_of(body) == 10**6 for body in answered)


@given(SERVERS)
async def test_nothing_is_left_out_that_the_server_accepts(server: Refusing) -> None:
    await solved(server)
    body = [one for one in server.asked if server._refusal(one) is None and f"{QUESTION}'}}]" in str(one)][-1]
    plain = {"seed", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p", "repetition_penalty"}
    assert plain & body.keys() == plain - server.unknown
    assert ("temperature" in body) == ("temperature" not in server.unknown)
    if "max_tokens" not in server.unknown:
        assert "max_tokens" in body
    assert (body["messages"][0]["role"] == "system") == server.system


@pytest.mark.parametrize("wording", range(len(WORDINGS)))
async def test_what_was_found_holds_for_every_later_request(wording: int) -> None:
    server = Refusing(
        frozenset({"seed", "max_tokens"}), temperatures=(1.0, 1.0), most_n=2, system=False, wording=wording
    )
    spec = await probed(server)
    server.asked.clear()
    async with server.client() as client:
        model = await connect.connect_model(spec, client, delimiter="\n\n", instruction="Answer in a box.")
        assert len(await sampled(model, 6)) == 6
        refused = [body["n"] for body in server.asked if server._refusal(body) is not None]
        assert set(refused) <= {6, 3}  # the probe asks for 2; that more is too many is learned once
        server.asked.clear()
        assert len(await sampled(model, 6)) == 6
    assert not [body for body in server.asked if server._refusal(body) is not None]
    assert server.asked[-1]["messages"] == [{"role": "user", "content": f"Answer in a box.\n\n{QUESTION}"}]


@pytest.mark.parametrize("wording", range(len(WORDINGS)))
@pytest.mark.parametrize(
    "change",
    [
        {"unknown": frozenset({"seed"})},
        {"unknown": frozenset({"logprobs", "top_logprobs"})},
        {"temperatures": (1.0, 1.0)},
        {"system": False},
    ],
    ids=["seed", "logprobs", "temperature", "system"],
)
async def test_what_is_refused_from_the_middle_of_a_run_on_is_given_up_then(change: Any, wording: int) -> None:
    """As behind a gateway that goes on with another provider."""
    server = Refusing(**change, wording=wording, after=10**6)
    spec = await probed(server)
    async with server.client() as client:
        model = await connect.connect_model(spec, client, delimiter="\n\n", instruction="Answer in a box.")
        await sampled(model, 1, 0.0)
        server.after = 0
        for _ in range(3):  # a single refusal that names nothing may be about the text
            with suppress(ServerError):
                await sampled(model, 1, 0.0)
        server.asked.clear()
        assert (await sampled(model, 1, 0.0))[0].steps[0].text
        assert len(server.asked) == 1


async def test_bounds_that_are_met_at_once_are_all_kept_to_although_one_refusal_names_nothing() -> None:
    class Mixed(Refusing):
        def _refusal(self, body: Mapping[str, Any]) -> tuple[str, str] | None:
            found = Refusing._refusal(self, body)
            self.wording = TOLD.index("The request was refused") if found and found[0] == "n" else 0
            return found

    server = Mixed(most_n=3, most_tokens=40)
    spec = await probed(server)
    async with server.client() as client:
        model = await connect.connect_model(spec, client, delimiter="\n\n")
        assert len(await sampled(model, 16)) == 16
    answered = [body for body in server.asked if server._refusal(body) is None and body["max_tokens"] > 24]
    assert {body["max_tokens"] for body in answered} == {40}
    assert max(body.get("n", 1) for body in answered) in (2, 3)


@pytest.mark.parametrize("wording", range(2))
async def test_a_refusal_under_the_status_of_a_success_is_one(wording: int) -> None:
    spec = await solved(Refusing(frozenset({"seed"}), system=False, status=200, wording=wording))
    assert spec.capabilities.adapted["chat/completions"] == {"without": ["seed"], "folded": True}


async def test_a_limit_of_tokens_is_lowered_to_what_a_refusal_names_and_remembered() -> None:
    server = Refusing(most_tokens=500)
    async with server.client() as client:
        body = {"model": "fake-1b", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 2048}
        for _ in range(2):
            await ask(client, "chat/completions", body)
    assert [body["max_tokens"] for body in server.asked] == [2048, 500, 500]


async def test_a_field_that_a_client_named_is_not_touched() -> None:
    server = Refusing(frozenset({"top_p"}))
    body = {"model": "fake-1b", "messages": [{"role": "user", "content": QUESTION}], "top_p": 0.5, "seed": 1}
    async with server.client() as client:
        with pytest.raises(ServerError, match="Unsupported parameter: 'top_p'"):
            await ask(client, "chat/completions", body, fixed={"top_p"})
    assert all(one["top_p"] == 0.5 for one in server.asked)


async def test_a_refusal_of_a_text_costs_no_other_requests() -> None:
    server = Refusing()
    body = {"model": "fake-1b", "messages": [{"role": "user", "content": QUESTION}], "seed": 1, "temperature": 1.0}
    async with server.client() as client:
        await ask(client, "chat/completions", body)
        server.unknown = frozenset({"messages"})
        with pytest.raises(ServerError):
            await ask(client, "chat/completions", body)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [*STATUSES, 403])
@pytest.mark.parametrize("wording", range(len(WORDINGS)))
async def test_where_all_is_refused_the_reason_and_the_address_are_told(status: int, wording: int) -> None:
    server = Refusing(frozenset({"messages"}), status=status, wording=wording)
    with pytest.raises(UsageError) as error:
        await solved(server)
    text = str(error.value)
    assert text.startswith("http://test/v1 answers neither chat nor completions for 'fake-1b': http://test/v1/chat/")
    assert "\n" not in text
    assert str(status) in text
    assert len(server.asked) <= 6
    assert TOLD[wording] in text


@pytest.mark.parametrize("thinks", [10, 100, 3000, 10_000])
async def test_a_judge_gets_room_for_its_thinking(thinks: int) -> None:
    server = Refusing(thinks=thinks)
    async with server.client() as client:
        for name in ("judge", "judge-grade"):
            judge = await open_verifier(VerifierSpec(name, model="fake-1b", base_url="http://test/v1"), client)
            assert judge is not None
    cut = [body for body in server.asked if limit_of(body) <= thinks]
    assert len(cut) <= 4  # the first questions find out


async def test_a_judge_whose_thinking_has_no_end_is_named() -> None:
    async with Refusing(thinks=10**5).client() as client:
        with pytest.raises(Exception, match="cut off at 16384 tokens before its verdict"):
            await open_verifier(VerifierSpec("judge", model="fake-1b", base_url="http://test/v1"), client)


@pytest.mark.parametrize(("most", "opened"), [(20, "judge"), (5, "judge"), (1, "judge"), (0, "judge")])
async def test_fewer_likeliest_tokens_are_enough_for_a_judge(most: int, opened: str) -> None:
    async with Refusing(most_listed=most).client() as client:
        judge = await open_verifier(VerifierSpec("judge", model="fake-1b", base_url="http://test/v1"), client)
    assert judge is not None
    assert judge.name == f"{opened} fake-1b"


def test_an_adaptation_is_plain_and_comes_back() -> None:
    found = Adaptation(frozenset({"seed", "n"}), "max_completion_tokens", n=4, listed=5, coldest=0.1, folded=True)
    assert adaptation_from(found.to_dict()) == found
    assert found.to_dict()["without"] == ["n", "seed"]
    assert Adaptation().to_dict() == {}


def test_what_the_system_says_goes_in_front_of_the_next_message_of_the_user() -> None:
    turns = [("system", "a"), ("user", "b"), ("assistant", "c"), ("system", "d"), ("user", "e")]
    found = folded([{"role": role, "content": text} for role, text in turns])
    assert [(one["role"], one["content"]) for one in found] == [
        ("user", "a\n\nb"),
        ("assistant", "c"),
        ("user", "d\n\ne"),
    ]
    assert folded([{"role": "system", "content": "a"}]) == [{"role": "user", "content": "a"}]
