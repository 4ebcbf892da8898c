"""`computewise serve` on a real socket, over an upstream that does as it is told and remembers what it was sent."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import httpx
import uvicorn
from servers import RefusedError, Server
from uvicorn.server import ServerState

from computewise.http.concurrency import Retry
from computewise.models.server.capabilities import Capabilities
from computewise.models.server.connect import ServerModelSpec
from computewise.serve.admission import ServerSettings
from computewise.serve.app import application
from computewise.serve.backends import Backend, ServedBackend, served_backend
from computewise.serve.server import BoundedProtocol, listen
from computewise.session import Limits
from computewise.setups.server import ServerSpec, SpendPolicy
from computewise.tasks.load import QUESTION, TaskSpec
from computewise.verifiers.base import VerifierSpec

MODEL, LARGE = "little-1b", "big-7b"
QUICK = Retry(tries=2, seconds=1.0, first=0.001, longest=0.002)
SUM = "What is 8 + 9?"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
OPENAI = Capabilities(server="OpenAI-compatible", dialect="OpenAI's fields only", n=128, raw=True, logprobs=False)
"""Whole solutions of a chat, and raw prompts; no steps."""
PATIENCE = 30.0
"""Seconds after which a test is taken to hang."""


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - an event for each of them would be more code than the tests
            await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Received:
    """One request, byte for byte."""

    method: str
    path: str
    headers: Mapping[str, str]
    head: bytes
    raw: bytes
    connection: int

    @cached_property
    def body(self) -> dict[str, Any]:
        held: dict[str, Any] = json.loads(self.raw)
        return held

    @property
    def texts(self) -> list[str]:
        """Of a chat's turns."""
        return [turn["content"] for turn in self.body["messages"]]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer. `parts` are sent one by one, an event among them is waited for; `cut` then drops the line.

    With `hangs` that does not end; nothing is answered before `gate`.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: Sequence[bytes | asyncio.Event] | None = None
    gate: asyncio.Event | None = None
    delay: float = 0.0
    cut: bool = False
    hangs: bool = False


def error(status: int, message: str = "as it was told", **headers: str) -> Reply:
    """In OpenAI's envelope."""
    body = {"error": {"message": message, "type": "told", "param": None, "code": None}}
    told = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Reply(status=status, headers=told, body=json.dumps(body).encode())


Script = Callable[[Received], Reply | None]
Say = Callable[[dict[str, Any], int], str]


def sums(body: Mapping[str, Any], index: int) -> str:
    r"""Two thirds of what is drawn say 17, by the seed."""
    drawn = random.Random(body.get("seed", 0) + index).random()
    return rf"Eight and nine are put together, so the answer is \boxed{{{17 if drawn < 2 / 3 else 18}}}"


