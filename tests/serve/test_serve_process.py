"""The server as a process: how it starts, what it refuses, how it ends; and the bounds on what a request may take."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import VLLM, Stating, encode, found_on
from serving import (
    MODEL,
    PATIENCE,
    SUM,
    Received,
    Reply,
    Site,
    Upstream,
    error,
    events,
    listening,
    serving,
    site_on,
)

from computewise import cli
from computewise.models.server.capabilities import Capabilities
from computewise.serve.backends import EmbeddedBackend
from computewise.serve.server import DRAIN

ONE_BY_ONE: dict[str, Any] = {"capabilities": Capabilities(server="OpenAI-compatible", dialect="OpenAI's fields only")}
PROBLEM = "problem 41734 of 3 steps"
GREETING = "Hello, you"


@dataclass
class Running:
    """`computewise serve` in a process of its own."""

    process: Process
    ready: str
    site: Site

    async def ended(self) -> tuple[int, str]:
        """Its exit code, and what it printed behind its first line."""
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        assert out == b""
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


async def started(*arguments: str, **environment: str) -> Process:
    """`computewise serve ARGUMENTS`, without what this process's environment says of proxies and keys."""
    kept = {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "COMPUTEWISE" not in name
    }
    command = (sys.executable, "-m", "computewise", "serve", *arguments)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env={**kept, **environment})


@asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[Running]:
    process = await started("--port", "0", *arguments, **environment)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            ready = (await process.stderr.readline()).decode()
        assert "serving" in ready, ready
        root = ready.split(" at ")[1].split("/v1")[0]
        async with httpx.AsyncClient(base_url=root, trust_env=False, verify=False, timeout=PATIENCE) as http:
            yield Running(process, ready, Site(root, http, []))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def behind(upstream: Upstream) -> tuple[str, ...]:
    return "--upstream", upstream.url, "--verifier", "none", "--policy", "none"


async def test_it_says_where_it_serves_drains_when_told_to_end_and_exits_0() -> None:
    gate = asyncio.Event()
    async with listening(Upstream()) as upstream, running(*behind(upstream)) as server:
        assert server.ready == (
            f"computewise: serving {MODEL} by best-of-N, without a policy at {server.site.root}/v1, "
            f"watched at {server.site.root}/\n"
        )
        upstream.script = lambda request: None if gate.is_set() else _held_by(gate, upstream, request)
        tasks = [
            asyncio.create_task(server.site.chat(computewise={"strategy": "best_of_n@4"})),
            asyncio.create_task(server.site.chat(GREETING)),
            asyncio.create_task(server.site.chat(stream=True)),
        ]
        await upstream.until(lambda: upstream.under_way == 3)
        server.process.send_signal(signal.SIGTERM)
        await _refusing(server.site)
        assert not any(task.done() for task in tasks)
        gate.set()
        found = await asyncio.gather(*tasks)
        assert [one.status_code for one in found] == [200, 200, 200]
        assert found[0].json()["computewise"]["generations"] == 4
        assert events(found[2].content)[-1]["choices"][0]["finish_reason"] == "stop"
        assert await server.ended() == (0, "")


