"""`write_report`: from a run directory to its page and figures."""

from __future__ import annotations

from pathlib import Path

from computewise.errors import RunError
from computewise.records import write_atomically
from computewise.report import controller_figures, exchange_figures, figures, revision_figures
from computewise.report.families import budgets, compared, split_budgets
from computewise.report.names import Names
from computewise.report.page import render_page
from computewise.report.source import Source, read_source
from computewise.report.svg import render


def write_report(directory: Path) -> Path:
    """Write `report.html`, and `figures/` as PNG and SVG, into the run directory; the path of the page.

    Raises `RunError` where a file of the run is missing or unreadable, or nothing can be written.
    """
    from jinja2 import UndefinedError

    source = read_source(directory)
    page = directory / "report.html"
    try:
        folder = directory / "figures"
        folder.mkdir(exist_ok=True)
        drawn, by_bin = _draw(source, folder)
        write_atomically(page, render_page(source, drawn, by_bin))
    except (KeyError, UndefinedError) as error:
        raise RunError(f"the run in {directory} has no {error}: run the study again with --resume") from None
    except OSError as error:
        raise RunError(f"cannot write the report in {directory}: {error.strerror or error}") from None
    return page


def _draw(source: Source, folder: Path) -> tuple[dict[str, str], list[str]]:
    """SVG by name, and the names of those by bin."""
    summary = source.summary
    names = Names.of(summary)
    methods, choices = figures.methods(summary), figures.choices(summary)
    drawn = {
        "methods_generations": figures.accuracy(summary, methods, figures.GENERATIONS),
        "choices_generations": figures.accuracy(summary, choices, figures.GENERATIONS),
        "methods_flops": figures.accuracy(summary, methods, figures.FLOPS),
        "choices_flops": figures.accuracy(summary, choices, figures.FLOPS),
    }
    for column, held in summary["controller"].items():
        drawn[f"controller_{column}"] = controller_figures.accuracy(held, column, names)
        if compared(held):
            drawn[f"controller_{column}_difference"] = controller_figures.differences(held)
    if summary["controller"] and summary["large"]:
        drawn["exchange_over_R"] = exchange_figures.over(summary["exchange_over_R"], names)
    by_bin = {f"bins_{n}": figures.by_bin(summary, n) for n in budgets(summary) if n > 1}
    if summary["exchange"]:
        drawn["exchange"] = figures.exchange(summary)
    if split_budgets(summary):
        drawn["ratios"] = revision_figures.heat_map(summary)
    if len(summary["along"]) > 1:
        drawn["along"] = revision_figures.along(summary)
    return {name: render(figure, name, folder) for name, figure in (drawn | by_bin).items()}, list(by_bin)
