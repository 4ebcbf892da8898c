"""Reading a run directory, and filling the report's templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from computewise.errors import RunError
from computewise.report.text import count, estimate, method, number, percent, quantity
from computewise.runs import Record, last_records, read_problems, upgrade_config, upgrade_summary
from computewise.viewer import assets

MISSING = "{path} is missing: a report needs the directory of a finished study"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """A run as it was written: `summary` as `study.summary.summarise` has it, `policy` as `policy_file` has it."""

    config: dict[str, Any]
    summary: dict[str, Any]
    policy: dict[str, Any]
    records: list[Record]
    prompts: dict[str, str]
    """By the problems' ids; a run of an older version has none: there they are their own prompts."""


def read_source(directory: Path) -> RunFiles:
    """Everything needed; raises `RunError`, naming the file, where one is missing or cannot be read."""
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


def fill(name: str, figures: dict[str, str], **context: Any) -> str:
    """The page of one template; `figures` are SVG as text by name."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, quantity=quantity, number=number, count=count, method=method)
    environment.globals["estimate"] = estimate
    return environment.get_template(name).render(
        **context,
        figures={name: Markup(svg) for name, svg in figures.items()},
        css=Markup(assets.read("viewer.css") + _resource("report.css")),
        viewer=Markup(assets.read("d3-hierarchy.min.js") + assets.read("viewer.js")),
    )


def _resource(name: str) -> str:
    return files("computewise.report").joinpath(name).read_text(encoding="utf-8")