async def test_an_upstream_is_all_it_needs_though_nobody_says_how_large_its_model_is() -> None:
    def listed(request: Received) -> Reply | None:
        held = {"data": [{"id": "somebody/model"}]}
        return Reply(body=json.dumps(held).encode()) if request.path == "/v1/models" else None

    said = Upstream(say=lambda body, index: r"It is \boxed{17}", script=listed)
    async with listening(said) as upstream, running("--upstream", upstream.url) as server:
        answer = (await server.site.chat(model="somebody/model")).json()
        assert answer["choices"][0]["message"]["content"] == r"It is \boxed{17}"
        told = answer["computewise"]
        assert server.ready.startswith("computewise: serving somebody/model by a policy fitted on other models (fit ")
        # Every sample gives the same answer, so few are enough.
        assert (told["answer"], told["strategy"]) == ("17", "policy")
        assert 2 <= told["samples"] < 8
        assert (told["flops"], told["verifier_tokens"]) == (None, 0)
        trace = await server.site.trace()
        assert (trace["flops"], trace["baseline"], trace["saved"]) == (None, None, None)
        metrics = (await server.site.http.get("/metrics")).text
        assert 'computewise_tokens_total{kind="completion"}' in metrics
        assert "computewise_flops_total{" not in metrics
        server.process.send_signal(signal.SIGTERM)
        code, hints = await server.ended()
        assert code == 0
        size, verifier = hints.splitlines()
        assert size.endswith("of model is unknown, so no FLOPs are counted: give it by --parameters 7e9")
        assert "--verifier judge" in verifier


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)], ids=["TERM", "INT"]
)
async def test_a_second_signal_ends_it_at_once(first: signal.Signals, second: signal.Signals) -> None:
    async with listening(Upstream()) as upstream, running(*behind(upstream)) as server:
        upstream.script = lambda _: Reply(gate=asyncio.Event())
        task = asyncio.create_task(server.site.chat())
        await upstream.until(lambda: upstream.under_way == 1)
        server.process.send_signal(first)
        await _refusing(server.site)
        assert upstream.under_way == 1
        server.process.send_signal(second)
        async with asyncio.timeout(DRAIN / 2):
            assert await server.ended() == (0, "")
        with pytest.raises(httpx.TransportError):
            await task
        await upstream.until(lambda: upstream.abandoned == 1)


async def test_the_embedded_models_are_served_without_any_flag_but_only_under_this_machines_names() -> None:
    async with running() as server:
        found = await server.site.chat("3*(4+5)-6*(7-2)", model="small", computewise={"strategy": "best_of_n@4"})
        assert found.json()["computewise"]["generations"] == 4
        assert (await server.site.http.get("/health")).json() == {"status": "ok", "in_flight": 0, "waiting": 0}
        server.site.http.headers["host"] = "rebound.example"
        for path in ("/v1/models", "/traces", "/metrics"):
            assert (await server.site.http.get(path)).status_code == 403
        assert (await server.site.chat("3+4", model="small")).status_code == 403
        server.process.send_signal(signal.SIGINT)
        assert await server.ended() == (0, "")


async def test_keys_come_from_the_environment() -> None:
    async with running(COMPUTEWISE_SERVE_KEYS=" sk-one,sk-two ,") as server:
        http = server.site.http
        for key, status in (("sk-one", 200), ("sk-two", 200), ("sk-three", 401), ("sk-one,", 401), (None, 401)):
            http.headers.pop("authorization", None)
            if key is not None:
                http.headers["authorization"] = f"Bearer {key}"
            assert (await http.get("/v1/models")).status_code == status
            assert (await server.site.chat("3+4", model="small")).status_code == status
        assert (await http.get("/health")).status_code == (await http.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "COMPUTEWISE_SERVE_KEYS"),
        (("--host", "::"), "COMPUTEWISE_SERVE_KEYS"),
        (("--host", "localhost.example"), "localhost.example"),
        (("--port", "99999"), "99999"),
        (("--port", "-1"), "-1"),
        (("--in-flight", "0"), "in_flight"),
        (("--queue", "-1"), "queue"),
        (("--timeout", "0"), "timeout"),
        (("--timeout", "nan"), "timeout"),
        (("--max-generations", "0"), "most_generations"),
        (("--efforts", "0", "8", "32"), "effort low"),
        (("--efforts", "1", "8", "999"), "effort high"),
        (("--efforts", "1", "8"), "--efforts"),
        (("--no-such-flag",), "--no-such-flag"),
        (("--max-total-tokens", "7"), "--max-total-tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line_before_anything_is_opened(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMPUTEWISE_SERVE_KEYS", raising=False)
    app = cli.app
    monkeypatch.setattr(cli, "app", lambda **settings: app(("serve", *arguments), **settings))
    monkeypatch.setattr("asyncio.run", _not_to_be_run)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("computewise: ")
    assert said in err


