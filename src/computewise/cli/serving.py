"""Flags that say which served models a command runs on, and the source they come to."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from cyclopts import Group

from computewise.costs import Prices
from computewise.errors import UsageError
from computewise.http.keys import key_of
from computewise.models.server.opening import ServedModel, find_served, parameters_in
from computewise.session import Limits
from computewise.study.server_source import EMBEDDED_PRM, Account, ServerSource, Spending
from computewise.tasks.spec import TaskSpec, read_columns
from computewise.verifiers.spec import LOGPROB, WITHOUT_MODEL, VerifierSpec

PROBLEMS = Group("Problems", sort_key=1)
SERVED = Group("Served models", sort_key=2, help="In place of the embedded ones; keys come from the environment.")
OFF = 0.02
"""Share by which a server may count otherwise before anybody hears of it: some leave out the end's token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFlags:
    """Which problems, and who grades."""

    task: str | None = None
    "expressions (the default), stories, math500, gsm8k, aime, reasoning_gym:DATASET, or your own name with --data."
    data: str | None = None
    "A .jsonl, .csv or .parquet file (the first two also .gz), or hf:OWNER/NAME on the Hugging Face hub."
    columns: str | None = None
    'What the columns are called there: "prompt=question,answer=gold,id=uid".'
    grader: str | None = None
    "math, choice, exact, module:function of your own, or code (with --allow-code-execution)."
    delimiter: str | None = None
    "What ends a step, a blank line by default."
    instruction: str | None = None
    "The system prompt, in place of the task's own."
    allow_code_execution: bool = False
    "Let the grader code run what the model wrote: in a subprocess with limits, which is no sandbox."

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
class ServerFlags:
    """Served models in place of the embedded ones; keys come from the environment (see docs/servers.md)."""

    base_url: str | None = None
    "An OpenAI-compatible server, such as http://localhost:8000/v1; without it the embedded models run."
    model: str | None = None
    "The model's name there; may be left out where there is only one."
    parameters: float | None = None
    "How many it has, such as 1.5e9, where neither server nor name says so: FLOPs are counted from it."
    chat_template: str | None = None
    'A Jinja file or a model\'s directory to render prompts with, or "plain"; by default the server renders.'
    no_thinking: bool = False
    "Tell a reasoning model's template not to let it think."
    thinking_budget: int | None = None
    "Tokens a reasoning model may think, where the server can bound that."
    large: str | None = None
    "A larger model, to compare with and to escalate to."
    large_url: str | None = None
    "Its server, where that is another."
    large_parameters: float | None = None
    "How many it has."
    verifier: str | None = None
    "A known template, a .toml of your own, judge, judge-grade, logprob, or prm for the embedded tasks."
    verifier_url: str | None = None
    "Its server (default: the model's)."
    verifier_model: str | None = None
    "Its name there (default: the template's, for a judge the model's)."
    verifier_path: str | None = None
    "Its directory, to run it in this process (extra hf)."
    verifier_parameters: float | None = None
    "How many it has, where its name does not say so."
    temperature: float = 1.0
    "Of sampling."
    max_tokens: int = 2048
    "Tokens of one solution at most."
    max_steps: int = 40
    "Steps of one solution at most, in a search."
    prices: tuple[float, float, float, float] | None = None
    "Dollars a million tokens: input, cached input, output, verifier."
    large_prices: tuple[float, float, float, float] | None = None
    "The same of the larger model."
    max_total_tokens: int | None = None
    "Sampled tokens after which the run stops; what is recorded is kept."
    max_dollars: float | None = None
    "Dollars after which the run stops."
    concurrency: int = 256
    "Requests under way at most; fewer where the server turns them away."
    in_flight: int = 64
    "Problems worked on at the same time."
    cache: Path | None = None
    "Where every answer that was paid for is kept (default ~/.cache/computewise/generations.sqlite)."
    no_cache: bool = False
    "Keep none, and pay for everything anew."

    def check(self) -> None:
        """Raise `UsageError` for what cannot be meant."""
        if self.base_url is None:
            named = [
                name
                for name in ("large", "chat_template", "verifier_url", "verifier_path", "prices", "large_prices")
                if getattr(self, name) is not None
            ]
            if named:
                raise UsageError(f"--{named[0].replace('_', '-')} is of a served model: give --base-url too")
        if self.max_dollars is not None and self.prices is None:
            raise UsageError("--max-dollars needs --prices: nobody else says what a token costs")
        if self.large is not None and (self.prices is None) != (self.large_prices is None):
            raise UsageError("prices are needed of both models, or of neither: --prices and --large-prices")
        for name in ("max_tokens", "max_steps", "concurrency", "in_flight"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 1")
        if not self.temperature > 0:
            raise UsageError(f"temperature = {self.temperature} is not allowed: above 0")


def server_source(flags: ServerFlags, task: TaskFlags) -> ServerSource:
    """Find out what the servers can do, and what they are called for."""
    flags.check()
    assert flags.base_url is not None
    small, large = asyncio.run(_find(flags, flags.base_url))
    prices = {
        role: Prices(*given)
        for role, given in (("small", flags.prices), ("large", flags.large_prices))
        if given is not None
    }
    return ServerSource(
        small=small,
        large=large,
        verifier=_verifier(flags, small),
        problems=task.spec(),
        bounds=Limits(steps=flags.max_steps, tokens=flags.max_tokens),
        sampling_temperature=flags.temperature,
        prices=prices,
        spending=Spending(
            tokens=flags.max_total_tokens,
            dollars=flags.max_dollars,
            cache=None if flags.no_cache else flags.cache or default_cache(),
            concurrency=flags.concurrency,
            in_flight=flags.in_flight,
            account=_say,
        ),
    )


def _say(account: Account) -> None:
    """On standard error: what was paid for, what was not, and whether the server counts alike."""
    seen = account.observed
    if not seen.requests:
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


async def _find(flags: ServerFlags, base_url: str) -> tuple[ServedModel, ServedModel | None]:
    small = await find_served(
        base_url,
        flags.model,
        api_key=key_of("small"),
        parameters=flags.parameters,
        chat_template=flags.chat_template,
        thinking=not flags.no_thinking,
        thinking_budget=flags.thinking_budget,
    )
    if flags.large is None:
        return small, None
    elsewhere = flags.large_url is not None
    large = await find_served(
        flags.large_url or base_url,
        flags.large,
        api_key=key_of("large" if elsewhere else "small"),
        parameters=flags.large_parameters,
        thinking=not flags.no_thinking,
    )
    return small, large


def _verifier(flags: ServerFlags, small: ServedModel) -> VerifierSpec | None:
    """A judge is the model itself unless another is named."""
    name = flags.verifier
    if name is None:
        raise UsageError(
            "name a verifier by --verifier: a known template's name, judge, judge-grade (any chat model), or "
            "logprob (the model's own opinion)"
        )
    if name == EMBEDDED_PRM:
        return None
    if name == LOGPROB and not small.capabilities.logprobs:
        raise UsageError(f"{small.capabilities.server} gives no log-probabilities to judge by: name another verifier")
    if name in WITHOUT_MODEL:
        return VerifierSpec(name)
    judge = name.startswith("judge") and flags.verifier_url is None
    model = flags.verifier_model or (small.model if judge else None)
    said = small.parameters if model == small.model else parameters_in(model or name)
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
