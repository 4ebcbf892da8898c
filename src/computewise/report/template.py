"""Templates filled, and the macros they share."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from computewise.report.words import count, estimate, method, number, percent, quantity
from computewise.viewer import assets


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
