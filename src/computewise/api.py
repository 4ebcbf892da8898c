"""The functions of `import computewise`: open models, verifiers and tasks, solve problems, run a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from computewise.connection import BACKGROUND, BackgroundVerifier, Connection, ConnectionSettings, connect_verifier
from computewise.controller.controller import Controller
from computewise.controller.solve import solve_adaptively
from computewise.core import Candidate, Model, Problem, Result, Task, Verifier
from computewise.errors import UsageError
from computewise.http.client import CONCURRENCY, api_key_for
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.selection import Select, find_selection
from computewise.session import Ledger, Limits, Strategy
from computewise.setups.base import SetupSpec
from computewise.solver import solve as solve_problem
from computewise.strategies import parse_strategy
from computewise.study.plan import StudyConfig
from computewise.study.run import StudyResult
from computewise.study.run import run_study as run_study_of
from computewise.tasks.arithmetic import TASKS, find_task
from computewise.tasks.load import QUESTION, LoadedTask, TaskSpec
from computewise.tasks.load import load_task as load_spec
from computewise.verifiers.base import LOGPROB, LogprobVerifier, VerifierSpec, is_added
from computewise.verifiers.embedded import EmbeddedORM, EmbeddedPRM
from computewise.verifiers.load import added_verifier
from computewise.verifiers.templates import find_template

MEAN_COST = 8.0
"""Draws a problem on average, for a controller without a price."""

SERVED_LIMITS = Limits(tokens=2048)
"""Bounds on one solution of a served model, where the caller gives none."""


def connect(
    base_url: str,
    model: str | None = None,
    *,
    api_key: str | None = None,
    parameters: float | None = None,
    chat_template: str | None = None,
    thinking: bool = True,
    cache: Path | str | None = None,
    concurrency: int = CONCURRENCY,
) -> Connection:
    """A model behind an OpenAI-compatible server, a context manager for both ``with`` and ``async with``.

    `model` may be left out where the server has only one. The key is read from COMPUTEWISE_API_KEY where none is given.
    `parameters` counts the model's parameters, for FLOPs. `chat_template` is a Jinja file or a model's directory,
    "plain" for a base model. `cache` is a file that holds all samples, so that none is paid for twice. Opening it
    probes the server with a dozen short requests; it raises `ServerError` or `UsageError` where that fails.
    """
    return Connection(
        ConnectionSettings(
            base_url=base_url,
            model=model,
            api_key=api_key or api_key_for("model"),
            parameters=parameters,
            chat_template=chat_template,
            thinking=thinking,
            cache=None if cache is None else Path(cache),
            concurrency=concurrency,
        )
    )


def load_model(name: str = "small") -> Model:
    """An embedded model: small, large, revision or revision_paper, of the tasks expressions and stories."""
    one_thread()
    return EmbeddedModel(name, EngineLoop())


def load_verifier(
    name: str,
    *,
    base_url: str | None = None,
    path: Path | str | None = None,
    model: Connection | str | None = None,
    api_key: str | None = None,
    parameters: int = 0,
) -> Verifier:
    """The verifier of that name; see `aload_verifier`."""
    return BACKGROUND.run(
        aload_verifier(name, base_url=base_url, path=path, model=model, api_key=api_key, parameters=parameters)
    )


async def aload_verifier(
    name: str,
    *,
    base_url: str | None = None,
    path: Path | str | None = None,
    model: Connection | str | None = None,
    api_key: str | None = None,
    parameters: int = 0,
) -> Verifier:
    """The verifier of that name, which has passed its self-check.

    `name` is a registered verifier or ``module:object``, "logprob" (the model's own probabilities), "prm" or "orm" (the
    embedded ones), "judge" or "judge-grade" (any chat model), another known template, or a template's .toml file. A
    template needs the server of its model, `base_url` or that of an open connection, `model`; or `path`, a directory
    with weights. `model` may also be what the server calls the verifier's model. Raises `UsageError` for unknown names
    and for a verifier that cannot tell a right solution from a wrong one.
    """
    if name in ("prm", "orm") and base_url is None and path is None:
        one_thread()
        return EmbeddedPRM(EngineLoop()) if name == "prm" else EmbeddedORM(EngineLoop())
    if name == LOGPROB:
        return LogprobVerifier()
    if is_added(name):
        return added_verifier(name)
    find_template(name)
    connection = model if isinstance(model, Connection) else None
    called = model if isinstance(model, str) else None
    if connection is not None and base_url is None and path is None:
        base_url = connection.spec.base_url
        called = connection.spec.model if find_template(name).judge is not None else None
    elif connection is not None:
        raise UsageError("give a connection, a base_url or a path, and not two of them")
    spec = VerifierSpec(
        name, model=called, base_url=base_url, path=None if path is None else str(path), parameters=parameters
    )
    client = None if connection is None else connection.client
    return await connect_verifier(spec, client, api_key or api_key_for("verifier"))


def load_task(
    name: str,
    *,
    grader: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    instruction: str | None = None,
    allow_code_execution: bool = False,
) -> LoadedTask:
    """The task of that name, or the problems of a .jsonl, .csv or .parquet file; see `TaskSpec` for the arguments.

    The task "question" has no problems of its own: answers of any question are compared by the grader, "math" if None.
    """
    return load_spec(
        TaskSpec(
            name,
            columns=dict(columns or {}),
            grader=grader,
            delimiter=delimiter,
            instruction=instruction,
            allow_code_execution=allow_code_execution,
        )
    )


def solve(
    problem: str | Problem,
    strategy: Strategy | str | Controller = "best_of_n",
    *,
    model: Model | Sequence[Model],
    verifier: Verifier | None = None,
    task: Task | str = QUESTION,
    select: str | Select | None = None,
    budget: int | None = None,
    price: float | None = None,
    mean_cost: float | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    limits: Limits | None = None,
    on_step: Callable[[Candidate], None] | None = None,
) -> Result:
    """Solve one problem and wait for the result; see `asolve`."""
    return BACKGROUND.run(
        asolve(
            problem,
            strategy,
            model=model,
            verifier=verifier,
            task=task,
            select=select,
            budget=budget,
            price=price,
            mean_cost=mean_cost,
            seed=seed,
            temperature=temperature,
            limits=limits,
            on_step=on_step,
        )
    )


async def asolve(
    problem: str | Problem,
    strategy: Strategy | str | Controller = "best_of_n",
    *,
    model: Model | Sequence[Model],
    verifier: Verifier | None = None,
    task: Task | str = QUESTION,
    select: str | Select | None = None,
    budget: int | None = None,
    price: float | None = None,
    mean_cost: float | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    limits: Limits | None = None,
    on_step: Callable[[Candidate], None] | None = None,
) -> Result:
    """Solve one problem by a strategy, which may be text such as "beam_search(n=16, width=4)", or by a controller.

    Without a verifier the answers are voted on. `select` replaces the strategy's own selection. `budget` bounds the
    sampled tokens. `price` or `mean_cost` are a controller's: what one draw must gain in accuracy, or the draws a
    problem on average (8); a controller that draws by several models takes all of them as `model`. Equal seeds give
    equal results where the model is deterministic. `on_step` is called with every node of the search tree. Raises
    `UsageError` for what cannot be used together and `ModelError` where a model or the verifier fails.
    """
    models = [model] if not isinstance(model, Sequence) else list(model)
    known = load_task(task) if isinstance(task, str) else task
    question = _question(problem, known) if isinstance(problem, str) else problem
    served = any(isinstance(one, Connection) for one in models)
    bounds = limits or (SERVED_LIMITS if served else Limits())
    ready = {_label(one): await _for_task(one, known) for one in models}
    if isinstance(strategy, Controller):
        if select is not None:
            raise UsageError("a controller selects its answer itself: leave out select")
        if price is not None and mean_cost is not None:
            raise UsageError("give either price or mean_cost")
        strategy.check_names(list(ready), None if verifier is None else _label(verifier))
        cost = MEAN_COST if mean_cost is None else mean_cost
        return await solve_adaptively(
            question,
            strategy,
            strategy.price_for(mean_cost=cost) if price is None else price,
            ready,
            verifier,
            known,
            seed=seed,
            temperature=temperature,
            limits=bounds,
            budget=budget,
            watch=None if on_step is None else lambda decision: _each(decision.drawn, on_step),
        )
    built = parse_strategy(strategy) if isinstance(strategy, str) else strategy
    if price is not None or mean_cost is not None:
        raise UsageError("price and mean_cost are a controller's: leave them out for a strategy")
    if len(ready) != 1:
        raise UsageError(f"a strategy samples from one model, not from {len(ready)}")
    [one] = ready.values()
    if verifier is None and built.needs_verifier:
        raise UsageError(f"the strategy {built.name} needs a verifier")
    if built.needs_steps and not one.steps:
        raise UsageError(f"the strategy {built.name} needs a model that continues a solution, which {one.name} cannot")
    chosen = find_selection(select or built.default_select) if select is None or isinstance(select, str) else select
    return await solve_problem(
        question,
        built,
        one,
        verifier,
        known,
        select=chosen,
        budget=budget,
        seed=seed,
        temperature=temperature,
        limits=bounds,
        ledger=None if on_step is None else Ledger(explored=_Watched(on_step)),
    )


def run_study(
    setup: SetupSpec | None = None,
    out: Path | str = "runs/study",
    *,
    problems: int = 60,
    budgets: Sequence[int] = (1, 4, 16, 64),
    seeds: int = 1,
    seed: int = 0,
    resume: bool = False,
) -> StudyResult:
    """Measure every strategy on `problems` problems at each budget (generations a problem), and fit a controller.

    Without a `setup` the embedded models run on arithmetic. `out` is the run directory; `resume` continues the run that
    it holds. `computewise report` writes the report of the directory. The embedded models compute in processes of their
    own, so a program calls this under ``if __name__ == "__main__":``. Raises `UsageError` for what cannot be run, and
    `RunError` where models fail for good; what is recorded is kept.
    """
    config = StudyConfig(problems=problems, budgets=tuple(budgets), seeds=seeds, seed=seed)
    return run_study_of(config, Path(out), source=setup, resume=resume, progress=lambda what, done, total: None)


class _Watched(dict[str, Candidate]):
    """The nodes of a search tree by id; calls `on_step` with each new one."""

    def __init__(self, on_step: Callable[[Candidate], None]) -> None:
        super().__init__()
        self._on_step = on_step

    def update(self, nodes: Iterable[tuple[str, Candidate]]) -> None:  # type: ignore[override]
        """As a dictionary's; a session updates by nothing else."""
        held = dict(nodes)
        new = [node for id, node in held.items() if id not in self]
        super().update(held)
        _each(new, self._on_step)


def _each(candidates: Iterable[Candidate], on_step: Callable[[Candidate], None]) -> None:
    for candidate in candidates:
        on_step(candidate)


def _question(text: str, task: Task) -> Problem:
    """The problem; of an embedded task with its true answer."""
    return find_task(task.name).read(text) if task.name in TASKS else Problem(id=text, prompt=text)


async def _for_task(model: Model, task: Task) -> Model:
    """The model with the task's instruction, where a connection renders the prompts."""
    if not isinstance(model, Connection):
        return model
    return await model.for_task(task.delimiter, str(getattr(task, "instruction", "")))


def _label(part: Model | Verifier) -> str:
    """The name in a controller's file."""
    if isinstance(part, Connection):
        return part.spec.label
    return part.label if isinstance(part, BackgroundVerifier) else part.name
