"""Flags that say which served models a command runs on, and the source they come to."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from computewise.core import LARGE, MODEL, Role
from computewise.costs import Prices
from computewise.errors import UsageError
from computewise.http.client import CONCURRENCY, api_key_for
from computewise.models.server.connect import ServerModelSpec, parameters_in, probe_model
from computewise.session import Limits
from computewise.setups.base import IN_FLIGHT
from computewise.setups.server import EMBEDDED_PRM, ServerSpec, SpendPolicy, SpendReport
from computewise.tasks.arithmetic import TASKS
from computewise.tasks.load import TaskSpec, read_columns
from computewise.verifiers.base import LOGPROB, MODEL_FREE, VerifierSpec
from computewise.verifiers.templates import find_template

PROBLEMS = Group("Problems", sort_key=1)
SERVED = Group("Served models", sort_key=2, help="In place of the embedded ones; keys come from the environment.")
_EMBEDDED = ("model", "verifier", "temperature")
"""Flags that the embedded models have too."""
OFF = 0.02
"""Share by which a server may count otherwise before anybody hears of it: some leave out the end's token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFlags:
    """Which problems, and who grades."""

    task: str | None = None
    "expressions or stories; of served models also math500, gsm8k, aime, reasoning_gym:DATASET, or a name for --data."
    data: str | None = None
    "A .jsonl, .csv or .parquet file (the first two also .gz), or hf:OWNER/NAME on the Hugging Face hub."
    columns: str | None = None
    'What the columns are called there: "prompt=question,answer=gold,id=uid".'
    grader: str | None = None
    "math, choice, exact, module:function of your own, or code (with --allow-code-execution)."
    delimiter: str | None = None
    "What ends a step (default a blank line); \\n is a line's end."
    instruction: str | None = None
    "The system prompt, in place of the task's own."
    allow_code_execution: bool = False
    "Let the grader code run what the model wrote: in a subprocess with limits, which is no sandbox."

    def embedded(self) -> str:
        """The name of an embedded task, of which nothing else can be said."""
        if (other := _set_flag(self, but=("task",))) is not None:
            raise UsageError(f"the embedded models know their own tasks only: {other} needs --base-url")
        return self.task or "expressions"

    def named(self, otherwise: str) -> TaskFlags:
        """With that name where none is given: a file's own, if there is one."""
        return self if self.task else replace(self, task=self.data or otherwise)

    def spec(self) -> TaskSpec:
        """As plain data; a task has to be named."""
        return TaskSpec(
            name=self.task or "expressions",
            path=self.data,
            columns=read_columns(self.columns) if self.columns is not None else {},
            grader=self.grader,
            delimiter=None if self.delimiter is None else self.delimiter.replace("\\n", "\n"),
            instruction=self.instruction,
            allow_code_execution=self.allow_code_execution,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFlags:
    """Served models in place of the embedded ones; keys come from the environment (see docs/servers.md)."""

    base_url: Annotated[str | None, Parameter(name=("--base-url", "--upstream"))] = None
    "An OpenAI-compatible server, such as http://localhost:8000/v1; without it the embedded models run."
    model: str | None = None
    "The model's name there, where it has several; of the embedded ones small, large, revision or revision_paper."
    parameters: float | None = None
    "How many parameters it has, such as 1.5e9, where neither server nor name says so: FLOPs are counted from it."
    chat_template: str | None = None
    'A Jinja file or a model\'s directory to render prompts with, or "plain"; by default the server renders.'
    no_thinking: bool = False
    "Tell a reasoning model's template not to let it think."
    thinking_budget: int | None = None
    "Tokens a reasoning model may think, where the server can bound that."
    large: str | None = None
    "The name of a larger model, to compare with and to escalate to."
    large_url: str | None = None
    "Its server, where that is another."
    large_parameters: float | None = None
    "How many parameters it has, where neither server nor name says so."
    verifier: str | None = None
    "A known template, a .toml, judge, judge-grade, logprob, none (to solve), prm (embedded tasks); embedded: or orm."
    verifier_url: str | None = None
    "Its server (default: the model's)."
    verifier_model: str | None = None
    "Its name there (default: the template's, for a judge the model's)."
    verifier_path: str | None = None
    "Its directory, to run it in this process (extra hf)."
    verifier_parameters: float | None = None
    "How many parameters it has, where its name does not say so."
    temperature: float = 1.0
    "Of sampling; embedded models too."
    max_tokens: int = 2048
    "Tokens of one solution at most."
    max_steps: int = 40
    "Steps of one solution at most, in a search."
    concurrency: int = CONCURRENCY
    "Requests to a server under way at most; fewer where it turns them away."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags(ServedFlags):
    """Served models, what they cost, and where what was paid for is kept."""

    prices: tuple[float, float, float, float] | None = None
    "Dollars a million tokens: input, cached input, output, verifier."
    large_prices: tuple[float, float, float, float] | None = None
    "The same of the larger model."
    max_total_tokens: int | None = None
    "Sampled tokens after which the run stops; what is recorded is kept."
    max_dollars: float | None = None
    "Dollars after which the run stops."
    in_flight: int = IN_FLIGHT
    "Problems worked on at the same time."
    cache: Path | None = None
    "Where every answer that was paid for is kept (default ~/.cache/computewise/generations.sqlite)."
    no_cache: bool = False
    "Keep none, and pay for everything anew."

    @staticmethod
    def of(served: ServedFlags) -> ServerFlags:
        """The same, nothing kept and nothing bounded."""
        given = {one.name: getattr(served, one.name) for one in fields(served)}
        return ServerFlags(**given, no_cache=served.base_url is not None)

    def check(self) -> None:
        """Raise `UsageError` for what cannot be meant."""
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature = {self.temperature} is not allowed: at least 0")
        if self.base_url is None:
            if (served := _set_flag(self, but=_EMBEDDED)) is not None:
                raise UsageError(f"{served} is of a served model: give --base-url too")
            return
        self._check_pairs()
        self._check_numbers()

    def _check_pairs(self) -> None:
        if self.max_dollars is not None and self.prices is None:
            raise UsageError("--max-dollars needs --prices: nobody else says what a token costs")
        if self.large is None and (larger := _set_flag(self, begin="large_")) is not None:
            raise UsageError(f"{larger} is of a larger model: name it by --large")
        if self.large is not None and (self.prices is None) != (self.large_prices is None):
            raise UsageError("prices are needed of both models, or of neither: --prices and --large-prices")
        where = _set_flag(self, begin="verifier_")
        if where is not None and self.verifier in (*MODEL_FREE, EMBEDDED_PRM):
            raise UsageError(f"{where} is of a verifier with a model of its own: {self.verifier} has none")
        if self.verifier_path is not None and (self.verifier_url is not None or self.verifier_model is not None):
            raise UsageError("a verifier runs in this process, by --verifier-path, or on a server: name one")
        if self.thinking_budget is not None and self.no_thinking:
            raise UsageError("name --no-thinking or --thinking-budget: there is nothing to bound")
        if self.cache is not None and self.no_cache:
            raise UsageError("name --cache or --no-cache")

    def _check_numbers(self) -> None:
        for name in ("max_tokens", "max_steps", "max_total_tokens", "thinking_budget", "concurrency", "in_flight"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} = {value} is not allowed: at least 1")
        if self.max_dollars is not None and not 0 < self.max_dollars < math.inf:
            raise UsageError(f"max_dollars = {self.max_dollars} is not allowed: above 0")
        if self.verifier_parameters is not None and not 0 <= self.verifier_parameters < math.inf:
            raise UsageError(
                f"verifier_parameters = {self.verifier_parameters} is not allowed: at least 0, such as 7e9"
            )


def _set_flag(flags: TaskFlags | ServerFlags, *, begin: str = "", but: Sequence[str] = ()) -> str | None:
    """The first flag whose name begins so that is not what it is by default."""
    for one in fields(flags):
        if one.name.startswith(begin) and one.name not in but and getattr(flags, one.name) != one.default:
            return f"--{one.name.replace('_', '-')}"
    return None


def server_source(flags: ServerFlags, task: TaskFlags) -> ServerSpec:
    """Find out what the servers can do, and what they are called for."""
    flags.check()
    assert flags.base_url is not None
    problems = task.spec()
    if flags.verifier == EMBEDDED_PRM and problems.name not in TASKS:
        raise UsageError(f"the verifier prm reads the embedded tasks only ({', '.join(TASKS)}): name another")
    small, large = asyncio.run(_find(flags, flags.base_url))
    given: dict[Role, tuple[float, ...] | None] = {MODEL: flags.prices, LARGE: flags.large_prices}
    prices = {role: Prices(*each) for role, each in given.items() if each is not None}
    return ServerSpec(
        small=small,
        large=large,
        verifier=_verifier(flags, small),
        problems=problems,
        bounds=Limits(steps=flags.max_steps, tokens=flags.max_tokens),
        sampling_temperature=flags.temperature,
        prices=prices,
        spending=SpendPolicy(
            tokens=flags.max_total_tokens,
            dollars=flags.max_dollars,
            cache=None if flags.no_cache else flags.cache or default_cache(),
            concurrency=flags.concurrency,
            in_flight=flags.in_flight,
            account=_say,
        ),
    )


def _say(account: SpendReport) -> None:
    """On standard error: what was paid for, what was not, and whether the server counts alike."""
    seen = account.observed
    if not (seen.requests or account.saved.samples):
        return
    line = f"{account.model}: {seen.requests} requests, {seen.counted:,} tokens sampled"
    if account.saved.completion_tokens:
        line += f", {account.saved.completion_tokens:,} more taken from the cache"
    if seen.said and abs(seen.said - seen.counted) > OFF * seen.counted:
        line += f"; the server says {seen.said:,}"
    print(line, file=sys.stderr)


def default_cache() -> Path:
    """Shared by every run of this user."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "computewise" / "generations.sqlite"


async def _find(flags: ServerFlags, base_url: str) -> tuple[ServerModelSpec, ServerModelSpec | None]:
    small = await probe_model(
        base_url,
        flags.model,
        api_key=api_key_for(MODEL),
        parameters=flags.parameters,
        chat_template=flags.chat_template,
        thinking=not flags.no_thinking,
        thinking_budget=flags.thinking_budget,
    )
    if flags.large is None:
        return small, None
    elsewhere = (flags.large_url or base_url).rstrip("/") != base_url.rstrip("/")
    large = await probe_model(
        flags.large_url or base_url,
        flags.large,
        api_key=api_key_for(LARGE if elsewhere else MODEL),
        parameters=flags.large_parameters,
        thinking=not flags.no_thinking,
    )
    return small, large


def _verifier(flags: ServerFlags, small: ServerModelSpec) -> VerifierSpec | None:
    """A judge is the model itself unless another is named."""
    name = flags.verifier
    if name is None:
        raise UsageError(
            "name a verifier by --verifier: a known template's name, judge, judge-grade (any chat model), "
            "logprob (the model's own opinion) or, to solve by majority, none"
        )
    if name == EMBEDDED_PRM:
        return None
    if name == LOGPROB and not small.capabilities.logprobs:
        raise UsageError(f"{small.capabilities.server} gives no log-probabilities to judge by: name another verifier")
    if name in MODEL_FREE:
        return VerifierSpec(name)
    template, model = find_template(name), flags.verifier_model
    if template.judge is not None and "/" not in template.name and flags.verifier_path is None:
        if model is None and flags.verifier_url is not None:
            raise UsageError(f"name the model that is the verifier {name} at --verifier-url by --verifier-model")
        model = model or small.model
    said = small.parameters if model == small.model else parameters_in(model or template.name)
    size = said if flags.verifier_parameters is None else flags.verifier_parameters
    if size is None and flags.verifier_path is None:
        raise UsageError(f"how many parameters the verifier {name} has, nobody says: give --verifier-parameters")
    return VerifierSpec(
        name,
        model=model,
        base_url=None if flags.verifier_path else flags.verifier_url or small.base_url,
        path=flags.verifier_path,
        parameters=round(size or 0),
    )
