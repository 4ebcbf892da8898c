"""The two endpoints that solve: from the bytes of a request to its answer.

Requests that are not searched are passed to the upstream, and its answers back, byte for byte.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from computewise.controller.dial import Dial
from computewise.errors import ComputewiseError
from computewise.http.client import HttpClient
from computewise.serve.accounting import Metrics, cost_in_draws, strategy_of, summarize_costs
from computewise.serve.admission import ClientDisconnected, Keys, Queue, ServerSettings, read_body, while_connected
from computewise.serve.backends import Backend, Upstream
from computewise.serve.errors import ApiError, api_error_of, too_late
from computewise.serve.execution import answer_request
from computewise.serve.history import History
from computewise.serve.planning import ByController, PassThrough, looks_gradable, plan_request, read_name
from computewise.serve.request import Answer, RequestState
from computewise.serve.responses import (
    AlreadySent,
    Sender,
    answer_of,
    encode,
    finish,
    more,
    send_error,
    send_json,
    stream,
)
from computewise.serve.schemas import ChatRequest, more_than_one
from computewise.serve.tracing import describe_usage, request_span

REQUEST_ID = "x-request-id"
MOST_DIALS = 64
"""Clients may name any mean cost: so many different ones have a running price."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Api:
    """What the requests of one server share: the queue, the metrics and the history."""

    def __init__(self, backend: Backend, settings: ServerSettings) -> None:
        self.backend, self.settings = backend, settings
        self.queue = Queue(settings.in_flight, settings.queue)
        self.keys = Keys(settings.keys, settings.hosts)
        self.measures = Metrics(self.queue)
        self.traces = History(settings.traces)
        self.strategies = {model: backend.strategies(model) for model in backend.models}
        self.dials: dict[float, Dial] = {}
        """By the mean cost that was asked for."""

    def _at_running_price(self, plan: ByController, target: float) -> ByController:
        """The plan at the running price of a mean cost; beyond `MOST_DIALS` different costs, at the fitted one."""
        if target not in self.dials and len(self.dials) >= MOST_DIALS:
            return replace(plan, target=None)
        dial = self.dials.setdefault(target, Dial(target, plan.price))
        return replace(plan, price=dial.now, group=dial.begin())

    def _tell(self, work: RequestState) -> None:
        """Tell the dial what a request cost; nothing of one that did not end by its controller's own decision."""
        if not isinstance(work.plan, ByController) or work.plan.target is None:
            return
        fitted, dial = self.backend.fitted, self.dials[work.plan.target]
        known = fitted is not None and work.status == "done"
        dial.tell(cost_in_draws(work, fitted) if known and fitted is not None else None, work.plan.group)
        if dial.problems:
            self.measures.dialled(dial)

    def plan(self, asked: ChatRequest, client: str, id: str) -> tuple[RequestState, str]:
        """The state of a new request with its plan, and the name of its model."""
        backend = self.backend
        model = read_name(asked.model, backend.models).model
        plan = plan_request(
            asked,
            backend.models,
            fitted=backend.fitted,
            strategies=self.strategies[model],
            settings=self.settings,
            answerable=looks_gradable(asked.prompt, backend.grader),
            passes=backend.upstream(model) is not None,
        )
        if isinstance(plan, ByController) and plan.target is not None:
            plan = self._at_running_price(plan, plan.target)
        verifier = backend.verifier
        work = RequestState(
            id=id,
            request=asked,
            plan=plan,
            client=client,
            verifier_parameters=verifier.parameters if verifier else 0,
            valued=None if verifier is None else lambda candidate: verifier.value(candidate.scores),
        )
        return work, model

    async def solve(self, work: RequestState, model: str) -> Answer:
        """Wait for a place, and solve the request within its time."""
        seconds = self.seconds(work)
        async with self.queue.place(work.client, work.id, seconds):
            work.status = "running"
            work.answer = await answer_request(work, self.backend, model, max(seconds - work.seconds, 0.0))
            return work.answer

    def ended(self, work: RequestState) -> None:
        """Count a request that has ended, and keep it in the history."""
        self.measures.ended(work)
        self.traces.ended(work)
        self._tell(work)

    def seconds(self, work: RequestState) -> float:
        """The seconds that a request may take."""
        return min(self.settings.timeout, work.request.options.timeout or self.settings.timeout)