def _not_to_be_run(*_: object, **__: object) -> None:
    raise AssertionError("it serves what it should have refused")


async def test_what_cannot_be_served_is_refused_in_a_line(tmp_path: Path) -> None:
    garbage = tmp_path / "policy.json"
    garbage.write_text("{}")
    with socket.socket() as busy, socket.socket() as unheard:
        for one in (busy, unheard):
            one.bind(("127.0.0.1", 0))
        busy.listen()
        gone, taken = unheard.getsockname()[1], str(busy.getsockname()[1])
        async with listening(Upstream()) as upstream:
            refusals: dict[tuple[str, ...], str] = {
                ("--host", "0.0.0.0"): "COMPUTEWISE_SERVE_KEYS",
                ("--port", taken): f"127.0.0.1:{taken}",
                ("--policy", str(garbage)): str(garbage),
                ("--policy", "no-such-policy"): "no-such-policy",
                (*behind(upstream)[:-2], "--policy", "expressions"): "is for the model",
                ("--model", "large"): "--upstream",
                ("--large", "large"): "--base-url",
                ("--upstream", upstream.url, "--verifier-url", upstream.url): "name it by --verifier",
                (*behind(upstream), "--large", "other-7b"): "other-7b",
                ("--upstream", f"http://127.0.0.1:{gone}/v1", "--verifier", "none"): "no answer",
            }
            places = asyncio.Semaphore(3)

            async def refusal(arguments: tuple[str, ...]) -> tuple[int | None, str, str]:
                async with places, asyncio.timeout(PATIENCE):
                    process = await started(*(() if "--port" in arguments else ("--port", "0")), *arguments)
                    try:
                        out, err = await process.communicate()
                    finally:
                        if process.returncode is None:
                            process.kill()
                            await process.wait()
                return process.returncode, out.decode(), err.decode()

            found = await asyncio.gather(*(refusal(arguments) for arguments in refusals))
    for (arguments, said), (code, out, err) in zip(refusals.items(), found, strict=True):
        assert (code, out, err.count("\n")) == (2, "", 1), (arguments, err)
        assert err.startswith("computewise: "), (arguments, err)
        assert said in err, (arguments, err)


async def test_a_client_that_hangs_up_cancels_everything_that_was_asked_for_it() -> None:
    async with listening(Upstream(honours_n=False)) as upstream, running(*behind(upstream)) as server:
        upstream.script = lambda request: Reply(gate=asyncio.Event()) if b"8 + 9" in request.raw else None
        for stream in (False, True):
            upstream.abandoned = 0
            wishes = {"strategy": "best_of_n@32"}
            task = asyncio.create_task(server.site.chat(computewise=wishes, stream=stream))
            await upstream.until(lambda: upstream.under_way == 32)
            task.cancel()
            await upstream.until(lambda: upstream.abandoned == 32 and upstream.under_way == 0)
        await server.site.busy(in_flight=0, waiting=0)
        assert (await server.site.chat(GREETING)).status_code == 200


@pytest.mark.slow
async def test_200_clients_of_an_upstream_that_fails_at_times_are_all_answered_or_told() -> None:
    chance = random.Random(0)

    def at_times(request: Received) -> Reply | None:
        return error(random.Random(chance.random()).choice([500, 503])) if chance.random() < 0.05 else None

    async with listening(Upstream(delay=0.01)) as upstream, running(*behind(upstream), "--in-flight", "48") as server:
        before = await _tasks(server.site)
        upstream.script = at_times

        async def ask(number: int) -> list[httpx.Response]:
            async with httpx.AsyncClient(
                base_url=server.site.root, trust_env=False, verify=False, timeout=PATIENCE
            ) as http:
                site = Site(server.site.root, http, [])
                return [
                    await site.chat(f"What is {number} + 1?", computewise={"strategy": "best_of_n@4"}),
                    await site.chat(f"What is {number} + 2?", stream=True),
                    await site.chat(f"Hello from {number}"),
                    await site.completion(f"{number} + 3 =", computewise={"strategy": "revisions@4"}),
                ]

        found = [one for each in await asyncio.gather(*(ask(number) for number in range(200))) for one in each]
        answered = [one for one in found if one.status_code == 200]
        told = [one for one in found if one.status_code != 200]
        assert len(answered) > 700
        assert {one.status_code for one in told} <= {500, 503}
        assert all(set(one.json()) == {"error"} for one in told)
        assert all("data: [DONE]" in one.text for one in answered if "event-stream" in one.headers["content-type"])
        await server.site.busy(in_flight=0, waiting=0)
        assert await _tasks(server.site) == before
        assert upstream.under_way == 0
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == (0, "")


