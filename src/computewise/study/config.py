"""What a study is asked to do: the schema of `computewise study`'s flags and of `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from computewise.errors import UsageError
from computewise.strategies.validation import at_least_one

LEAST_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """Settings that decide the numbers, whatever the models. Defaults are the main job on the embedded ones."""

    problems: int = 60
    "How many problems of the test split."
    budgets: tuple[int, ...] = (1, 4, 16, 64)
    "Generations a problem, rising; every strategy is run at each."
    seeds: int = 1
    "How often every strategy is run on every problem."
    difficulty_samples: int = 64
    "Samples a problem that only estimate its difficulty; charged apart."
    repeats: int = 50
    "Random halvings of the cross-validation."
    seed: int = 0
    "Which problems and which random numbers."

    def check(self) -> None:
        """Raise `UsageError` for what cannot be run."""
        at_least_one(seeds=self.seeds, difficulty_samples=self.difficulty_samples, repeats=self.repeats)
        if self.seed < 0:
            raise UsageError(f"seed = {self.seed} is not allowed: at least 0")
        if self.problems < LEAST_PROBLEMS:
            raise UsageError(
                f"problems = {self.problems} is not allowed: at least {LEAST_PROBLEMS}, two for each half of each bin"
            )
        if not self.budgets or min(self.budgets) < 1:
            raise UsageError(f"budgets = {list(self.budgets)} is not allowed: each at least 1")
        if list(self.budgets) != sorted(set(self.budgets)):
            raise UsageError(f"budgets = {list(self.budgets)} is not allowed: rising, each once")

    def plain(self) -> dict[str, object]:
        """As JSON keeps it."""
        return {**asdict(self), "budgets": list(self.budgets)}


def restore_config(plain: Mapping[str, Any]) -> StudyConfig:
    """The settings in a run directory's configuration."""
    held = {field.name: plain[field.name] for field in fields(StudyConfig)}
    return StudyConfig(**{**held, "budgets": tuple(held["budgets"])})
