"""Who solves a problem: the embedded models, or served ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from computewise.cli._flags import ServerFlags, TaskFlags, server_source
from computewise.core import LARGE, MODEL, VERIFIER, Model, Problem, Task, Verifier
from computewise.errors import UsageError
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import Limits
from computewise.setups.server import ServerSpec
from computewise.strategies import STRATEGIES
from computewise.tasks.arithmetic import TASKS, find_task
from computewise.tasks.load import QUESTION
from computewise.verifiers.embedded import EmbeddedORM, EmbeddedPRM
from computewise.verifiers.logprob import LogprobVerifier

VERIFIERS = ("prm", "orm", "logprob", "none")
MODELS = ("small", "large", "revision", "revision_paper")


@dataclass(frozen=True, slots=True)
class Players:
    """Models by their names, the first the one that solves alone; the verifier, where there is one."""

    models: Mapping[str, Model]
    verifier: Verifier | None
    verifier_name: str | None
    limits: Limits

    @property
    def verifier_parameters(self) -> int:
        """The verifier's parameters; 0 without one."""
        return self.verifier.parameters if self.verifier else 0

    @property
    def solver(self) -> Model:
        """The model that solves alone."""
        return next(iter(self.models.values()))


def question_of(text: str, task: Task) -> Problem:
    """What a person typed as a problem; of an embedded task with its true answer, if it can be known."""
    return find_task(task.name).read(text) if task.name in TASKS else Problem(id=text, prompt=text)


@asynccontextmanager
async def embedded_players(flags: ServerFlags, weights: Path | None, strategy: str | None) -> AsyncIterator[Players]:
    """On an engine of this process; without a strategy those that a policy may use."""
    flags.check()
    name = flags.model or (
        "revision" if strategy and strategy in STRATEGIES and STRATEGIES[strategy].needs_history else "small"
    )
    verifier = flags.verifier or "prm"
    if name not in MODELS:
        raise UsageError(f"unknown model {name!r}: allowed are {', '.join(MODELS)}, or others with --base-url")
    if verifier not in VERIFIERS:
        raise UsageError(f"unknown verifier {verifier!r}: allowed are {', '.join(VERIFIERS)}, others with --base-url")
    one_thread()
    loop = EngineLoop()
    names = [name] if strategy is not None else ["small", "large"]
    models = {one: EmbeddedModel(one, loop, path=weights) for one in names}
    yield Players(models, _judge(verifier, loop), verifier, Limits())


@asynccontextmanager
async def served_players(source: ServerSpec) -> AsyncIterator[Players]:
    """Behind their servers."""
    labels = source.roles().labels
    async with source.open() as opened:
        models = {labels[role]: opened.model(role) for role in (MODEL, LARGE) if role in labels}
        yield Players(models, opened.judge, labels[VERIFIER], source.limits())


def served_source(flags: ServerFlags, task: TaskFlags) -> ServerSpec:
    """For a question of one's own where no task is named: steps by blank lines, answers voted on as mathematics."""
    return server_source(flags, task.named(QUESTION))


def _judge(name: str, loop: EngineLoop) -> Verifier | None:
    match name:
        case "prm":
            return EmbeddedPRM(loop)
        case "orm":
            return EmbeddedORM(loop)
        case "logprob":
            return LogprobVerifier()
        case _:
            return None
