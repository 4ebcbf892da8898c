"""The processes that the server's benchmarks start: the fake upstream, computewise and its_hub, and their memory."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import good, once, request, until
from stock import MODEL

READY = 60.0
"""Seconds that a server may take to start."""
QUESTION = "What do 3, 4, 5 and 5 make? Think step by step, then give the answer as \\boxed{}."
MESSAGES = [{"role": "user", "content": QUESTION}]
BOXED = r"\\boxed\{([^}]*)\}"


@dataclass(frozen=True, slots=True)
class Running:
    """A server on this machine."""

    port: int
    process: subprocess.Popen[str]
    started: float
    """Seconds from its start to its first answer."""

    def url(self, host: str) -> str:
        """The URL by which a proxy reaches it."""
        return f"http://{host}:{self.port}/v1"

    def memory(self) -> dict[str, float]:
        """Resident and proportional megabytes (Linux)."""
        return memory(self.process.pid)

    def processor(self) -> float:
        """Seconds of processor used so far (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Proxy:
    """How a proxy is started and called."""

    name: str
    command: Sequence[str]
    """`{port}` and `{upstream}` are filled in."""
    configure: Any = None
    """What is posted to /configure before anything else, `{upstream}` filled in."""

    @property
    def passes(self) -> bool:
        """Whether it passes requests through."""
        return self.configure is None

    @contextmanager
    def running(self, upstream: str, *, errors: Path | None = None) -> Iterator[Running]:
        """Run it until the block ends; `errors` receives its standard error."""
        port = free_port()
        command = [part.format(port=port, upstream=upstream) for part in self.command]
        # The first start then writes the bytecode that an installer would have written.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with Path(errors or "/dev/null").open("w") as out:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=out, text=True, env=environment)
            try:
                if not asyncio.run(until(lambda: _listed(port, process), READY)):
                    sys.exit(f"{self.name} did not answer within {READY:.0f} s: {' '.join(command)}")
                started = time.perf_counter() - began
                if self.configure is not None:
                    asked = request("/configure", {**self.configure, "endpoint": upstream})
                    good(asyncio.run(once(port, asked)))
                yield Running(port, process, started)
            finally:
                ended(process)

    def asked(self, n: int, **more: Any) -> bytes:
        """A chat of the budget `n`; 0 passes through, where the proxy can."""
        body: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, **more}
        if self.configure is not None:
            return request("/v1/chat/completions", {**body, "budget": n})
        how = {"strategy": "none"} if n == 0 else {"strategy": "best_of_n", "n": n}
        return request("/v1/chat/completions", {**body, "computewise": how})


def computewise(*more: str, python: str = sys.executable, name: str = "computewise") -> Proxy:
    """The computewise that `python` has, by default this interpreter's."""
    command = [python, "-m", "computewise", "serve", "--port", "{port}", "--upstream", "{upstream}"]
    given = ["--model", MODEL, "--parameters", "1e9", "--verifier", "none"]
    return Proxy(name, [*command, *given, *more])


def its_hub(python: str) -> Proxy:
    """its_hub's proxy as its documentation starts it, with less logging; votes are on boxed answers."""
    command = [python, "-m", "its_hub.integration.iaas.app_server", "--port", "{port}", "--log-level", "WARNING"]
    return Proxy(
        "its_hub",
        command,
        {"provider": "openai", "api_key": "none", "model": MODEL, "alg": "self-consistency", "regex_patterns": [BOXED]},
    )


@contextmanager
def upstream(*arguments: str) -> Iterator[Running]:
    """Run the fake server until the block ends."""
    began = time.perf_counter()
    command = [sys.executable, str(Path(__file__).with_name("upstream.py")), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Running(int(process.stdout.readline()), process, time.perf_counter() - began)
    finally:
        ended(process)


@contextmanager
def idle(imports: str) -> Iterator[dict[str, float]]:
    """The memory of an interpreter that has imported this and does nothing."""
    command = [sys.executable, "-c", f"import {imports}; print(1, flush=True); input()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            sys.exit(f"cannot import {imports}")
        yield memory(process.pid)
    finally:
        ended(process)


def ended(process: subprocess.Popen[str]) -> None:
    """Stop it by the usual signal; it is killed if that takes over ten seconds."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A free port below the range that systems assign, so that no other program is given it meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as held, suppress(OSError):
            held.bind(("127.0.0.1", port))
            return port


def memory(pid: int) -> dict[str, float]:
    """Resident and proportional megabytes of a process (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    held = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
    return {"rss": held["Rss"] / 1024, "pss": held["Pss"] / 1024}


async def _listed(port: int, process: subprocess.Popen[str]) -> bool:
    if process.poll() is not None:
        sys.exit(f"the server ended with {process.returncode} before it answered")
    return (await once(port, request("/v1/models"))).status == 200