@dataclass
class Upstream:
    """OpenAI's chat and completions, a word a token, every sample as `say` has it for its seed and place.

    `script` may answer a request in its place, and `server`, one of those of `servers`, all others. `honours_n` off,
    it gives one choice whatever is asked for.
    """

    say: Say = sums
    script: Script | None = None
    server: Server | None = None
    honours_n: bool = True
    delay: float = 0.0
    port: int = 0
    received: list[Received] = field(default_factory=list)
    given: list[dict[str, int]] = field(default_factory=list)
    """The usage of every answer that was given."""
    connections: int = 0
    open: int = 0
    under_way: int = 0
    peak: int = 0
    abandoned: int = 0
    """Requests whose client closed the connection before they were answered."""
    live: set[_Connection] = field(default_factory=set)
    broken: list[BaseException] = field(default_factory=list)
    """What a test's own script raised."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def bodies(self, path: str = CHAT) -> list[dict[str, Any]]:
        """Of the requests to a path."""
        return [one.body for one in self.received if one.path == path]

    def spent(self, kind: str = "completion_tokens") -> int:
        """Tokens of all answers."""
        return sum(usage[kind] for usage in self.given)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that is about to happen."""
        await until(true)

    def hang_up(self) -> None:
        """Close every connection, whatever is under way."""
        for connection in list(self.live):
            connection.transport.abort()

    def reply(self, request: Received) -> Reply:
        """As the script says, else as a model does."""
        if self.script is not None and (told := self.script(request)) is not None:
            return told
        held: Any
        if self.server is not None:
            try:
                held = self.server.answer(request.path, request.body if request.raw else {})
            except RefusedError as refused:
                return Reply(status=refused.response.status_code, body=refused.response.content)
            if "usage" in held:
                self.given.append(held["usage"])
        elif request.path == "/v1/models":
            held = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "somebody"}]}
        elif request.path in (CHAT, COMPLETIONS):
            held = self._answer(request.body, chat=request.path == CHAT)
        else:
            return error(404, "there is no such path")
        return Reply(headers={"content-type": "application/json"}, body=json.dumps(held).encode(), delay=self.delay)

    def _answer(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        choices, sampled = [], 0
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 100
        for index in range(body.get("n", 1) if self.honours_n else 1):
            words = self.say(body, index).split(" ")
            text, sampled = " ".join(words[:most]), sampled + min(most, len(words))
            said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choices.append({"index": index, **said, "finish_reason": "length" if len(words) > most else "stop"})
        texts = [turn["content"] for turn in body["messages"]] if chat else [body["prompt"]]
        prompt = sum(len(str(text).split(" ")) for text in texts)
        usage = {"prompt_tokens": prompt, "completion_tokens": sampled, "total_tokens": prompt + sampled}
        self.given.append(usage)
        kind = "chat.completion" if chat else "text_completion"
        return {"id": "x", "object": kind, "created": 1, "model": body["model"], "choices": choices, "usage": usage}


class _Connection(asyncio.Protocol):
    """One request after another."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream, self._held, self._number = upstream, b"", 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._upstream.live.add(self)
        self._upstream.connections += 1
        self._upstream.open += 1
        self._number = self._upstream.connections

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.live.discard(self)
        self._upstream.open -= 1
        if self._task is not None:
            self._upstream.abandoned += 1
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._held += data
        self._next()

    def _next(self) -> None:
        head, found, rest = self._held.partition(b"\r\n\r\n")
        if self._task is not None or not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) >= length:
            self._held = rest[length:]
            method, path, _ = first.split(" ")
            request = Received(method, path, headers, head, rest[:length], self._number)
            self._task = asyncio.ensure_future(self._serve(request))
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._upstream.broken.append(error)
            self.transport.abort()

    async def _serve(self, request: Received) -> None:
        upstream = self._upstream
        upstream.received.append(request)
        upstream.under_way += 1
        upstream.peak = max(upstream.peak, upstream.under_way)
        try:
            reply = upstream.reply(request)
            if reply.gate is not None:
                await reply.gate.wait()
            await asyncio.sleep(reply.delay)
            await self._write(reply)
        finally:
            upstream.under_way -= 1
        self._task = None
        self._next()

    async def _write(self, reply: Reply) -> None:
        parts = [reply.body] if reply.parts is None else reply.parts
        framing = f"content-length: {len(reply.body)}" if reply.parts is None else "transfer-encoding: chunked"
        lines = [
            f"HTTP/1.1 {reply.status} Told",
            framing,
            *(f"{name}: {value}" for name, value in reply.headers.items()),
        ]
        self.transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
        for part in parts:
            if isinstance(part, asyncio.Event):
                await part.wait()
            else:
                self.transport.write(part if reply.parts is None else b"%x\r\n%b\r\n" % (len(part), part))
        if reply.hangs:
            await asyncio.Event().wait()
        if reply.cut:
            self.transport.close()
        elif reply.parts is not None:
            self.transport.write(b"0\r\n\r\n")


@asynccontextmanager
async def listening(upstream: Upstream) -> AsyncIterator[Upstream]:
    """The upstream at a port of its own."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(upstream), "127.0.0.1", upstream.port, backlog=1024)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        upstream.hang_up()
        await server.wait_closed()
        await asyncio.sleep(0)  # whose request is cancelled by that ends now
        assert not upstream.broken, upstream.broken


@asynccontextmanager
async def backend_on(
    url: str,
    *,
    capabilities: Capabilities = OPENAI,
    large: bool = False,
    policy: str | None = None,
    judge: bool = False,
    verifier: str = "none",
    retry: Retry = QUICK,
    concurrency: int = 256,
    tokens: int = 100,
    delimiter: str | None = None,
) -> AsyncIterator[ServedBackend]:
    """A served backend on that upstream, which is known already: nothing is asked of it to find out."""
    small = ServerModelSpec(base_url=url, model=MODEL, parameters=10**9, capabilities=capabilities)
    source = ServerSpec(
        small=small,
        large=replace(small, model=LARGE, parameters=7 * 10**9) if large else None,
        verifier=VerifierSpec("judge-grade", model=MODEL, base_url=url) if judge else VerifierSpec(verifier),
        problems=TaskSpec(name=QUESTION, delimiter=delimiter),
        bounds=Limits(tokens=tokens),
        sampling_temperature=1.0,
        prices={},
        spending=SpendPolicy(retry=retry, concurrency=concurrency),
    )
    async with served_backend(source, policy, "math") as backend:
        yield backend


@dataclass(frozen=True)
class Site:
    """A server that runs, and a plain client of it."""

    root: str
    http: httpx.AsyncClient
    logged: list[str]
    """What the server had to complain of; a test that expects it takes it out."""

    async def chat(self, prompt: str = SUM, *, model: str = MODEL, **fields: Any) -> httpx.Response:
        """One turn of a chat."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        return await self.http.post(CHAT, json=body)

    async def completion(self, prompt: str = SUM, *, model: str = MODEL, **fields: Any) -> httpx.Response:
        """A raw prompt."""
        return await self.http.post(COMPLETIONS, json={"model": model, "prompt": prompt, **fields})

    async def solved(self, prompt: str = SUM, **fields: Any) -> dict[str, Any]:
        """What came of a chat that is answered."""
        response = await self.chat(prompt, **fields)
        assert response.status_code == 200, response.text
        held: dict[str, Any] = response.json()
        return held

    async def trace(self) -> dict[str, Any]:
        """The summary of the only request there was, once it is over."""
        async with asyncio.timeout(PATIENCE):
            while True:
                (held,) = (await self.http.get("/traces")).json()["traces"]
                if held["status"] not in ("queued", "running"):
                    return dict(held)
                await asyncio.sleep(0.002)

    async def busy(self, *, in_flight: int, waiting: int) -> None:
        """Wait until so much is worked on and so much waits."""
        wanted = {"status": "ok", "in_flight": in_flight, "waiting": waiting}
        async with asyncio.timeout(PATIENCE):
            while (await self.http.get("/health")).json() != wanted:  # noqa: ASYNC110 - it is another process's
                await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(backend: Backend, **settings: Any) -> AsyncIterator[Site]:
    """The application at a port of its own, in this event loop; what goes wrong in it unforeseen fails the test."""
    app = application(backend, ServerSettings(**settings))
    config = uvicorn.Config(app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    listener, state, before = listen("127.0.0.1", 0), ServerState(), asyncio.all_tasks()

    def connected() -> asyncio.Protocol:
        return BoundedProtocol(config, server_state=state, app_state={})

    root = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = await asyncio.get_running_loop().create_server(connected, sock=listener, backlog=1024)
    with _Errors() as errors:
        try:
            async with httpx.AsyncClient(base_url=root, trust_env=False, verify=False, timeout=PATIENCE) as http:
                yield Site(root, http, errors.texts)
        finally:
            server.close()
            # What was cancelled with a connection ends; a fixture is not torn down in the task that set it up.
            own = {asyncio.current_task()}
            await until(lambda: not state.connections and not asyncio.all_tasks() - before - own)
    assert not errors.texts, errors.texts


@asynccontextmanager
async def site_on(
    upstream: Upstream, *, backend: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Site]:
    """All three, one before the other."""
    async with (
        listening(upstream),
        backend_on(upstream.url, **(backend or {})) as opened,
        serving(opened, **settings) as site,
    ):
        yield site


class _Errors(logging.Handler):
    """What the server logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def __enter__(self) -> _Errors:
        logging.getLogger("uvicorn.error").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("uvicorn.error").removeHandler(self)


def events(held: bytes) -> list[Any]:
    """The JSON of a stream's events; comments are skipped, [DONE] has to be the last."""
    found = [block for block in held.decode().split("\n\n") if block.startswith("data: ")]
    assert found[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in found[:-1]]
