"""`computewise ARGUMENTS` in this process, with servers that answer in it."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import httpx
import pytest
from servers import Server

from computewise import cli
from computewise.http import client as http_client
from computewise.http.transport import AiohttpTransport
from computewise.setups import server

HOME = "http://home:8000/v1"
KEYS = {
    "COMPUTEWISE_API_KEY": "sk-model",
    "COMPUTEWISE_LARGE_API_KEY": "sk-larger",
    "COMPUTEWISE_VERIFIER_API_KEY": "sk-verifier",
}


@dataclass
class Net:
    """Servers by host and port, in place of every socket; `keys` remembers who was sent which."""

    servers: dict[str, Server]
    keys: dict[str, set[str | None]] = field(default_factory=dict)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """As the server there does."""
        where = request.url.netloc.decode()
        self.keys.setdefault(where, set()).add(request.headers.get("authorization"))
        if where not in self.servers:
            raise httpx.ConnectError("connection refused")
        return await self.servers[where].handle(request)


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """One line and exit code 2, and nothing on standard output."""
        assert (self.code, self.out, len(self.err.splitlines())) == (2, "", 1), self
        return self.err.removeprefix("computewise: ").strip()


@dataclass(frozen=True)
class Shell:
    """Runs commands in this process, in a directory of its own, where the cache is too."""

    where: Path
    net: Net = field(default_factory=lambda: Net({}))

    def __call__(self, *arguments: str, **environment: str) -> Said:
        """`computewise ARGUMENTS`."""
        server._loaded.cache_clear()  # as a process of its own has it
        app, out, err, code = cli.app, StringIO(), StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.where)
            for name, value in {"XDG_CACHE_HOME": str(self.where / "cache"), "COLUMNS": "160", **environment}.items():
                patch.setenv(name, value)
            patch.setattr(http_client, "AiohttpTransport", lambda *_: httpx.MockTransport(self.net.handle))
            patch.setattr(cli, "app", lambda **settings: app(arguments, **settings))
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        return Said(code, out.getvalue(), err.getvalue())

    def records(self, run: str) -> list[str]:
        """Its records; their order is that in which they were done."""
        return sorted((self.where / run / "records.jsonl").read_text("utf-8").splitlines())


class RealShell(Shell):
    """With sockets."""

    def __call__(self, *arguments: str, **environment: str) -> Said:
        """See `Shell`."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(httpx, "MockTransport", lambda *_: AiohttpTransport(30.0, None))
            return Shell.__call__(self, *arguments, **environment)
