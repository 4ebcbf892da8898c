"""Reading a run directory, and filling the report's templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from computewise.errors import RunError
from computewise.report.text import Entry, Names, count, estimate, method, number, percent, quantity
from computewise.runs import Record, last_records, read_problems, upgrade_config, upgrade_summary
from computewise.viewer.tree import read_asset

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure

MISSING = "{path} is missing: a report needs the directory of a finished study"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run: `summary` has the form of `summarise`, `policy` that of `policy_file`."""

    config: dict[str, Any]
    summary: dict[str, Any]
    policy: dict[str, Any]
    records: list[Record]
    prompts: dict[str, str]
    """By the problems' ids; runs of older versions have none, since their ids are the prompts."""


def read_source(directory: Path) -> RunFiles:
    """Read a run; raises `RunError` with the name of a file that is missing or cannot be read."""
    problems = read_problems(directory) if (directory / "problems.jsonl").exists() else {}
    config, summary = directory / "config.json", directory / "summary.json"
    policy, policy_of_1 = directory / "bin_policy.json", directory / "policy.json"
    return RunFiles(
        config=upgrade_config(read_json(config), config),
        summary=upgrade_summary(read_json(summary), summary),
        policy=read_json(policy_of_1 if policy_of_1.exists() and not policy.exists() else policy),
        records=_read_records(directory),
        prompts={id: problem.prompt for id, problem in problems.items()},
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(MISSING.format(path=path)) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; raises `RunError`, naming it, where there is none."""
    try:
        held = json.loads(_read_bytes(path))
    except ValueError:
        raise RunError(f"{path} is not readable JSON: run the study again with --resume") from None
    if not isinstance(held, dict):
        raise RunError(f"{path} is no JSON object: run the study again with --resume")
    return held


def _read_records(directory: Path) -> list[Record]:
    path = directory / "records.jsonl"
    if not path.exists():
        raise RunError(MISSING.format(path=path))
    return list(last_records(directory))


def _nothing(of: object) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a study's page. Its text is the template `sections/NAME.html.j2`.

    The template reads what the page gives to all sections and what `context` gives to this one.
    """

    name: str
    """The anchor of the section and the name of its template."""
    title: str | Callable[[Names], str]
    needs: Callable[[Entry], bool] = lambda summary: True
    """Whether the summary holds what the section is about."""
    context: Callable[[RunFiles], Mapping[str, Any]] = _nothing
    figures: Callable[[Entry], Mapping[str, Figure]] = _nothing
    """By the names of their files."""

    def titled(self, names: Names) -> str:
        """The title with the names of the models."""
        return self.title if isinstance(self.title, str) else self.title(names)

    def render(self, source: RunFiles, shared: Mapping[str, Any]) -> str:
        """Its HTML without the heading; `shared` is what the page gives to all sections."""
        context = {**shared, **self.context(source)}
        return _environment().get_template(f"sections/{self.name}.html.j2").render(context)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, quantity=quantity, number=number, count=count, method=method)
    environment.globals["estimate"] = estimate
    return environment


def fill(name: str, **context: Any) -> str:
    """The page of one template, with the styles and the viewer's script."""
    from markupsafe import Markup

    return (
        _environment()
        .get_template(name)
        .render(
            **context,
            css=Markup(read_asset("viewer.css") + _resource("report.css")),
            viewer=Markup(read_asset("d3-hierarchy.min.js") + read_asset("viewer.js")),
        )
    )


def markup(texts: Mapping[str, str]) -> dict[str, Markup]:
    """Figures or sections as text that is not escaped again."""
    from markupsafe import Markup

    return {name: Markup(text) for name, text in texts.items()}


def _resource(name: str) -> str:
    return files("computewise.report").joinpath(name).read_text(encoding="utf-8")