async def test_a_full_queue_says_when_to_come_again_and_the_others_are_served_in_their_turn() -> None:
    gate = asyncio.Event()
    upstream = Upstream()
    upstream.script = lambda request: None if gate.is_set() else _held_by(gate, upstream, request)
    async with site_on(upstream, in_flight=2, queue=3) as site:
        tasks = [asyncio.create_task(site.chat(f"{SUM} {number}")) for number in range(5)]
        await site.busy(in_flight=2, waiting=3)
        for prompt in (SUM, GREETING):
            refused = await site.chat(prompt)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "queue_full"
            assert int(refused.headers["retry-after"]) >= 1
        gate.set()
        assert [one.status_code for one in await asyncio.gather(*tasks)] == [200] * 5
        assert (await site.chat()).status_code == 200


@pytest.mark.parametrize("strategy", ["best_of_n@8", "revisions@8"])
async def test_at_its_deadline_a_request_is_answered_by_the_best_so_far(strategy: str) -> None:
    upstream = Upstream(honours_n=False)
    upstream.script = lambda _: Reply(gate=asyncio.Event()) if len(upstream.received) > 4 else None
    async with site_on(upstream, backend=ONE_BY_ONE) as site:
        wishes = {"strategy": strategy, "timeout": 1.0}
        held = (await site.solved(computewise=wishes))["computewise"]
        await upstream.until(lambda: upstream.under_way == 0)
    assert (held["exhausted"], held["generations"] > 0, held["answer"] in ("17", "18")) == ("time", True, True)
    assert "it was given ended the search" in held["stopped"]


@pytest.mark.parametrize(
    "fields", [{"computewise": {"timeout": 0.1}}, {"computewise": {"timeout": 0.1, "strategy": "best_of_n@8"}}, {}]
)
async def test_where_nothing_is_there_at_the_deadline_that_is_told(fields: dict[str, Any]) -> None:
    upstream = Upstream(script=lambda _: Reply(gate=asyncio.Event()))
    async with site_on(upstream, timeout=600.0 if fields else 0.1) as site:
        for stream in (False, True):
            response = await site.chat(stream=stream, **fields)
            assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        await upstream.until(lambda: upstream.under_way == 0)


@pytest.mark.parametrize("budget", [1, 7, 8, 30, 50, 87, 88, 200])
@pytest.mark.parametrize("honours_n", [True, False])
async def test_no_more_tokens_are_sampled_than_a_client_allows(budget: int, honours_n: bool) -> None:
    upstream = Upstream(honours_n=honours_n)
    async with site_on(upstream) as site:
        for strategy in ("best_of_n@8", "single", "revisions@8"):
            upstream.given.clear()
            response = await site.chat(computewise={"strategy": strategy, "max_total_tokens": budget})
            assert upstream.spent() <= budget
            if response.status_code == 200:
                assert response.json()["usage"]["completion_tokens"] == upstream.spent()
            else:
                assert response.json()["error"]["code"] == "budget_too_small"
    if budget >= 88:
        assert response.status_code == 200


