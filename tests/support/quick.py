"""Controllers that are fitted in a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

from computewise.controller.rule import RuleFitter
from computewise.controller.trees import Recipe


@contextmanager
def quick_controllers() -> Iterator[None]:
    """In it, studies fit controllers that learn less than they should, for tests of anything but how good they are."""
    learner = partial(RuleFitter, numbers=50_000, recipe=Recipe(trees=5))
    with patch("computewise.study.analysis.controller.RuleFitter", learner):
        yield
