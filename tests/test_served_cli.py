"""The command line over served models: what it prints, refuses and keeps, with servers that answer in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from servers import SERVERS, VLLM, Hosted, Little, Server

from computewise import cli
from computewise.http import client as http_client

HOME = "http://home:8000/v1"


@dataclass
class Net:
    """Servers by host and port, in place of every socket; `keys` remembers who was sent which."""

    servers: dict[str, Server] = field(default_factory=dict)
    keys: dict[str, set[str | None]] = field(default_factory=dict)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        where = request.url.netloc.decode()
        self.keys.setdefault(where, set()).add(request.headers.get("authorization"))
        if where not in self.servers:
            raise httpx.ConnectError("Connection refused")
        return await self.servers[where].handle(request)


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """Of a refusal: one line and exit code 2, and nothing on standard output."""
        assert self.code == 2, self
        assert self.out == "", self
        assert len(self.err.splitlines()) == 1, self
        return self.err.strip()


Run = Callable[..., Said]


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    """With a vLLM at `HOME`."""
    net = Net({"home:8000": VLLM(Little(skill=0.8))})
    monkeypatch.setattr(http_client, "SpreadTransport", lambda *_: httpx.MockTransport(net.handle))
    return net


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`computewise ARGUMENTS` in this process, in a directory of its own, with a cache there."""
    app = cli.app
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: str) -> Said:
        monkeypatch.setattr(cli, "app", lambda **settings: app(arguments, **settings))
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        held = capsys.readouterr()
        return Said(code, held.out, held.err)

    return command


class Stating(Little):
    """Says its answer as graders find it."""

    def _pieces(self, text: str, rng: random.Random, greedy: bool) -> list[str]:
        pieces = Little._pieces(self, text, rng, greedy)
        return [part for piece in pieces for part in (" \\boxed{" if piece == " " else piece)] if "problem" in text else pieces


QUESTION = "problem 41734 of 3 steps"
SERVED = ("--base-url", HOME, "--verifier", "logprob", "--delimiter", "\\n", "--grader", "exact")
STUDY = (
    *("study", *SERVED, "--data", "mine.jsonl", "--columns", "prompt=asked,answer=gold"),
    *("--problems", "10", "--budgets", "1", "4", "--difficulty-samples", "4", "--repeats", "3", "--max-tokens", "120"),
)
KEYS = ("sk-model", "sk-larger", "sk-verifier")


def write_problems(path: Path, count: int = 12) -> None:
    rng = random.Random(0)
    drawn = [(rng.randint(10_000, 89_999), rng.randint(1, 4)) for _ in range(count)]
    rows = [{"asked": f"problem {number} of {depth} steps", "gold": str(number)} for number, depth in drawn]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