class Endpoint:
    """One endpoint: an ASGI application that answers the requests which `read` parses."""

    def __init__(self, api: Api, read: Callable[[bytes], ChatRequest]) -> None:
        self._api, self._read = api, read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI; a request ends with an answer, an error in OpenAI's form, or the client's disconnection."""
        api, headers, sender = self._api, dict[str, str](), Sender(send)
        try:
            client = api.keys.client(scope)
            raw = await read_body(scope, receive, api.settings.largest_body)
            # No other task runs between here and `traces.add`: the id stays free.
            id = _id(scope, api.traces)
            headers[REQUEST_ID] = id
            asked = self._read(raw)
            work, model = api.plan(asked, client, id)
        except ApiError as refused:
            api.measures.refused(refused.status)
            await send_error(sender, refused, headers)
            return
        except ClientDisconnected:
            return
        api.traces.add(work)
        try:
            with request_span(work.request.model, _carried(scope)) as span:
                try:
                    await self._answer(work, model, scope, receive, sender, headers)
                finally:
                    if span is not None:
                        took = summarize_costs(work)
                        more: dict[str, str | float | int] = {
                            "strategy": strategy_of(work),
                            "generations": took.generations,
                        }
                        describe_usage(span, took.usage, more)
        except (ClientDisconnected, asyncio.CancelledError) as ended:
            work.end("cancelled")
            if isinstance(ended, asyncio.CancelledError):
                raise
        except AlreadySent as told:
            work.end("failed", str(told))
        except (ApiError, ComputewiseError) as error:
            failed = api_error_of(error, work.request.problem_field)
            work.end("failed", str(failed))
            if not sender.begun:  # else the connection is closed short of its answer, which says so
                await send_error(sender, failed, headers)
        finally:
            if work.ended is None:
                work.end("failed", "internal error: see the server's log")
            api.ended(work)

    async def _answer(
        self, work: RequestState, model: str, scope: Scope, receive: Receive, send: Sender, headers: dict[str, str]
    ) -> None:
        if isinstance(work.plan, PassThrough):
            await while_connected(receive, self._pass(work, scope, send, headers))
        elif work.request.stream:
            await while_connected(receive, self._stream(work, model, send, headers))
            work.end("done")
        else:
            await while_connected(receive, self._api.solve(work, model))
            answer = answer_of(work)
            work.end("done")
            await send_json(send, answer, headers=headers)

    async def _stream(self, work: RequestState, model: str, send: Sender, headers: dict[str, str]) -> None:
        solving = asyncio.ensure_future(self._api.solve(work, model))
        try:
            await stream(work, solving, send, every=self._api.settings.progress, headers=headers)
        finally:
            solving.cancel()
            await asyncio.gather(solving, return_exceptions=True)

    async def _pass(self, work: RequestState, scope: Scope, send: Send, headers: dict[str, str]) -> None:
        assert isinstance(work.plan, PassThrough)
        upstream = self._api.backend.upstream(work.plan.model)
        assert upstream is not None
        seconds = self._api.seconds(work)
        async with self._api.queue.place(work.client, work.id, seconds):
            work.status = "running"
            try:
                async with asyncio.timeout(max(seconds - work.seconds, 0.0)):
                    status = await pass_through(work.request, upstream, scope, send, headers)
            except TimeoutError:
                raise too_late(seconds) from None
            work.end("passed", None if status < HTTPStatus.BAD_REQUEST else f"the upstream answered {status}")


def _id(scope: Scope, traces: History) -> str:
    """The id that the client gives the request, if it is well-formed and free; else a new one."""
    given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
    return given if _ID.fullmatch(given) and given not in traces else secrets.token_hex(12)


def _carried(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}


_CARRIED = (b"traceparent", b"tracestate")


_CEILINGS = ("max_tokens", "max_completion_tokens", "n_predict", "num_predict", "max_new_tokens")
PATHS = {"chat": "chat/completions", "completions": "completions"}
_FORWARDED = (b"accept", b"accept-encoding")
"""The client's headers that are forwarded, as they decide the answer; its key is for this server alone."""
_OF_A_CONNECTION = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "set-cookie",
        "date",
        "server",
    ]
)

_OF_A_BODY = frozenset({"content-length", "content-encoding"})


async def pass_through(
    asked: ChatRequest, upstream: Upstream, scope: Scope, send: Send, headers: Mapping[str, str]
) -> int:
    """Pass one request through; return the upstream's status. Raises `ServerError` if it does not answer.

    An error is forwarded whole, but without the upstream's key, which some servers repeat in their message.
    """
    told = {name.decode(): value.decode() for name, value in scope["headers"] if name in _FORWARDED and value.isascii()}
    client: HttpClient = upstream.client
    async with client.forward(PATHS[asked.endpoint], body_for(asked, upstream.model), told) as response:
        failed = response.status_code >= HTTPStatus.BAD_REQUEST
        named = {name.strip() for name in response.headers.get("connection", "").lower().split(",")}
        left_out = _OF_A_CONNECTION | named | (_OF_A_BODY if failed else set())
        kept = [(n.lower(), v) for n, v in response.headers.raw if n.lower().decode("latin-1") not in left_out]
        own = [(name.encode(), value.encode()) for name, value in headers.items()]
        taken = dict(own)
        kept = [(b"x-upstream-" + name.removeprefix(b"x-") if name in taken else name, value) for name, value in kept]
        await send({"type": "http.response.start", "status": response.status_code, "headers": [*kept, *own]})
        if failed:
            await more(send, client.redact(await response.aread()))
        else:
            async for part in client.raw(response):
                await more(send, part)
        await finish(send)
        return response.status_code


def body_for(asked: ChatRequest, model: str) -> bytes:
    """The client's body with the upstream's model name, without `computewise`, and with its bound on tokens.

    Every other value keeps its bytes.
    """
    if asked.model == model and "computewise" not in asked.body:
        return asked.raw
    body = _VALUES.decode(asked.raw.removeprefix(BOM_UTF8))
    changed: dict[str, Any] = {"model": model}
    if (most := asked.options.max_total_tokens) is not None:
        each = max(1, most // _answers(asked.body))
        named = [name for name in _CEILINGS if asked.body.get(name) is not None] or [_CEILINGS[0]]
        changed |= {name: _at_most(each, asked.body.get(name)) for name in named}
    return encode({name: value for name, value in (body | changed).items() if name != "computewise"})


_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _answers(body: Mapping[str, Any]) -> int:
    """How many texts the upstream samples for a body."""
    prompts = body.get("prompt")
    several = len(prompts) if isinstance(prompts, list) and not all(isinstance(one, int) for one in prompts) else 1
    each = max(int(value) if more_than_one(value) else 1 for value in (body.get("n"), body.get("best_of")))
    return each * several


def _at_most(each: int, given: Any) -> Any:
    """The lower bound of the two; a client's that is none, such as -1, gives way."""
    return given if isinstance(given, int | float) and 0 <= given < each else each
