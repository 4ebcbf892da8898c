"""Flags that describe servers, verifier and task, and the TOML file that may hold them."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
from cyclopts import Group, Parameter

from computewise.errors import UsageError
from computewise.http.client import CONCURRENCY
from computewise.setups.base import IN_FLIGHT
from computewise.setups.server import EMBEDDED_PRM
from computewise.tasks.load import TaskSpec, read_columns
from computewise.verifiers.base import MODEL_FREE

SERVER = Group(
    "Server",
    sort_key=1,
    help="Keys come from the environment: see docs/servers.md. Without a server the embedded models run.",
)
VERIFIER = Group("Verifier", sort_key=2)
TASK = Group("Task", sort_key=3)
LARGER = Group("Larger model", sort_key=4)
SAMPLING = Group("Sampling", sort_key=5)
SPENDING = Group("Spending", sort_key=6)

_EMBEDDED = ("setup", "model", "verifier", "temperature")
"""Flags that the embedded models have too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFlags:
    """Which problems, and how their answers are graded."""

    task: str | None = None
    "expressions or stories; on a server also math500, gsm8k, aime, reasoning_gym:DATASET, or a name for --data."
    data: str | None = None
    "A .jsonl, .csv or .parquet file (the first two also .gz), or hf:OWNER/NAME on the Hugging Face hub."
    columns: str | None = None
    'The names of its columns: "prompt=question,answer=gold,id=uid".'
    grader: str | None = None
    "math (default), choice, exact, your own module:function, or code (with --allow-code-execution)."
    delimiter: str | None = None
    "The text that ends a step (default a blank line); write a line break as \\n."
    instruction: str | None = None
    "The system prompt, in place of the task's own."
    allow_code_execution: bool = False
    "Let graders and scorers that run what the model writes do so: in a process with limits, which is no sandbox."

    def embedded(self) -> str:
        """The name of an embedded task, which takes no other flag."""
        if (other := _set_flag(self, but=("task",))) is not None:
            raise UsageError(f"the embedded models have tasks of their own: {other} needs --base-url")
        return self.task or "expressions"

    def named(self, otherwise: str) -> TaskFlags:
        """With a task's name: where none is given, the data's, else `otherwise`."""
        return self if self.task else replace(self, task=self.data or otherwise)

    def spec(self) -> TaskSpec:
        """As plain data."""
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
    """A server's models in place of the embedded ones; keys are read from the environment."""

    base_url: Annotated[str | None, Parameter(name=("--base-url", "--upstream"))] = None
    "An OpenAI-compatible server, such as http://localhost:8000/v1."
    model: str | None = None
    "The model's name there, if it has several; of the embedded models small, large, revision or revision_paper."
    setup: Path | None = None
    "A TOML file with what describes server, verifier and task, as `check --save` writes it; flags win over it."
    parameters: float | None = None
    "The number of parameters, such as 7e9, if neither server nor name says it: FLOPs are computed from it."
    chat_template: str | None = None
    'A Jinja file or a model\'s directory that renders prompts, or "plain"; by default the server renders them.'
    no_thinking: bool = False
    "Tell a reasoning model's template to leave out the thinking."
    thinking_budget: int | None = None
    "Most tokens that a reasoning model may think, if the server can bound them."
    concurrency: int | None = None
    "Most requests to a server at the same time (default 256); fewer where it refuses some."
    verifier: Annotated[str | None, Parameter(group=VERIFIER)] = None
    "judge, judge-grade, logprob, none, a reward model's name, a .toml, your own module:object; embedded prm, orm."
    verifier_url: Annotated[str | None, Parameter(group=VERIFIER)] = None
    "Its server (default the model's)."
    verifier_model: Annotated[str | None, Parameter(group=VERIFIER)] = None
    "Its name there (default the known name, for a judge the model's)."
    verifier_path: Annotated[str | None, Parameter(group=VERIFIER)] = None
    "Its directory, to run it in this process (needs the extra [hf])."
    verifier_parameters: Annotated[float | None, Parameter(group=VERIFIER)] = None
    "Its number of parameters, if its name does not say it."
    large: Annotated[str | None, Parameter(group=LARGER)] = None
    "The name of a larger model: to compare with, and for a controller to switch to."
    large_url: Annotated[str | None, Parameter(group=LARGER)] = None
    "Its server (default the model's)."
    large_parameters: Annotated[float | None, Parameter(group=LARGER)] = None
    "Its number of parameters, if neither server nor name says it."
    temperature: Annotated[float | None, Parameter(group=SAMPLING)] = None
    "The sampling temperature (default 1)."
    max_tokens: Annotated[int | None, Parameter(group=SAMPLING)] = None
    "Most tokens of one solution (default 2048)."
    max_steps: Annotated[int | None, Parameter(group=SAMPLING)] = None
    "Most steps of one solution in a search (default 40)."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags(ServedFlags):
    """A server's models, what they may cost, and where answers are cached."""

    prices: Annotated[tuple[float, float, float, float] | None, Parameter(group=SPENDING)] = None
    "Dollars for a million tokens: input, cached input, output, verifier."
    large_prices: Annotated[tuple[float, float, float, float] | None, Parameter(group=SPENDING)] = None
    "The same for the larger model."
    max_total_tokens: Annotated[int | None, Parameter(group=SPENDING)] = None
    "Sampled tokens after which the run stops; its records are kept."
    max_dollars: Annotated[float | None, Parameter(group=SPENDING)] = None
    "Dollars after which the run stops (needs --prices)."
    in_flight: Annotated[int | None, Parameter(group=SPENDING)] = None
    "Problems that are solved at the same time (default 64)."
    cache: Annotated[Path | None, Parameter(group=SPENDING)] = None
    "The file that keeps every answer (default ~/.cache/computewise/generations.sqlite)."
    no_cache: Annotated[bool, Parameter(group=SPENDING)] = False
    "Keep no answer, and sample everything again."

    @staticmethod
    def of(served: ServedFlags) -> ServerFlags:
        """The same flags, with nothing said about spending."""
        given = {one.name: getattr(served, one.name) for one in fields(served)}
        return ServerFlags(**given)

    def check(self) -> None:
        """Raise `UsageError` for flags that exclude or need each other, and for numbers out of range."""
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature = {self.temperature} is not allowed: at least 0")
        if self.base_url is None:
            if (served := _set_flag(self, but=_EMBEDDED)) is not None:
                raise UsageError(f"{served} is for a server's model: give --base-url too")
            return
        self._check_pairs()
        self._check_numbers()

    def _check_pairs(self) -> None:
        if self.max_dollars is not None and self.prices is None:
            raise UsageError("--max-dollars needs --prices: nothing else says what a token costs")
        if self.large is None and (larger := _set_flag(self, begin="large_")) is not None:
            raise UsageError(f"{larger} is for a larger model: name it by --large")
        if self.large is not None and (self.prices is None) != (self.large_prices is None):
            raise UsageError("prices are needed of both models, or of neither: --prices and --large-prices")
        where = _set_flag(self, begin="verifier_")
        if where is not None and self.verifier is None:
            raise UsageError(f"{where} is for a verifier: name it by --verifier")
        if where is not None and self.verifier in (*MODEL_FREE, EMBEDDED_PRM):
            raise UsageError(f"{where} is for a verifier with a model of its own: {self.verifier} has none")
        if self.verifier_path is not None and (self.verifier_url is not None or self.verifier_model is not None):
            raise UsageError("a verifier runs in this process, by --verifier-path, or on a server: name one")
        if self.thinking_budget is not None and self.no_thinking:
            raise UsageError("--no-thinking and --thinking-budget exclude each other")
        if self.cache is not None and self.no_cache:
            raise UsageError("--cache and --no-cache exclude each other")

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


