"""The functions of `import computewise`: open models, verifiers and tasks, solve problems, run a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from multiprocessing import current_process
from pathlib import Path

from computewise.connection import BACKGROUND, BackgroundVerifier, Connection, ConnectionSettings, connect_verifier
from computewise.controller.controller import Controller
from computewise.controller.solve import solve_adaptively
from computewise.core import Candidate, Model, Problem, Result, Task, Verifier
from computewise.errors import RunError, UsageError
from computewise.http.client import CONCURRENCY, api_key_for
from computewise.inputs import (
    Watched,
    callback,
    each,
    limits_of,
    models_of,
    number,
    open_embedded,
    problem_of,
    selection_of,
    strategy_of,
    task_of,
    text,
    whole,
)
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.selection import Select
from computewise.session import Ledger, Limits, Strategy
from computewise.setups.base import SetupSpec
from computewise.solver import solve as solve_problem
from computewise.study.executors import WorkerError
from computewise.study.plan import StudyConfig
from computewise.study.run import StudyResult
from computewise.study.run import run_study as run_study_of
from computewise.tasks.load import LoadedTask, TaskSpec
from computewise.tasks.load import load_task as load_spec
from computewise.verifiers.base import (
    ADDED_VERIFIERS,
    LOGPROB,
    LogprobVerifier,
    VerifierFunction,
    VerifierSpec,
    as_verifier,
    is_added,
)
from computewise.verifiers.embedded import EmbeddedORM, EmbeddedPRM
from computewise.verifiers.load import added_verifier
from computewise.verifiers.templates import find_template

MEAN_COST = 8.0
"""Draws a problem on average, for a controller without a price."""

EMBEDDED = ("prm", "orm")
"""The embedded verifiers."""

MAIN_GUARD = 'call run_study under if __name__ == "__main__":'
"""What a program lacks whose worker processes run it as a whole."""

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
            base_url=text("base_url", base_url, "'http://localhost:8000/v1'"),
            model=None if model is None else text("model", model, "'Qwen2.5-7B-Instruct'"),
            api_key=api_key or api_key_for("model"),
            parameters=None if parameters is None else number("parameters", parameters, above=True),
            chat_template=chat_template,
            thinking=thinking,
            cache=None if cache is None else Path(cache),
            concurrency=whole("concurrency", concurrency, 1),
        )
    )


def load_model(name: str = "small") -> Model:
    """An embedded model: small, large, revision or revision_paper, of the tasks expressions and stories."""
    return open_embedded(name)


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
    text("name", name, "'prm'")
    if name in EMBEDDED and base_url is None and path is None:
        one_thread()
        return EmbeddedPRM(EngineLoop()) if name == "prm" else EmbeddedORM(EngineLoop())
    if name == LOGPROB:
        return LogprobVerifier()
    if is_added(name):
        return added_verifier(name)
    template = find_template(name, others=(*EMBEDDED, LOGPROB, *ADDED_VERIFIERS, "module:object"))
    connection = model if isinstance(model, Connection) else None
    called = model if isinstance(model, str) else None
    if connection is not None and base_url is None and path is None:
        base_url = connection.spec.base_url
        called = connection.spec.model if template.judge is not None else None
    elif connection is not None:
        raise UsageError("give a connection, a base_url or a path, and not two of them")
    elif base_url is None and path is None:
        beside = "" if template.judge is not None else ", or path=DIRECTORY"
        raise UsageError(f"the verifier {name} needs a server: model=CONNECTION, an open one, or base_url=URL{beside}")
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
            text("name", name, "'expressions'"),
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
    model: Model | str | Sequence[Model | str],
    verifier: Verifier | VerifierFunction | str | None = None,
    task: Task | str | None = None,
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
    model: Model | str | Sequence[Model | str],
    verifier: Verifier | VerifierFunction | str | None = None,
    task: Task | str | None = None,
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

    `model` and `verifier` may be names, as `load_model` and `load_verifier` take them; a verifier may also be a
    function of the problem and the steps. Without a verifier the answers are voted on, and a search is refused, since
    nothing ranks its steps. `task` says how an answer is read: by default "expressions" for an embedded model and
    "question" for any other. `select` replaces the strategy's own selection. `budget` bounds the sampled tokens.
    `price` or `mean_cost` are a controller's: what one draw must gain in accuracy, or the draws a problem on average
    (8); a controller that draws by several models takes all of them as `model`. Equal seeds give equal results where
    the model is deterministic. `limits` bound one solution. `on_step` is called with every node of the search tree.
    Raises `UsageError` for what cannot be used, alone or together, `ProblemError` for a problem that the task cannot
    read, and `ModelError` where a model or the verifier fails.
    """
    chosen = strategy_of(strategy)
    models = models_of(model)
    known = task_of(task, models)
    question = problem_of(problem, known, named=task is not None)
    served = [one for one in models if isinstance(one, Connection)]
    bounds = limits_of(limits, SERVED_LIMITS if served else Limits())
    callback("on_step", on_step)
    seed, temperature = whole("seed", seed), number("temperature", temperature)
    budget = None if budget is None else whole("budget", budget, 1)
    judge = await _verifier_of(verifier, served[0] if served else None)
    ready = {_label(one): await _for_task(one, known) for one in models}
    if isinstance(chosen, Controller):
        if select is not None:
            raise UsageError("a controller selects its answer itself: leave out select")
        if price is not None and mean_cost is not None:
            raise UsageError("give either price or mean_cost")
        chosen.check_names(list(ready), None if judge is None else _label(judge))
        cost = MEAN_COST if mean_cost is None else number("mean_cost", mean_cost, above=True)
        return await solve_adaptively(
            question,
            chosen,
            chosen.price_for(mean_cost=cost) if price is None else number("price", price),
            ready,
            judge,
            known,
            seed=seed,
            temperature=temperature,
            limits=bounds,
            budget=budget,
            watch=None if on_step is None else lambda decision: each(decision.drawn, on_step),
        )
    if price is not None or mean_cost is not None:
        raise UsageError("price and mean_cost are a controller's: leave them out for a strategy")
    if len(ready) != 1:
        raise UsageError(f"a strategy samples from one model, not from {len(ready)}")
    [one] = ready.values()
    if judge is None and chosen.needs_verifier:
        raise UsageError(f"the strategy {chosen.name} needs a verifier: give one, such as verifier='prm'")
    if chosen.needs_steps and not one.steps:
        raise UsageError(f"the strategy {chosen.name} needs a model that continues a solution, which {one.name} cannot")
    return await solve_problem(
        question,
        chosen,
        one,
        judge,
        known,
        select=selection_of(select, chosen),
        budget=budget,
        seed=seed,
        temperature=temperature,
        limits=bounds,
        ledger=None if on_step is None else Ledger(explored=Watched(on_step)),
    )