@pytest.mark.parametrize("strategy", ["beam_search@8", "dvts@8", "lookahead@4", "rebase@8", "particle_filter@8"])
async def test_no_more_tokens_are_sampled_than_a_client_allows_step_by_step(strategy: str) -> None:
    double = VLLM(Stating(skill=0.8, blank=0.2, overrun=0.2))
    found = (await found_on(double)).capabilities
    upstream = Upstream(server=double)
    async with site_on(upstream, backend={"capabilities": found, "delimiter": "\n"}) as site:
        for budget in (1, 9, 40, 100, 180, 350, 700):
            upstream.given.clear()
            await site.chat(PROBLEM, computewise={"strategy": strategy, "max_total_tokens": budget})
            assert upstream.spent() <= budget


@pytest.mark.parametrize("most", [1, 3, 9, 10, 11, 50])
async def test_a_client_is_shown_no_more_tokens_than_it_asks_for(most: int) -> None:
    async with site_on(Upstream()) as site:
        bounds: list[dict[str, Any]] = [{"max_completion_tokens": most}, {"max_tokens": most, "stream": True}]
        for bound in bounds:
            for wishes in ({"strategy": "best_of_n@8"}, {"strategy": "single"}, {"strategy": "revisions@4"}):
                response = await site.chat(computewise=wishes, **bound)
                assert response.status_code == 200
                text, finish = _shown(response)
                assert len(text.split(" ")) <= most
                assert finish == ("length" if most < 11 else "stop")


SEARCHING: dict[str, Any] = {"delimiter": "\n", "verifier": "logprob"}
"""Searches need a verifier."""


@pytest.mark.parametrize("strategy", ["beam_search@4", "dvts@4", "best_of_n@4"])
async def test_a_client_is_shown_no_more_tokens_than_it_asks_for_step_by_step(strategy: str) -> None:
    double = VLLM(Stating(skill=0.8, blank=0.2, overrun=0.2))
    found = (await found_on(double)).capabilities
    async with site_on(Upstream(server=double), backend=SEARCHING | {"capabilities": found}) as site:
        for most in (1, 5, 12, 20, 33, 60):
            response = await site.chat(PROBLEM, computewise={"strategy": strategy}, max_completion_tokens=most)
            text, finish = _shown(response)
            assert len(encode(text)) <= most
            assert finish == "length" or "boxed" in text


async def test_the_embedded_models_keep_both_bounds() -> None:
    async with serving(EmbeddedBackend("expressions")) as site:
        for most in (1, 5, 20):
            wishes = {"strategy": "best_of_n@4", "max_total_tokens": 10 * most}
            response = await site.chat("3*(4+5)-6", model="small", computewise=wishes, max_completion_tokens=most)
            usage = response.json()["usage"]
            assert usage["completion_tokens"] <= 10 * most
            assert usage["completion_tokens"] - usage["completion_tokens_details"]["reasoning_tokens"] <= most
            policy = await site.chat("3*(4+5)-6", model="small", computewise={"max_total_tokens": 10 * most})
            assert policy.json()["usage"]["completion_tokens"] <= 10 * most


def _shown(response: httpx.Response) -> tuple[str, str]:
    """The text, and why it ended."""
    if response.headers["content-type"] == "application/json":
        (choice,) = response.json()["choices"]
        return choice["message"]["content"], choice["finish_reason"]
    choices = [one["choices"][0] for one in events(response.content)]
    return "".join(one["delta"].get("content") or "" for one in choices), choices[-1]["finish_reason"]


def _held_by(gate: asyncio.Event, upstream: Upstream, request: Received) -> Reply:
    """What would be answered, but later."""
    script, upstream.script = upstream.script, None
    try:
        reply = upstream.reply(request)
    finally:
        upstream.script = script
    return Reply(headers=reply.headers, body=reply.body, gate=gate)


async def _refusing(site: Site) -> None:
    """Wait until new connections are refused."""
    port = int(site.root.rpartition(":")[2])
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def _tasks(site: Site) -> float:
    """Of the server's event loop, as it says."""
    lines = (await site.http.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith("computewise_tasks ")).split(" ")[1])