DEFAULTS = {"temperature": 1.0, "max_tokens": 2048, "max_steps": 40, "concurrency": CONCURRENCY, "in_flight": IN_FLIGHT}
"""The flags that are None until neither the command line nor the file gives them."""

FILE_KEYS: Mapping[str, Mapping[str, str]] = {
    "model": {
        "base_url": "base_url",
        "name": "model",
        **{name: name for name in ("parameters", "chat_template", "no_thinking", "thinking_budget", "temperature")},
    },
    "large": {"name": "large", "base_url": "large_url", "parameters": "large_parameters"},
    "verifier": {
        "name": "verifier",
        "base_url": "verifier_url",
        "model": "verifier_model",
        "path": "verifier_path",
        "parameters": "verifier_parameters",
    },
    "task": {"name": "task", **{name: name for name in ("data", "columns", "grader", "delimiter", "instruction")}},
    "limits": {
        name: name
        for name in ("max_tokens", "max_steps", "concurrency", "in_flight", "max_total_tokens", "max_dollars")
    },
    "prices": {"model": "prices", "large": "large_prices"},
}
"""The tables and keys of a setup file, each with the flag that it sets. Code is run only by a flag's permission."""


def with_setup(served: ServerFlags, task: TaskFlags) -> tuple[ServerFlags, TaskFlags]:
    """The flags, with what the file of --setup adds to them; raises `UsageError` for a file that is not understood.

    A flag that names another model, verifier or task replaces the file's table; only the model's server stays.
    """
    if served.setup is None:
        return served, task
    held = _read(served.setup)
    given = {**asdict(task), **asdict(served)}
    for keys in FILE_KEYS.values():
        if "name" in keys and given[keys["name"]] not in (None, held.get(keys["name"])):
            held = {flag: value for flag, value in held.items() if flag in _KEPT or flag not in keys.values()}
    return _filled(served, held), _filled(task, held)


