"""Whatever is sent, what comes back is an answer or an error in OpenAI's envelope, never a defect of ours.

What is unforeseen in the application is raised by the transport, and so fails the test.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_doubles import CHAT, COMPLETIONS, Gated, SimulatedBackend, checked_error, client_of
from servers import VLLM, Little, found_on
from starlette.applications import Starlette

from computewise.http import client as http_client
from computewise.http.concurrency import Retry
from computewise.serve.admission import ServerSettings
from computewise.serve.app import application
from computewise.serve.backends import EmbeddedBackend, served_backend
from computewise.serve.planning import OFFERED
from computewise.session import Limits
from computewise.setups.server import ServerSpec, SpendPolicy
from computewise.tasks.load import TaskSpec
from computewise.verifiers.base import VerifierSpec

BOUNDS = ServerSettings(most_generations=4, efforts={"low": 1.0, "medium": 2.0, "high": 4.0}, timeout=20.0, traces=20)
HARD = settings(
    max_examples=120, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
"""The same examples every time."""
BACKENDS = ("embedded", "served")


OWN = "x-of-the-upstream"


class Passing(VLLM):
    """vLLM whose answers come as bytes that nobody has read yet, as a server's do; what it cannot read it refuses."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await VLLM.handle(self, request)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError):
            answer = httpx.Response(422, json={"detail": "no"})
        headers = {**answer.headers, OWN: "1"}
        return httpx.Response(answer.status_code, headers=headers, stream=httpx.ByteStream(answer.content))


@asynccontextmanager
async def served() -> AsyncIterator[Starlette]:
    """Over a server's double: steps, raw prompts, log-probabilities for a verifier."""
    server = Passing(Little())
    source = ServerSpec(
        small=await found_on(server),
        large=None,
        verifier=VerifierSpec("logprob"),
        problems=TaskSpec("question", grader="exact", delimiter="\n"),
        bounds=Limits(steps=4, tokens=40),
        sampling_temperature=1.0,
        prices={},
        spending=SpendPolicy(retry=Retry(tries=1)),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(http_client, "AiohttpTransport", lambda *_: httpx.MockTransport(server.handle))
        async with served_backend(source, None, "math") as backend:
            yield application(backend, BOUNDS)


class Site:
    """An application and the event loop it lives in, for tests that hypothesis calls again and again."""

    def __init__(self, name: str) -> None:
        self._stack = ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())
        self.model = "small" if name == "embedded" else "little-1b"
        if name == "embedded":
            backend = EmbeddedBackend("expressions")
            backend.limits = replace(backend.limits, tokens=60)
            self.app = application(backend, BOUNDS)
            return
        opened = served()
        self.app = self._runner.run(opened.__aenter__())
        self._stack.callback(lambda: self._runner.run(opened.__aexit__(None, None, None)))

    def post(self, path: str, content: bytes) -> httpx.Response:
        async def asked() -> httpx.Response:
            async with client_of(self.app) as client:
                return await client.post(path, content=content, headers={"content-type": "application/json"})

        return self._runner.run(asked())

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module", params=BACKENDS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    opened = Site(request.param)
    yield opened
    opened.close()


def check(answer: httpx.Response, path: str) -> None:
    """An answer as it should be, whole or streamed, else an error; 500 is nobody's here, the upstream is well."""
    if OWN in answer.headers:
        assert answer.status_code in (200, 400, 422)  # passed through as it is
        return
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/json"
        error = checked_error(answer)
        assert answer.status_code < 500 or error["type"] == "upstream_error", error
        assert len(answer.content) < 4_000
        return
    assert answer.status_code == 200
    if answer.headers["content-type"].startswith("text/event-stream"):
        blocks = [block for block in answer.text.split("\n\n") if block and not block.startswith(":")]
        assert blocks[-1] == "data: [DONE]"
        chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]
        assert all(set(chunk) == {"error"} or "choices" in chunk for chunk in chunks)
        return
    held = answer.json()
    assert held["choices"]
    assert all("message" in choice if path == CHAT else "text" in choice for choice in held["choices"])
    assert held["usage"]["total_tokens"] == held["usage"]["prompt_tokens"] + held["usage"]["completion_tokens"]


