"""What was found about the controller, in sentences that follow from the intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator

from computewise.report.currencies import SHOWN
from computewise.report.families import SHIPPED, Entry, scope_name
from computewise.report.names import Names
from computewise.report.words import MINUS, Verdict, estimate, percent, points, verdict

_BESIDE = {
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.OPEN: "not distinguishable",
}


def sentence(held: Entry) -> str:
    """The one sentence of a currency, as the study words it."""
    return re.sub(r"-(?=\d)", MINUS, held["sentence"])


def beside_large(held: Entry, column: str, names: Names) -> str:
    """A controller that may escalate beside one greedy answer of the large model, at no more than it costs.

    Nothing where there is no large model.
    """
    if not held["beside_large"]:
        return ""
    beside, cost = held["beside_large"], SHOWN[column].cost
    name = "the shipped policy" if SHIPPED in held["needed"] else "the controller with escalation"
    controller, large = beside["controller"], beside["large"]
    return (
        f"Beside one greedy answer of {names.the('large')} ({cost(large['cost'])}), {name} is right in "
        f"{estimate(controller['accuracy'], controller['ci95'])} for {cost(controller['cost'])}, "
        f"{names.the('large')} in {estimate(large['accuracy'], large['ci95'])}: "
        f"{points(beside['difference'], beside['difference_ci95'])}, {_BESIDE[verdict(beside['difference_ci95'])]}."
    )


def needed(held: Entry, column: str) -> str:
    """From which budget on each controller is as accurate as best-of-N weighted at the largest."""
    most = held["budgets"][-1]
    each = [
        f"{scope_name(scope)}: {percent(found['share'])} ({SHOWN[column].cost(found['cost'])})"
        if found
        else f"{scope_name(scope)}: not for all of it"
        for scope, found in held["needed"].items()
    ]
    return (
        f"For what share of its cost the controller is as accurate as best-of-{most['n']} weighted "
        f"({percent(most['uniform']['accuracy'])} for {SHOWN[column].cost(most['budget'])}), by point estimates: "
        f"{'; '.join(each)}."
    )


def deciding(summary: Entry) -> Iterator[str]:
    """For the top of the page, counted in FLOPs; nothing where there was nothing to decide."""
    if held := summary["controller"].get("flops"):
        yield sentence(held)
        if beside := beside_large(held, "flops", Names.of(summary)):
            yield beside