def run_study(
    setup: SetupSpec | None = None,
    out: Path | str = "runs/study",
    *,
    problems: int = 60,
    budgets: Sequence[int] = (1, 4, 16, 64),
    seeds: int = 1,
    seed: int = 0,
    strategies: Sequence[str] = (),
    resume: bool = False,
) -> StudyResult:
    """Measure every strategy on `problems` problems at each budget (generations a problem), and fit a controller.

    `strategies` are further ones by name, such as "mine(width=2)", each run with the budget as its n. Without a `setup`
    the embedded models run on arithmetic. `out` is the run directory; `resume` continues the run that it holds.
    `computewise report` writes the report of the directory. The embedded models compute in processes of their own, so
    a program calls this under ``if __name__ == "__main__":``. Raises `UsageError` for what cannot be run, and
    `RunError` where models fail for good; what is recorded is kept.
    """
    if setup is not None and not isinstance(setup, SetupSpec):
        raise UsageError(f"{setup!r:.80} is not a setup: allowed are EmbeddedSpec() and ServerSpec(...)")
    if isinstance(budgets, str) or not isinstance(budgets, Sequence):
        raise UsageError(f"budgets = {budgets!r:.80} is not allowed: several whole numbers, such as (1, 4, 16)")
    if isinstance(strategies, str) or not all(isinstance(one, str) for one in strategies):
        raise UsageError(f"strategies = {strategies!r:.80} is not allowed: several names, such as ('mine(width=2)',)")
    config = StudyConfig(
        problems=whole("problems", problems),
        budgets=tuple(whole("budgets", budget) for budget in budgets),
        seeds=whole("seeds", seeds),
        seed=whole("seed", seed),
        strategies=tuple(strategies),
    )
    if getattr(current_process(), "_inheriting", False):  # as Python asks itself, before it starts another process
        raise UsageError(f"a worker process imports the program, which starts the study again: {MAIN_GUARD}")
    try:
        return run_study_of(config, Path(out), source=setup, resume=resume, progress=lambda what, done, total: None)
    except WorkerError as error:
        raise RunError(f"{error}; if it died at once: {MAIN_GUARD}") from None


async def _verifier_of(given: object, connection: Connection | None) -> Verifier | None:
    """The verifier itself, or that of a name or a function; a template's model is at the connection."""
    if given is None or given == "none":
        return None
    return await aload_verifier(given, model=connection) if isinstance(given, str) else as_verifier("it", given)


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
