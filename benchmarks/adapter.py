"""What the adapter adds to a server's own time: `ServerModel`, `HttpClient` and bare httpx against a server that waits.

python benchmarks/adapter.py [SECONDS]

The server runs in a process of its own and answers every request the same after 20 ms, or after 1 s: a completion of 40
tokens with their log-probabilities and ids, or 16 of them. Requests begin evenly spread over that time, and each is
followed by the next at once. Every row is measured in a process of its own, for its memory.

What a request takes beyond the server's time is the adapter's, the connection's and the fake server's together; the row
"sockets" says how much of that the last two take: a client that only writes the request and reads the answer. "cpu" is
the client's processor time a request, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from computewise.http.client import HttpClient
from computewise.models.server.capabilities import VLLM, Capabilities
from computewise.models.server.model import ServerModel
from computewise.models.server.routes import CompletionsRoute
from computewise.models.server.templates import PlainTemplate

TOKENS = 40
PROMPT = "A train leaves at nine and covers sixty miles in the first hour. How far has it come at noon? " * 4
Once = Callable[[], Awaitable[object]]
Close = Callable[[], Awaitable[None]]


def answer(n: int) -> bytes:
    """A response of vLLM's with `n` choices."""
    words = [f" {index:04d}" for index in range(TOKENS - 1)] + ["\n\n"]
    choice = {
        "text": "".join(words),
        "finish_reason": "stop",
        "stop_reason": "\n\n",
        "token_ids": list(range(1000, 1000 + TOKENS)),
        "prompt_token_ids": None,
        "logprobs": {
            "tokens": words,
            "token_logprobs": [-0.123456789 * index for index in range(TOKENS)],
            "top_logprobs": [{word: -0.123456789 * index} for index, word in enumerate(words)],
            "text_offset": [5 * index for index in range(TOKENS)],
        },
    }
    usage = {"prompt_tokens": 90, "completion_tokens": n * TOKENS, "total_tokens": 90 + n * TOKENS}
    held = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "fake"}
    choices = [{"index": index, **choice} for index in range(n)]
    body = json.dumps({**held, "choices": choices, "usage": usage}, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Waiting(asyncio.Protocol):
    """Answers /v1/MILLISECONDS/N/completions after that time with N choices; one request at a time on a connection."""

    answers = {n: answer(n) for n in (1, 16)}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport, self._held = transport, b""

    def data_received(self, data: bytes) -> None:
        """A part of a request has arrived."""
        self._held += data
        head, separator, body = self._held.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        self._held = b""
        milliseconds, n = head.split(b" ", 2)[1].split(b"/")[2:4]
        asyncio.get_running_loop().call_later(int(milliseconds) / 1000, self._answer, int(n))

    def _answer(self, n: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(self.answers[n])  # type: ignore[attr-defined]


async def serve() -> None:
    """Serve until killed; prints the port."""
    server = await asyncio.get_running_loop().create_server(Waiting, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def by_model(url: str, n: int) -> tuple[Once, Close]:
    """`ServerModel.sample`: what a search calls."""
    client = HttpClient(url)
    able = Capabilities(server=VLLM.name, dialect=VLLM.name, raw=True, n=128, says_which_stop=True, template="plain")
    route = CompletionsRoute(client, "fake", VLLM, logprobs=True, special=True, says=True)
    model = ServerModel(client, "fake", 1, able, route, PlainTemplate(), "\n\n")
    seeds = list(range(n))

    async def once() -> object:
        return await model.sample(PROMPT, "", n, stop="\n\n", max_tokens=240, temperature=1.0, seeds=seeds)

    return once, client.aclose


BODY = {
    "model": "fake",
    "prompt": f"{PROMPT}\n",
    "max_tokens": 240,
    "temperature": 1.0,
    "stop": ["\n\n"],
    "logprobs": 1,
    "seed": 1,
    **VLLM.fixed,
    **VLLM.sampling,
    **VLLM.keep_stop,
    **VLLM.token_ids,
}


def by_client(url: str, n: int) -> tuple[Once, Close]:
    """`HttpClient.post`: the same request without the model around it."""
    client = HttpClient(url)

    async def once() -> object:
        return await client.post("completions", {**BODY, "n": n})

    return once, client.aclose


def by_httpx(url: str, n: int) -> tuple[Once, Close]:
    """`httpx.AsyncClient` with its defaults, but for its limit of connections."""
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None), timeout=600)

    async def once() -> object:
        return (await client.post(f"{url}/completions", json={**BODY, "n": n})).json()

    return once, client.aclose


def by_sockets(url: str, n: int) -> tuple[Once, Close]:
    """Only asyncio's streams: neither is the request built nor the answer parsed."""
    where = httpx.URL(url)
    body = json.dumps({**BODY, "n": n}).encode()
    request = (
        f"POST {where.path}/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    )
    size = len(answer(n))
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def once() -> object:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(where.host, where.port)
        writer.write(request)
        await reader.readexactly(size)
        idle.append((reader, writer))
        return None

    async def close() -> None:
        for _, writer in idle:
            writer.close()

    return once, close


WAYS = {"ServerModel": by_model, "HttpClient": by_client, "bare httpx": by_httpx, "sockets": by_sockets}


async def measure(way: str, url: str, n: int, most: int, seconds: float) -> dict[str, float]:
    """Keep `most` requests in flight for `seconds`, after a warm-up of each."""
    once, close = WAYS[way](url, n)
    spread = int(url.split("/")[-2]) / 1000 / most
    took: list[float] = []

    async def one(index: int, until: float) -> None:
        await asyncio.sleep(index * spread)
        while True:
            began = time.perf_counter()
            await once()
            took.append(time.perf_counter() - began)
            if time.perf_counter() >= until:
                return

    await asyncio.gather(*(one(index, 0) for index in range(most)))
    took.clear()
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(index, began + seconds) for index in range(most)))
    whole, busy = time.perf_counter() - began, time.process_time() - busy
    await close()
    marks = statistics.quantiles(took, n=100)
    return {
        "p50": marks[49],
        "p99": marks[98],
        "rate": len(took) / whole,
        "cpu": busy / len(took),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def row(port: int, way: str, milliseconds: int, n: int, most: int, seconds: float) -> None:
    """Measure in a process of its own and print."""
    url = f"http://127.0.0.1:{port}/v1/{milliseconds}/{n}"
    arguments = [sys.executable, __file__, "client", way, url, str(n), str(most), str(seconds)]
    found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    added = [f"{found[mark] * 1000 - milliseconds:8.1f}" for mark in ("p50", "p99")]
    print(
        f"{way:12} {milliseconds:5} ms  n={n:<3} {most:4} in flight  added p50 {added[0]} ms  p99 {added[1]} ms"
        f"  {found['rate']:7.0f}/s  cpu {found['cpu'] * 1000:5.2f} ms  {found['megabytes']:4.0f} MB",
        flush=True,
    )


def main() -> None:
    """Print every row."""
    if sys.argv[1:2] == ["serve"]:
        return asyncio.run(serve())
    if sys.argv[1:2] == ["client"]:
        way, url, n, most, seconds = sys.argv[2:]
        return print(json.dumps(asyncio.run(measure(way, url, int(n), int(most), float(seconds)))))
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            for n in (1, 16):
                for most in (1, 8, 32, 64, 256):
                    for way in WAYS:
                        row(port, way, 20, n, most, seconds)
            for n in (1, 16):
                for way in WAYS:
                    row(port, way, 1000, n, 256, max(seconds, 4.0))
        finally:
            server.kill()
    return None


if __name__ == "__main__":
    main()