_KEPT = ("base_url", "temperature")
"""What a setup file says of a model that holds for another model too."""
Flags = TypeVar("Flags", ServerFlags, TaskFlags)


def _filled(flags: Flags, held: Mapping[str, Any]) -> Flags:
    names = {one.name: one.default for one in fields(flags)}
    return replace(
        flags, **{name: value for name, value in held.items() if name in names and getattr(flags, name) == names[name]}
    )


def _read(path: Path) -> dict[str, Any]:
    """The values of a setup file by the names of their flags."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the setup {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the setup {path} is not valid TOML: {error}") from None
    types = {**get_type_hints(ServerFlags), **get_type_hints(TaskFlags)}
    found = {}
    for table, keys in tables.items():
        if table not in FILE_KEYS or not isinstance(keys, dict):
            listed = ", ".join(f"[{name}]" for name in FILE_KEYS)
            raise UsageError(f"the setup {path} has the unknown key {table!r}: allowed are the tables {listed}")
        for key, value in keys.items():
            if key not in FILE_KEYS[table]:
                listed = ", ".join(FILE_KEYS[table])
                raise UsageError(f"the setup {path} has the unknown key {key!r} in [{table}]: allowed are {listed}")
            flag = FILE_KEYS[table][key]
            wanted = next((one for one in get_args(types[flag]) if one is not type(None)), types[flag])
            try:
                found[flag] = msgspec.convert(value, wanted, strict=True)
            except msgspec.ValidationError as error:
                text = str(error).partition(" - ")[0].lower()
                raise UsageError(f"the setup {path} has a wrong {key!r} in [{table}]: {text}") from None
    return found


def write_setup(served: ServerFlags, task: TaskFlags) -> str:
    """The text of a setup file with these flags; no key is part of them."""
    given = {**asdict(task), **asdict(served)}
    parts = []
    for table, keys in FILE_KEYS.items():
        lines = [f"{key} = {_toml(given[flag])}\n" for key, flag in keys.items() if given[flag] not in (None, False)]
        parts += [f"[{table}]\n{''.join(lines)}"] if lines else []
    return "\n".join(parts)


def _toml(value: str | float | bool | Sequence[float]) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)


def _set_flag(flags: TaskFlags | ServerFlags, *, begin: str = "", but: Sequence[str] = ()) -> str | None:
    """The first flag with that beginning whose value is not the default."""
    for one in fields(flags):
        if one.name.startswith(begin) and one.name not in but and getattr(flags, one.name) != one.default:
            return f"--{one.name.replace('_', '-')}"
    return None
