"""Verifiers by HTTP: what exactly is asked, and how the answers of each server are read."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_json import ANYTHING, changed, paths
from verifier_doubles import PROBLEM, candidate, client_of, recorded, replaying

from computewise.core import Usage
from computewise.errors import ModelError, ServerError, UsageError
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.verifiers.base import Reader, StepVerifier, VerifierSpec
from computewise.verifiers.heads import (
    INPUTS,
    EmbeddingsReader,
    PoolingReader,
    VllmCompletions,
    VllmScoring,
    sigmoid,
)
from computewise.verifiers.judge import JudgeReader
from computewise.verifiers.labels import (
    LabelReader,
    LabelServer,
    LlamaCompletion,
    OpenaiCompletions,
    SglangScore,
    estimate,
    from_listed,
    label_ids,
    of_two,
    server_kind,
)
from computewise.verifiers.load import open_verifier
from computewise.verifiers.templates import Labels, find_template

SHEPHERD = find_template("peiyi9979/math-shepherd-mistral-7b-prm")
QWEN = find_template("Qwen/Qwen2.5-Math-PRM-7B")
SKYWORK = find_template("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B")
IDS = (648, 387)
SERVERS: dict[str, Callable[[HttpClient], LabelServer]] = {
    "vllm_completions": lambda client: VllmCompletions(client, "shepherd", IDS),
    "vllm_scoring": lambda client: VllmScoring(client, "shepherd", IDS),
    "sglang_score": lambda client: SglangScore(client, "shepherd", IDS),
    "llama_completion": lambda client: LlamaCompletion(client, IDS),
    "openai_completions": lambda client: OpenaiCompletions(client, "shepherd", ("+", "-")),
}
CACHED = {"vllm_completions": 6, "sglang_score": 4, "llama_completion": 6}


def verifier(reader: Reader) -> StepVerifier:
    return StepVerifier(reader, name="remote", parameters=7, aggregation="last")


def qwen(client: HttpClient) -> StepVerifier:
    assert QWEN.head is not None
    return verifier(PoolingReader(client, "qwen", QWEN.layout, QWEN.head))


@pytest.mark.parametrize("name", SERVERS)
async def test_a_label_read_of_each_server(name: str) -> None:
    exchanges, asked = recorded(name), list[tuple[str, Any]]()
    async with replaying(exchanges, asked) as client:
        reader = LabelReader(SHEPHERD.layout, SERVERS[name](client))
        scores, usage = await verifier(reader).score(PROBLEM, [candidate("one\n\n", "two\n\n", "\n\n")])
    assert scores == [pytest.approx((0.9, 0.25, 0.25))]
    assert asked == [(exchange["path"], exchange["body"]) for exchange in exchanges]
    assert usage == Usage(verifier_tokens=15, cached_verifier_tokens=CACHED.get(name, 0))


@pytest.mark.parametrize("name", SERVERS)
async def test_a_step_that_has_a_score_is_not_asked_about(name: str) -> None:
    asked: list[tuple[str, Any]] = []

    def answer(path: str, body: Any) -> int:
        asked.append((path, body))
        return 400

    async with client_of(answer) as client:
        reader = LabelReader(SHEPHERD.layout, SERVERS[name](client))
        with pytest.raises(ServerError):
            await verifier(reader).score(PROBLEM, [candidate("one", "two", scores=(0.9,))])
    prompts = [body.get("items", [body.get("prompt")]) for _, body in asked]
    assert prompts == [["Q? one ки\ntwo ки"]] * len(asked)


def without(answer: Any, *path: str | int) -> Any:
    """A copy that lacks what stands at `path`."""
    changed = copy.deepcopy(answer)
    held = changed
    for place in path[:-1]:
        held = held[place]
    del held[path[-1]]
    return changed


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("vllm_completions", ("choices",), "has no choices.0.logprobs"),
        ("vllm_completions", ("choices", 0, "logprobs"), "has no choices.0.logprobs"),
        (
            "vllm_completions",
            ("choices", 0, "logprobs", "top_logprobs", 0, "token_id:387"),
            "no log-probability of token 387: set server = 'openai'",
        ),
        ("vllm_scoring", ("data", 1), "answered 1 entries of data for 2 inputs"),
        ("vllm_scoring", ("data", 0, "score"), "has no score"),
        ("sglang_score", ("scores", 0), "answered 1 scores for 2 prompts"),
        ("sglang_score", ("scores",), "has no scores"),
        ("llama_completion", ("completion_probabilities",), "has no completion_probabilities"),
        ("llama_completion", ("completion_probabilities", 0, "top_logprobs", 0, "id"), "has no id"),
        ("openai_completions", ("choices", 0, "logprobs"), "has no choices.0.logprobs"),
        ("openai_completions", ("choices", 0, "logprobs", "top_logprobs", 0), "has no top_logprobs.0"),
    ],
)
async def test_a_malformed_answer_is_one_line(name: str, path: tuple[str | int, ...], reason: str) -> None:
    exchanges = recorded(name)
    exchanges[0]["answer"] = without(exchanges[0]["answer"], *path)
    async with replaying(exchanges, []) as client:
        reader = LabelReader(SHEPHERD.layout, SERVERS[name](client))
        with pytest.raises(ModelError, match=reason) as caught:
            await verifier(reader).score(PROBLEM, [candidate("one", "two")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [None, [], "text", 3, {"choices": {}}, {"choices": [None]}, {"data": "x"}])
@pytest.mark.parametrize("name", SERVERS)
async def test_an_answer_of_another_kind_is_one_line(name: str, answer: Any) -> None:
    async with client_of(lambda path, body: answer if not isinstance(answer, int) else [answer]) as client:
        reader = LabelReader(SHEPHERD.layout, SERVERS[name](client))
        with pytest.raises(ModelError) as caught:
            await verifier(reader).score(PROBLEM, [candidate("one", "two")])
    assert "\n" not in str(caught.value)


async def test_tokens_are_estimated_where_the_server_does_not_say() -> None:
    exchanges = recorded("openai_completions")
    for exchange in exchanges:
        exchange["answer"] = without(exchange["answer"], "usage")
    async with replaying(exchanges, []) as client:
        reader = LabelReader(SHEPHERD.layout, SERVERS["openai_completions"](client))
        _, usage = await verifier(reader).score(PROBLEM, [candidate("one", "two")])
    assert usage == Usage(verifier_tokens=sum(estimate(exchange["body"]["prompt"]) for exchange in exchanges))
    assert estimate("Q? one ки") == 3  # 11 bytes


def test_the_share_of_two() -> None:
    assert of_two(math.log(0.3), math.log(0.1)) == pytest.approx(0.75)
    assert of_two(-9999.0, 0.0) == 0.0
    assert of_two(0.0, -9999.0) == 1.0
    assert math.isnan(of_two(math.nan, 0.0))


def test_a_label_that_is_not_listed_gets_all_it_can_have() -> None:
    listed = {"+": math.log(0.6), "x": math.log(0.2), "y": math.log(0.1)}
    assert from_listed(listed, "+", "-") == pytest.approx(0.6 / 0.7)  # no more than the least of the listed
    assert from_listed({"-": math.log(0.55), "x": math.log(0.41)}, "+", "-") == pytest.approx(0.04 / 0.59)  # the rest
    assert from_listed({"+": math.log(0.2), " +": math.log(0.1), "▁-": math.log(0.1)}, "+", "-") == pytest.approx(0.75)


def test_a_list_without_either_label_is_refused() -> None:
    with pytest.raises(ModelError, match=r"neither '\+' nor '-' .*\(' The', ' A'\): wrong template\?"):
        from_listed({" A": -1.5, " The": -0.5}, "+", "-")


async def test_whole_solutions_go_to_the_pooling_route() -> None:
    exchanges, asked = recorded("vllm_pooling"), list[tuple[str, Any]]()
    async with replaying(exchanges, asked) as client:
        scores, usage = await qwen(client).score(PROBLEM, [candidate("one", "two", scores=(0.7,)), candidate("one")])
    assert scores == [(0.7, 0.25), (0.6,)]
    assert asked == [(exchange["path"], exchange["body"]) for exchange in exchanges]
    assert usage == Usage(verifier_tokens=81)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[0.1, 0.9]], "read 1 markers of 2 steps.*token_classify.*'<extra_0>'"),
        ([[0.1, 0.9]] * 14, "read 14 markers of 2 steps"),
        ([[0.9], [0.9]], r"gave \[0.9\] at a marker: it must be 2 numbers"),
        ([["a", "b"], [0, 1]], "holds 'b' as a score"),
        ([[-3.0, 4.0], [0.5, 0.5]], r"scored a step 4.0: a score must be in \[0, 1\]"),
        ([0.5, 0.5], "it must be 2 numbers"),
    ],
)
async def test_rows_that_do_not_fit_the_markers_are_refused(rows: list[Any], reason: str) -> None:
    answer = {"data": [{"index": 0, "data": rows}], "usage": {"prompt_tokens": 5}}
    async with client_of(lambda path, body: answer) as client:
        with pytest.raises(ModelError, match=reason):
            await qwen(client).score(PROBLEM, [candidate("one", "two")])


@pytest.mark.parametrize("numbered", [(0, 0), (1, 2)])
async def test_entries_that_are_numbered_otherwise_are_refused(numbered: tuple[int, int]) -> None:
    answer = {"data": [{"index": index, "data": [[0.1, 0.9]]} for index in numbered]}
    async with client_of(lambda path, body: answer) as client:
        with pytest.raises(ModelError, match="numbered 2 entries of data"):
            await qwen(client).score(PROBLEM, [candidate("one"), candidate("two")])


async def test_many_solutions_are_several_requests_in_order() -> None:
    sizes = []

    def answer(path: str, body: Any) -> Any:
        sizes.append(len(body["input"]))
        said = [text.split("assistant\n")[1].split("<extra_0>")[0] for text in body["input"]]
        return {"data": [{"index": i, "data": [[0.0, int(one) / 1000]]} for i, one in enumerate(said)]}

    count = 2 * INPUTS + 3
    async with client_of(answer) as client:
        scores, _ = await qwen(client).score(PROBLEM, [candidate(str(one)) for one in range(count)])
    assert scores == [(one / 1000,) for one in range(count)]
    assert sorted(sizes) == [3, INPUTS, INPUTS]


async def test_a_value_head_served_as_embeddings() -> None:
    exchanges, asked = recorded("skywork_embeddings"), list[tuple[str, Any]]()
    async with replaying(exchanges, asked) as client:
        remote = verifier(EmbeddingsReader(client, "skywork", SKYWORK.layout))
        for _ in range(2):
            scores, usage = await remote.score(PROBLEM, [candidate("one", "two\n")])
            assert scores == [pytest.approx((0.9, 0.25))]
            assert usage == Usage(verifier_tokens=9)
    bodies = [(exchange["path"], exchange["body"]) for exchange in exchanges]
    assert asked[:-1] == bodies  # ids are asked for once
    assert asked[-1] == bodies[-1]


async def test_another_number_of_values_is_refused() -> None:
    exchanges = recorded("skywork_embeddings")
    exchanges[-1]["answer"]["data"][0]["embedding"].pop()
    async with replaying(exchanges, []) as client:
        with pytest.raises(ModelError, match="gave 8 values for 9 tokens"):
            await verifier(EmbeddingsReader(client, "skywork", SKYWORK.layout)).score(
                PROBLEM, [candidate("one", "two")]
            )


def test_the_sigmoid_far_from_0() -> None:
    assert [sigmoid(-1e4), sigmoid(0.0), sigmoid(1e4)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("route", "answer", "kind"),
    [
        ("/v1/models", {"data": [{"id": "m", "owned_by": "vllm"}]}, "vllm"),
        ("/v1/models", {"data": [{"id": "m", "owned_by": "sglang"}]}, "sglang"),
        ("/v1/models", {"data": [{"id": "m", "owned_by": "llamacpp"}]}, "llama"),
        ("/v1/models", {"data": [{"id": "m", "owned_by": "me"}]}, "openai"),
        ("/v1/models", {"data": ["m"]}, "openai"),
        ("/version", {"version": "0.33.0"}, "vllm"),
        ("/get_model_info", {"model_path": "m"}, "sglang"),
        ("/props", {"default_generation_settings": {}}, "llama"),
        ("/version", ["0.33.0"], "openai"),
        ("/other", {}, "openai"),
    ],
)
async def test_servers_are_told_apart(route: str, answer: Any, kind: str) -> None:
    async with client_of(lambda path, body: answer if path == route else 404) as client:
        assert await server_kind(client) == kind


@pytest.mark.parametrize(("kind", "name"), [("vllm", "prompt"), ("sglang", "prompt"), ("llama", "content")])
async def test_a_label_of_two_tokens_is_refused(kind: str, name: str) -> None:
    ids = {"+": [10], "-": [12, 13], "*": [10]}
    async with client_of(lambda path, body: {"tokens": ids[body[name]]} if path == "/tokenize" else 404) as client:
        with pytest.raises(UsageError, match="the label '-' is 2 tokens to m: a label must be a single token"):
            await label_ids(client, kind, "m", Labels("+", "-"))
        with pytest.raises(UsageError, match="are the same token, 10"):
            await label_ids(client, kind, "m", Labels("+", "*"))
        assert await label_ids(client, kind, "m", Labels("+", "-", bad_id=12)) == (10, 12)


def shepherd_server(good: Callable[[str], float], seen: list[str]) -> HttpClient:
    """vLLM with Math-Shepherd, which it calls so."""

    def answer(path: str, body: Any) -> Any:
        seen.append(path)
        if path in ("/v1/models", "/version"):
            return {"version": "0.33.0"} if path == "/version" else 404
        share = good(body["prompt"])
        listed = {"token_id:648": math.log(share), "token_id:387": math.log(1 - share)}
        return {"choices": [{"logprobs": {"top_logprobs": [listed]}}], "usage": {"prompt_tokens": 9}}

    return client_of(answer)


SPEC = VerifierSpec(SHEPHERD.name, base_url="http://server/v1", parameters=7_000_000_000)


async def test_a_verifier_is_opened_by_what_its_server_is() -> None:
    seen: list[str] = []
    async with shepherd_server(lambda prompt: 0.1 if "36" in prompt else 0.9, seen) as client:
        opened = await open_verifier(SPEC, client)
        assert opened is not None
        assert (opened.name, opened.parameters, opened.value((0.4, 0.9))) == (SHEPHERD.name, 7_000_000_000, 0.4)
        scores, usage = await opened.score(PROBLEM, [candidate("one")])
    assert scores == [pytest.approx((0.9,))]
    assert usage.verifier_tokens == 9
    assert seen == ["/v1/models", "/version", *["/v1/completions"] * 5]


@pytest.mark.parametrize(
    ("good", "reason"),
    [(lambda prompt: 0.5, "which are equal"), (lambda prompt: 0.9 if "36" in prompt else 0.1, "in the wrong order")],
)
async def test_a_server_that_cannot_tell_is_refused(good: Callable[[str], float], reason: str) -> None:
    async with shepherd_server(good, []) as client:
        with pytest.raises(UsageError, match=reason):
            await open_verifier(SPEC, client)


def any_server(path: str, body: Any) -> Any:
    """Every route of every server, for a model that knows 7 * 12."""
    if path == "/tokenize":
        text = body.get("prompt", body.get("content"))
        return {"tokens": [{"+": 10, "-": 12}[text]] if text in "+-" else [len(text) % 7, *(text.encode())]}
    if path == "/pooling":
        return {"data": [{"index": i, "data": [[0.2, share(text)]] * 2} for i, text in enumerate(body["input"])]}
    if path == "/v1/embeddings":
        wrong = list(b"36 pencils")
        values = [[-1.0 if str(wrong)[1:-1] in str(ids) else 1.0] * len(ids) for ids in body["input"]]
        return {"data": [{"index": i, "embedding": one} for i, one in enumerate(values)]}
    prompts = body.get("items") or [body["prompt"]]
    good = [share(prompt) for prompt in prompts]
    logs = math.log(good[0]), math.log(1 - good[0])
    answers = {
        "/generative_scoring": {"data": [{"index": i, "score": one} for i, one in enumerate(good)]},
        "/v1/score": {"scores": [[one, 1 - one] for one in good]},
        "/completion": {
            "completion_probabilities": [
                {"top_logprobs": [{"id": id, "logprob": log} for id, log in zip((10, 12), logs, strict=True)]}
            ]
        },
    }
    listed = dict(zip(("token_id:10", "token_id:12") if "logprob_token_ids" in body else ("+", "-"), logs, strict=True))
    return answers.get(path, {"choices": [{"logprobs": {"top_logprobs": [listed]}}]})


def share(text: str) -> float:
    return 0.1 if "36 pencils" in text else 0.9


RLHFLOW = "RLHFlow/Llama3.1-8B-PRM-Mistral-Data"
ROUTES = {
    "vllm": (RLHFLOW, "/v1/completions"),
    "vllm-scoring": (RLHFLOW, "/generative_scoring"),
    "sglang": (RLHFLOW, "/v1/score"),
    "llama": (RLHFLOW, "/completion"),
    "openai": (RLHFLOW, "/v1/completions"),
    "vllm pooling": (QWEN.name, "/pooling"),
    "vllm embeddings": (SKYWORK.name, "/v1/embeddings"),
}


@pytest.mark.parametrize("route", ROUTES)
async def test_every_route_can_be_asked_for(route: str) -> None:
    name, path = ROUTES[route]
    seen: list[str] = []

    def answer(path: str, body: Any) -> Any:
        seen.append(path)
        return any_server(path, body)

    async with client_of(answer) as client:
        opened = await open_verifier(VerifierSpec(name, base_url="http://server", server=route.split()[0]), client)
    assert opened is not None
    assert set(seen) - {"/tokenize"} == {path}


async def test_a_head_needs_a_server_that_has_it() -> None:
    spec = VerifierSpec(QWEN.name, base_url="http://server/v1", server="sglang")
    async with client_of(lambda path, body: 404) as client:
        with pytest.raises(UsageError, match="has a classification head: sglang cannot serve it"):
            await open_verifier(spec, client)


async def test_a_server_that_is_away_is_no_unknown_server() -> None:
    async with HttpClient("http://127.0.0.1:9/v1", retry=Retry(tries=1)) as client:
        with pytest.raises(ServerError, match="no answer from"):
            await server_kind(client)


def reader_of(name: str, client: HttpClient) -> Reader:
    """The reader whose recorded exchanges have that name, or a judge."""
    if name in SERVERS:
        return LabelReader(SHEPHERD.layout, SERVERS[name](client))
    if name == "vllm_pooling":
        assert QWEN.head is not None
        return PoolingReader(client, "qwen", QWEN.layout, QWEN.head)
    if name == "skywork_embeddings":
        return EmbeddingsReader(client, "skywork", SKYWORK.layout)
    judge = find_template(name)
    assert judge.judge is not None
    return JudgeReader(client, "chat", judge.layout, judge.judge, samples=1)


VERDICT = {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "7"},
            "logprobs": {
                "content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": [{"token": "Yes", "logprob": -0.1}]}]
            },
        }
    ],
    "usage": {"prompt_tokens": 90, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}


@pytest.mark.parametrize("name", [*SERVERS, "vllm_pooling", "skywork_embeddings", "judge", "judge-grade"])
@given(data=st.data())
def test_whatever_an_answer_holds_it_is_a_score_or_our_error(name: str, data: Any) -> None:
    """One value of one answer is anything; of a label's server, the tokenizer or a judge too."""
    exchanges = [] if name.startswith("judge") else recorded(name)
    value, chosen = data.draw(ANYTHING), data.draw(st.integers(0, 120))
    solutions = [candidate("one", "two")]
    if name == "vllm_pooling":  # what was recorded
        solutions = [candidate("one", "two", scores=(0.7,)), candidate("one")]
    seen = 0

    def answer(path: str, body: Any) -> Any:
        nonlocal seen
        held = next((one["answer"] for one in exchanges if (one["path"], one["body"]) == (path, body)), VERDICT)
        places = list(paths(held))
        at, seen = chosen - seen, seen + len(places)
        odd = changed(held, places[at], value) if 0 <= at < len(places) else held
        return [odd] if type(odd) is int else odd

    async def score() -> None:
        async with client_of(answer) as client:
            scores, usage = await verifier(reader_of(name, client)).score(PROBLEM, solutions)
        assert all(0 <= one <= 1 for steps in scores for one in steps)
        assert 0 <= usage.cached_verifier_tokens <= usage.verifier_tokens
        assert usage.verifier_tokens > 0

    try:
        asyncio.run(score())
    except ModelError as error:
        caught = str(error)
        assert len(caught.splitlines()) == 1, caught
        assert chosen < seen, "the good answers are refused"