# Bodies

TEXTS = st.one_of(
    st.sampled_from(
        ["", "3*(4+5)-6", "problem 41734 of 3 steps", "What is 2 + 2?", "\x00", "\u202e\U0001f600", "x" * 999]
    ),
    st.text(st.characters(codec="utf-8"), max_size=30),
)
NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.0, -0.0, 0.5, 1e300]),
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
WISHES = {
    "strategy": st.one_of(
        st.sampled_from(
            [*OFFERED, "policy", "none", "best_of_n@2", "beam_search@4", "revisions@2", "x", "single@", "@"]
        ),
        st.builds(lambda name, size: f"{name}@{size}", st.sampled_from(OFFERED), st.integers(-1, 6)),
    ),
    **dict.fromkeys(("n", "width", "k", "chains", "chain_length"), st.integers(0, 5)),
    "trust": st.sampled_from([0, 0.5, 1, 1.5]),
    "balance_temperature": st.sampled_from([0, 0.1, 100, 101]),
    "select": st.sampled_from(["majority", "best", "hierarchical", "loudest"]),
    "price": st.sampled_from([0, 0.01, 1e9, 1e10]),
    "mean_cost": st.sampled_from([0, 0.1, 2, 1e9]),
    "accuracy": st.sampled_from([0, 0.5, 1]),
    "abstain_under": st.sampled_from([0, 0.5, 1]),
    "max_total_tokens": st.sampled_from([1, 2, 10, 100, 2**53, 2**60]),
    "timeout": st.sampled_from([1e-9, 1, 1e6, 1e7]),
    "progress": st.sampled_from(["comments", "reasoning", "dots"]),
}
TURNS = st.one_of(
    st.builds(lambda text: [{"role": "user", "content": text}], TEXTS),
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "system", "assistant", "developer", "tool", "x"])},
            optional={
                "content": TEXTS | ANYTHING | st.builds(lambda text: [{"type": "text", "text": text}], TEXTS),
                "name": TEXTS,
                "tool_calls": ANYTHING,
            },
        ),
        max_size=3,
    ),
)
FIELDS = {
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans() | st.none()}),
    "temperature": st.sampled_from([0, 0.5, 1, 2, 2.5]),
    "seed": st.integers(-2, 2) | st.sampled_from([2**63 - 1, -(2**63), 2**63]),
    "n": st.integers(0, 2),
    "stop": st.sampled_from([[], "\n", ["a", "b"], "", [""], [5]]),
    "max_tokens": st.sampled_from([0, 1, 5, 50, 2**53, 2**60]),
    "max_completion_tokens": st.sampled_from([1, 5, 2**53]),
    "user": TEXTS,
    "reasoning_effort": st.sampled_from(["none", "low", "medium", "high", "xhigh", "most"]),
    "computewise": st.fixed_dictionaries({}, optional=WISHES),
    "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}, "json", {}]),
    "tools": st.sampled_from([[], [{}], "x"]),
    "logprobs": st.booleans() | st.integers(0, 2),
    "top_p": st.sampled_from([0.5, 1, 2]),
    "presence_penalty": st.sampled_from([0, 1]),
    "echo": st.booleans(),
    "suffix": TEXTS,
    "metadata": ANYTHING,
    "unheard_of": ANYTHING,
}
MODELS = (
    "MODEL",
    "MODEL:best_of_n@2",
    "MODEL:beam_search@4",
    "MODEL:none",
    "MODEL:policy",
    "MODEL:x",
    "other",
    "",
    "large",
)


