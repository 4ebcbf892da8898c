"""`computewise serve`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter

from computewise.cli._flags import PROBLEMS, SERVED, ServedFlags, ServerFlags, TaskFlags, server_source
from computewise.errors import UsageError
from computewise.http.concurrency import Retry
from computewise.serve.backends import Backend
from computewise.serve.settings import EFFORTS, ServerSettings

KEYS = "COMPUTEWISE_SERVE_KEYS"
"""The environment's variable with the keys of clients, separated by commas."""
NO_POLICY = "none"
PATIENCE = Retry(tries=3, seconds=10.0, first=0.1, longest=2.0)
"""Somebody waits: what asks for more time than this is passed on to the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What clients may ask for."""

    in_flight: int = 64
    "Requests worked on at the same time."
    queue: int = 2048
    "Requests that may wait for that; further ones are told to come again (429)."
    timeout: float = 600.0
    "Seconds a request may take; then the best answer so far is given."
    max_generations: int = 256
    "Solutions that a client may have sampled by naming a strategy."
    efforts: tuple[float, float, float] = tuple(EFFORTS.values())  # type: ignore[assignment]
    "Three numbers: draws a problem on average that reasoning_effort low, medium (the default) and high stand for."


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    policy: str | None = None,
    problem_set: Annotated[TaskFlags, Parameter(name="*", group=PROBLEMS)] = TaskFlags(),
    serving: Annotated[ServedFlags, Parameter(name="*", group=SERVED)] = ServedFlags(),
    bounds: Annotated[Bounds, Parameter(name="*")] = Bounds(),
) -> None:
    """Serve compute-optimal answers behind an OpenAI-compatible URL, with a page to watch them being found.

    Keys of clients come from COMPUTEWISE_SERVE_KEYS, separated by commas; without them only this machine is served.

    Parameters
    ----------
    host:
        The address to listen at.
    port:
        The port; 0 for any that is free.
    policy:
        A policy file (controller.json of a study) that decides how compute is spent, or one that is shipped; none for
        best-of-N by effort, as where --base-url is given without one.

    """
    from computewise.serve.app import application
    from computewise.serve.server import is_local, listen, serve_until_told

    keys = tuple(key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip())
    if os.environ.get(KEYS) and not keys:
        raise UsageError(f"{KEYS} holds no key: unset it, or name keys separated by commas")
    settings = ServerSettings(
        efforts=dict(zip(EFFORTS, bounds.efforts, strict=True)),
        keys=keys,
        hosts=frozenset() if keys else frozenset({"localhost", "127.0.0.1", "::1", host}),
        in_flight=bounds.in_flight,
        queue=bounds.queue,
        timeout=bounds.timeout,
        most_generations=bounds.max_generations,
    )
    with listen(host, port) as listening:
        if not keys and not is_local(host):
            raise UsageError(f"{host} can be reached from elsewhere: set {KEYS} to the keys that clients must show")
        opening = _backend(serving, problem_set, policy)

        async def run() -> None:
            async with opening as backend:
                number = listening.getsockname()[1]
                where = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
                how = "by its policy" if backend.fitted else "by best-of-N, without a policy"
                text = (
                    f"computewise: serving {backend.models[0]} {how} at http://{where}/v1, watched at http://{where}/"
                )
                await serve_until_told(
                    application(backend, settings), listening, lambda: print(text, file=sys.stderr, flush=True)
                )

        asyncio.run(run())


def _backend(serving: ServedFlags, problem_set: TaskFlags, policy: str | None) -> AbstractAsyncContextManager[Backend]:
    if serving.base_url is None:
        from computewise.serve.backends import EmbeddedBackend

        ServerFlags.of(serving).check()
        if serving.model is not None or serving.verifier is not None:
            raise UsageError(
                "the embedded models are served together, with their verifier: --model and --verifier need --upstream"
            )
        task = problem_set.embedded()
        chosen = policy or (task if task == "expressions" else None)
        return nullcontext(EmbeddedBackend(None if chosen == NO_POLICY else chosen, task, serving.temperature))
    from computewise.serve.backends import served_backend
    from computewise.tasks.load import QUESTION

    flags = problem_set.named(QUESTION)
    found = server_source(ServerFlags.of(serving), flags)
    source = replace(found, spending=replace(found.spending, retry=PATIENCE, account=None))
    grader = (flags.grader or "math") if flags.task == QUESTION else ""
    return served_backend(source, None if policy == NO_POLICY else policy, grader)
