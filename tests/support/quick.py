"""Controllers that are fitted in a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

from computewise.controller.ladder import RuleFitter
from computewise.controller.trees import Recipe

FITTING = (
    "study.analysis.controller",
    "study.analysis.rivals",
    "study.recorded.run",
    "study.recorded.evaluate",
    "study.recorded.escalation",
)


@contextmanager
def quick_controllers() -> Iterator[None]:
    """In it, a study or replay fits controllers that learn less and choose among fewer.

    For tests of anything but how good they are.
    """
    learner = partial(RuleFitter, numbers=50_000, recipe=Recipe(trees=5))
    with ExitStack() as stack:
        for module in FITTING:
            stack.enter_context(patch(f"computewise.{module}.RuleFitter", learner))
        for name, fewer in (("BEFORE", (2,)), ("VOTES", (1.0, 2.0)), ("ORDERS", 2), ("GRID", 4)):
            stack.enter_context(patch(f"computewise.controller.ladder.{name}", fewer))
        yield
