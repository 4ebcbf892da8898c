"""`computewise serve`."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter

from computewise.cli import say
from computewise.cli._flags import DEFAULTS, SERVER, TASK, ServedFlags, ServerFlags, TaskFlags, with_setup
from computewise.cli._setup import notes, server_setup
from computewise.errors import UsageError
from computewise.http.concurrency import Retry
from computewise.serve.admission import EFFORTS, ServerSettings
from computewise.serve.backends import Backend

KEYS = "COMPUTEWISE_SERVE_KEYS"
"""The environment variable with the keys of clients, separated by commas."""
NO_POLICY = "none"
PATIENCE = Retry(tries=3, seconds=10.0, first=0.1, longest=2.0)
"""A client waits: an upstream that fails for longer than this is reported to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds on what clients may ask for."""

    in_flight: int = 64
    "Requests that are solved at the same time."
    queue: int = 2048
    "Requests that may wait for a place; further ones are answered with 429."
    timeout: float = 600.0
    "Seconds that a request may take; then the best answer so far is given."
    max_generations: int = 256
    "Most solutions that a strategy named by a client may sample."
    efforts: tuple[float, float, float] = tuple(EFFORTS.values())  # type: ignore[assignment]
    "Samples for each problem on average at reasoning_effort low, medium (the default) and high."


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    policy: str | None = None,
    problem_set: Annotated[TaskFlags, Parameter(name="*", group=TASK)] = TaskFlags(),
    serving: Annotated[ServedFlags, Parameter(name="*", group=SERVER)] = ServedFlags(),
    bounds: Annotated[Bounds, Parameter(name="*")] = Bounds(),
) -> None:
    """Serve an OpenAI-compatible URL whose answers are searched for, with a page that shows the searches.

    `computewise serve --upstream URL` needs nothing else: your model's answers are then chosen by vote. Clients' keys
    are read from COMPUTEWISE_SERVE_KEYS, separated by commas; without keys only this machine is served.

    Parameters
    ----------
    host:
        The address to listen at.
    port:
        The port; 0 for any free one.
    policy:
        A fitted controller that decides how much compute each request gets: a file (controller.json of a study or a
        replay), or a shipped one. With --upstream the default is generic, which was fitted on samples of other models.
        none for best-of-N by reasoning_effort: the samples of a request are then drawn at once.

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
        opening, hints = _backend(serving, problem_set, policy)

        async def run() -> None:
            async with opening as backend:
                number = listening.getsockname()[1]
                where = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
                how = _how(backend)
                text = (
                    f"computewise: serving {backend.models[0]} {how} at http://{where}/v1, watched at http://{where}/"
                )
                lines = "\n".join([text, *(f"computewise: {hint}" for hint in hints)])
                await serve_until_told(application(backend, settings), listening, lambda: say(lines, stderr=True))

        asyncio.run(run())


def _backend(
    served: ServedFlags, task_flags: TaskFlags, policy: str | None
) -> tuple[AbstractAsyncContextManager[Backend], list[str]]:
    """The backend, not opened yet, and what its user should know."""
    flags, task_flags = with_setup(ServerFlags.of(served), task_flags)
    if flags.base_url is None:
        from computewise.serve.backends import EmbeddedBackend

        flags.check()
        if flags.model is not None or flags.verifier is not None:
            raise UsageError(
                "the embedded models are served together, with their verifier: --model and --verifier need --upstream"
            )
        task = task_flags.embedded()
        chosen = policy or (task if task == "expressions" else None)
        temperature = DEFAULTS["temperature"] if flags.temperature is None else flags.temperature
        return nullcontext(EmbeddedBackend(None if chosen == NO_POLICY else chosen, task, temperature)), []
    from computewise.serve.backends import GENERIC_POLICY, served_backend
    from computewise.tasks.load import QUESTION

    task_flags = task_flags.named(QUESTION)
    found = server_setup(replace(flags, no_cache=True), task_flags)
    spec = replace(found, spending=replace(found.spending, retry=PATIENCE, account=None))
    grader = (task_flags.grader or "math") if task_flags.task == QUESTION else ""
    chosen = GENERIC_POLICY if policy is None else policy
    return served_backend(spec, None if chosen == NO_POLICY else chosen, grader), notes(flags, found)


def _how(backend: Backend) -> str:
    if backend.fitted is None:
        return "by best-of-N, without a policy"
    if backend.fitted.rule.rung == "generic":
        return "by a policy fitted on other models (fit your own with study or replay)"
    return "by its policy"