def bodies(path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that are nearly right."""
    asks = {"messages": TURNS} if path == CHAT else {"prompt": TEXTS | st.lists(TEXTS, max_size=2) | ANYTHING}
    return st.fixed_dictionaries({"model": st.sampled_from(MODELS), **asks}, optional=FIELDS)


def of(body: Any, site: Site) -> bytes:
    """Its bytes, by the name that the model has there."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body = {**body, "model": body["model"].replace("MODEL", site.model)}
    return json.dumps(body).encode()


GOOD = {
    "stream": st.booleans(),
    "stream_options": st.just({"include_usage": True}),
    "temperature": st.sampled_from([0.5, 1, 2]),
    "seed": st.sampled_from([0, -1, 2**63 - 1, -(2**63)]),
    "n": st.just(1),
    "stop": st.sampled_from([[], None]),
    "max_tokens": st.sampled_from([1, 2, 7, 50, 2**53]),
    "user": TEXTS,
    "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
    "metadata": st.just({"a": [None, 1e-7, "\U0001f600"]}),
}
SPENT = {
    "max_total_tokens": st.sampled_from([1, 2, 5, 20, 100, 2**53]),
    "timeout": st.sampled_from([1e-9, 0.001, 5, 1e6]),
    "progress": st.sampled_from(["comments", "reasoning"]),
}
SIZED = st.builds(
    lambda name, size: name if name in ("single", "greedy") else f"{name}@{size}",
    st.sampled_from([*OFFERED, "none", "policy"]),
    st.integers(1, 4),
)
ASKED = ["3*(4+5)-6", "1+2", "  7*8\n", "(1+2)*(3-4)", "problem 41734 of 3 steps", "\U0001f600?", ""]


def some(fields: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Few of many fields, each with a value of its own."""
    names = st.lists(st.sampled_from(sorted(fields)), max_size=most, unique=True)
    return names.flatmap(lambda found: st.fixed_dictionaries({name: fields[name] for name in found}))


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@HARD
@given(prompt=st.sampled_from(ASKED), strategy=SIZED | st.none(), fields=some(GOOD, 3), wishes=some(SPENT, 2))
def test_bodies_that_are_right(
    site: Site, path: str, prompt: str, strategy: str | None, fields: dict[str, Any], wishes: dict[str, Any]
) -> None:
    """Every strategy of every size, with whatever goes with it."""
    body: dict[str, Any] = {"model": "MODEL" if strategy is None else f"MODEL:{strategy}", **fields}
    body |= {"messages": [{"role": "user", "content": prompt}]} if path == CHAT else {"prompt": prompt}
    check(site.post(path, of({**body, "computewise": wishes}, site)), path)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@HARD
@given(data=st.data())
def test_bodies_that_are_nearly_right(site: Site, path: str, data: st.DataObject) -> None:
    check(site.post(path, of(data.draw(bodies(path)), site)), path)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@HARD
@given(data=st.data())
def test_a_wrong_type_anywhere(site: Site, path: str, data: st.DataObject) -> None:
    """Of a body that is right, one field, or one inside `computewise`, is anything."""
    body: dict[str, Any] = {"model": "MODEL", "computewise": {"strategy": "single"}, "max_tokens": 5}
    body |= {"messages": [{"role": "user", "content": "1+2"}]} if path == CHAT else {"prompt": "1+2"}
    value = data.draw(ANYTHING)
    if data.draw(st.booleans()):
        body[data.draw(st.sampled_from([*body, *FIELDS]))] = value
    else:
        body["computewise"] |= {data.draw(st.sampled_from([*WISHES, "unheard_of"])): value}
    check(site.post(path, of(body, site)), path)


PARTS = [{"type": "text", "text": "1+2"}]
WHOLE: dict[str, Any] = {
    "model": "MODEL",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "a"},
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "refusal": "No.", "reasoning_content": "Hm", "annotations": [{}]},
        {"role": "user", "content": "1+2"},
    ],
    "prompt": "1+2",
    "stream": False,
    "stream_options": {"include_usage": True},
    "temperature": 1.0,
    "seed": 3,
    "n": 1,
    "best_of": 1,
    "max_tokens": 9,
    "max_completion_tokens": 9,
    "logit_bias": {"5": -1},
    "response_format": {"type": "text"},
    "logprobs": None,
    "tools": [],
    "stop": [],
    "user": "a",
    "reasoning_effort": None,
    "computewise": {"max_total_tokens": 9, "timeout": 9.0},
}


def places(held: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value in it stands."""
    inner = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ()
    return [*([path] if path else []), *(place for key, value in inner for place in places(value, (*path, key)))]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@HARD
@given(
    strategy=st.sampled_from(["none", "single", "best_of_n@2", "policy", None]),
    place=st.sampled_from(places(WHOLE)),
    value=ANYTHING,
)
def test_anything_in_the_place_of_any_value(
    site: Site, path: str, strategy: str | None, place: tuple[Any, ...], value: Any
) -> None:
    """Whether it is searched or passed through."""
    body = copy.deepcopy(WHOLE)
    if strategy is not None:
        body["computewise"]["strategy"] = strategy
    *outer, last = place
    held: Any = body
    for key in outer:
        held = held[key]
    held[last] = value
    check(site.post(path, of(body, site)), path)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@HARD
@given(data=st.data())
def test_bytes_that_are_no_body(site: Site, path: str, data: st.DataObject) -> None:
    """Random ones; JSON of anything; JSON that is cut short, or in which bytes were changed."""
    kind = data.draw(st.sampled_from(["random", "json", "cut", "changed"]))
    if kind == "random":
        content = data.draw(st.binary(max_size=60))
    elif kind == "json":
        content = json.dumps(data.draw(ANYTHING)).encode()
    else:
        whole = of({"model": "MODEL:single", "messages": [{"role": "user", "content": "1+2"}], "prompt": "1"}, site)
        at = data.draw(st.integers(0, len(whole) - 1))
        content = whole[:at] if kind == "cut" else whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :]
    check(site.post(path, content), path)


USER = '"messages":[{"role":"user","content":"1+2"}],"prompt":"1+2"'
LONG = "x" * (1 << 20)
RAW = {
    "nothing": "",
    "deep lists": "[" * 100_000,
    "deep lists closed": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "deep inside": '{"model":"MODEL",' + USER + ',"metadata":' + "[" * 500 + "]" * 500 + "}",
    "too deep inside": '{"model":"MODEL",' + USER + ',"metadata":' + "[" * 5_000 + "]" * 5_000 + "}",
    "huge integer": '{"model":"MODEL:single","seed":' + "9" * 5_000 + "," + USER + "}",
    "integer of 30 digits": '{"model":"MODEL:single","metadata":' + "9" * 30 + "," + USER + "}",
    "huge exponent": '{"model":"MODEL:single","temperature":1e999,' + USER + "}",
    "tiny exponent": '{"model":"MODEL:single","temperature":1e-999,' + USER + "}",
    "NaN": '{"model":"MODEL:single","temperature":NaN,' + USER + "}",
    "Infinity": '{"model":"MODEL:single","computewise":{"timeout":Infinity},' + USER + "}",
    "half a pair": '{"model":"MODEL:single","messages":[{"role":"user","content":"\\ud83d"}],"prompt":"\\ud83d"}',
    "half a pair in a name": '{"model":"MODEL:single","\\ud83d":1,' + USER + "}",
    "half a pair as the model": '{"model":"\\udc00",' + USER + "}",
    "a name twice": '{"model":"other","model":"MODEL:single","n":1,"n":1,' + USER + "}",
    "a mark before": "\ufeff{}",
    "two bodies": '{"model":"MODEL:single",' + USER + "}{}",
    "a long model": '{"model":"' + LONG + '",' + USER + "}",
    "a long strategy": '{"model":"MODEL","computewise":{"strategy":"' + LONG + '"},' + USER + "}",
    "a long name": '{"model":"MODEL:single","' + LONG + '":1,' + USER + "}",
    "a long name inside": '{"model":"MODEL","computewise":{"' + LONG + '":1},' + USER + "}",
    "a long role": '{"model":"MODEL","messages":[{"role":"' + LONG + '","content":""}],"prompt":5}',
    "a long part of a turn": '{"model":"MODEL","messages":[{"role":"user","' + LONG + '":1}],"prompt":5}',
    "a long prompt": '{"model":"MODEL:single","messages":[{"role":"user","content":"' + LONG + '"}],"prompt":"1"}',
    "a long completion": '{"model":"MODEL:single","messages":[],"prompt":"' + LONG + '"}',
    "many brackets to solve": '{"model":"MODEL:single","messages":[{"role":"user","content":"'
    + "(" * 100_000
    + '"}],"prompt":"'
    + "1+" * 100_000
    + '1"}',
    "many turns": '{"model":"MODEL:single","messages":['
    + ",".join(['{"role":"user","content":"1"}'] * 10_000)
    + '],"prompt":['
    + ",".join(['"1"'] * 10_000)
    + "]}",
    "many fields": '{"model":"MODEL:single",' + USER + "," + ",".join(f'"f{n}":1' for n in range(10_000)) + "}",
    "null everywhere": json.dumps(dict.fromkeys([*FIELDS, "model", "messages", "prompt"])),
    "null but for what is needed": json.dumps({**dict.fromkeys(FIELDS), "model": "MODEL:single"})[:-1]
    + ","
    + USER
    + "}",
    "null inside": json.dumps({"model": "MODEL:single", "computewise": dict.fromkeys(WISHES)})[:-1] + "," + USER + "}",
    "extreme wishes": json.dumps(
        {"model": "MODEL", "computewise": dict.fromkeys(("n", "width", "k", "chains", "chain_length"), 2**53)}
    )[:-1]
    + ","
    + USER
    + "}",
    "extreme sizes": '{"model":"MODEL","computewise":{"strategy":"revisions","chains":9007199254740992,'
    + '"chain_length":9007199254740992},'
    + USER
    + "}",
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", RAW)
def test_bodies_made_to_hurt(site: Site, path: str, name: str) -> None:
    content = RAW[name].replace("MODEL", site.model).encode(errors="surrogatepass")
    check(site.post(path, content), path)


def test_a_problem_that_is_too_long_to_be_one_is_not_read() -> None:
    """Python's parser, which reads it, takes seconds for megabytes; meanwhile nobody is answered."""
    embedded = Site("embedded")
    for prompt, status in (("1+2", 200), (f"1{' ' * 5_000}+2", 200), (f"1{' ' * 10_000}+2", 400)):
        answer = embedded.post(COMPLETIONS, json.dumps({"model": "small:single", "prompt": prompt}).encode())
        assert answer.status_code == status
    assert checked_error(answer)["message"] == "a problem of 10003 characters: allowed are 10000"
    embedded.close()


def test_a_body_beyond_the_bound_is_refused() -> None:
    async def asked() -> httpx.Response:
        async with client_of(application(SimulatedBackend(), ServerSettings(largest_body=1_000))) as client:
            return await client.post(CHAT, content=b"x" * 1_001)

    answer = asyncio.run(asked())
    assert (answer.status_code, checked_error(answer)["code"]) == (413, "too_large")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_and_paths_are_refused_alike(method: str) -> None:
    async def asked(path: str) -> httpx.Response:
        async with client_of(application(SimulatedBackend(players={"small": Gated()}), ServerSettings())) as client:
            return await client.request(method, path)

    for path in (CHAT, COMPLETIONS, "/v1/embeddings", "/v1/", "/nowhere", "/%ff%00", "/" + "x" * 5_000):
        answer = asyncio.run(asked(path))
        assert answer.status_code in (404, 405)
        assert checked_error(answer)["code"] == "not_found"
        assert len(answer.content) < 1_000
