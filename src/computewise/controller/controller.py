"""The controller: fitted to recorded samples, it decides after every draw whether to draw again or to stop.

The samples are rows of plain data, a file of such rows, or a study's run directory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from computewise.controller.file import GENERIC, ControllerArm, ControllerData, controller_path, read_data, write_data
from computewise.controller.frontier import Frontier, FrontierPoint
from computewise.controller.ladder import RuleFitter
from computewise.controller.orders import SampleOrders
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import random_parts
from computewise.controller.state import LiveState
from computewise.core import MODEL, Action, ObservedSample
from computewise.errors import RunError, UsageError
from computewise.intervals import as_partitions, difference, proportion
from computewise.runs import CandidateRecord, last_records, read_config, write_atomically
from computewise.samples import (
    NO_SCORE,
    ProblemSamples,
    SampleArrays,
    arrays_of_observed,
    arrays_of_records,
    observe,
    value_without_score,
)
from computewise.tasks.dataset import read_rows

ARM = "samples"

FORM = (
    'a row is {"problem": TEXT, "answer": TEXT, "samples": [{"answer": TEXT or None, "correct": BOOL, '
    '"score": 0 to 1, "tokens": COUNT}, ...]}; score and tokens may be left out'
)

Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class _Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample of a row: the fields that `observe` takes, and those of a file of recorded samples."""

    answer: str | int | float | None
    correct: bool
    score: Score | None = None
    tokens: Count = 0
    step_scores: tuple[Score, ...] = ()
    logprob: float | None = None
    answer_class: int | None = None
    text: str = ""

    @property
    def scored(self) -> bool:
        return self.score is not None or bool(self.step_scores)

    def observed(self, without_score: float) -> ObservedSample:
        answer = self.answer if self.answer_class is None else f"class {self.answer_class}"
        return observe(
            answer, self.score, self.tokens, self.step_scores, self.logprob or 0.0, without_score=without_score
        )


class _Row(msgspec.Struct, frozen=True):
    problem: str
    samples: Annotated[tuple[_Sample, ...], msgspec.Meta(min_length=1)]
    answer: str | int | float | None = None
    unique_id: str | int | None = None


def read_samples(samples: Iterable[Mapping[str, Any]] | Path | str) -> list[ProblemSamples]:
    """One arm of samples for each problem; every sample costs 1. Raises `UsageError` or `RunError`."""
    if not isinstance(samples, (str, Path)):
        return [_problem(row, f"row {number}") for number, row in enumerate(samples, 1)]
    path = Path(samples)
    if path.is_dir():
        return _recorded(path)
    return [_problem(row, f"{path}, {where}") for where, row in read_rows(path)]


def scored(samples: Iterable[ProblemSamples]) -> bool:
    """Whether a verifier scored any sample."""
    return any((problem.arms[ARM].values != NO_SCORE).any() for problem in samples)


def _problem(row: Mapping[str, Any], where: str) -> ProblemSamples:
    try:
        held = msgspec.convert(row, _Row)
    except msgspec.ValidationError as error:
        raise RunError(f"{where} is malformed: {error}; {FORM}") from None
    name = held.problem if held.unique_id is None else str(held.unique_id)
    without_score = value_without_score(sample.scored for sample in held.samples)
    observed = [sample.observed(without_score) for sample in held.samples]
    right = {sample.answer for sample, held in zip(observed, held.samples, strict=True) if held.correct}
    wrong = {sample.answer for sample, held in zip(observed, held.samples, strict=True) if not held.correct}
    if (right & wrong) - {None}:
        both = ", ".join(sorted(map(str, (right & wrong) - {None})))
        raise RunError(f"{where} is malformed: the answer {both} is correct in one sample and wrong in another")
    return ProblemSamples(
        name, held.problem, {ARM: arrays_of_observed(observed, [sample.correct for sample in held.samples])}
    )


def _recorded(run: Path) -> list[ProblemSamples]:
    """The independent samples that a study recorded of its model, over all seeds."""
    read_config(run)
    found: dict[str, list[CandidateRecord]] = {}
    for record in last_records(run):
        if record.purpose == "pool" and record.role == MODEL and not record.error:
            found.setdefault(record.problem, []).extend(record.candidates)
    if not found:
        raise UsageError(f"{run} holds no recorded samples of a study")
    return [ProblemSamples(name, name, {ARM: _of_records(candidates)}) for name, candidates in found.items()]


def _of_records(candidates: Sequence[CandidateRecord]) -> SampleArrays:
    each = np.arange(len(candidates))
    return arrays_of_records(candidates, {}, costs=[1.0] * len(candidates), blocks=each, chains=each)


UNNAMED = "unnamed"
"""The model and the verifier of a controller that was fitted without their names."""

NO_VERIFIER = "none"
"""As a verifier's name: there is none, each sample is one vote."""

ORDERS = 20
PARTITIONS = 3
"""Random partitions into five parts: the first is measured, and all tell how much a fit differs from the next."""


class Controller(ControllerData, frozen=True):
    """A fitted rule, and the models, the verifier and the task that it was fitted for.

    `unit` is the mean cost of one draw by the first arm, in `currency`. `pool` holds the samples that `fit` read; the
    file does not hold them.
    """

    pool: RecordedPool | None = None

    @classmethod
    def fit(
        cls,
        samples: Iterable[Mapping[str, Any]] | Path | str,
        *,
        model: str | None = None,
        verifier: str | None = None,
        task: str = "question",
        seed: int = 0,
    ) -> Controller:
        """Learn when to stop from independent samples whose answers were graded.

        `samples` are rows, a .jsonl or .parquet file of rows, or the run directory of a study. A row is
        ``{"problem", "answer", "samples": [{"answer", "correct", "score", "tokens"}, ...]}``; a sample without a
        score in [0, 1] counts as one vote, and equal answers are equal text. `model` and `verifier` are the names
        that `solve` and `serve` know them by: a controller without names can only be followed with `start`. Raises
        `UsageError` for fewer than three problems, `RunError` for malformed rows.
        """
        problems = read_samples(samples)
        if not problems:
            raise UsageError("there are no samples to fit on")
        pool = RecordedPool(problems)
        rule = RuleFitter(seed=seed).fit(pool)
        arm = pool.arms[0]
        return cls(
            rule=rule,
            arms=(ControllerArm(arm.name, model or UNNAMED, {"name": "single"}, int(arm.lengths.max())),),
            verifier=verifier or (UNNAMED if scored(problems) else None),
            task=task,
            currency="samples",
            unit=1.0,
            pool=pool,
        )

    @classmethod
    def load(cls, path: Path | str) -> Controller:
        """The controller in a file, or the shipped one of that name, such as "expressions".

        Raises `UsageError` where there is neither, and `RunError` where the file cannot be read.
        """
        where = Path(path) if Path(path).suffix else controller_path(str(path))
        return cls(**msgspec.structs.asdict(read_data(where)))

    @classmethod
    def generic(cls, model: str, verifier: str | None) -> Controller:
        """The shipped controller for any model, under these names: a formula fitted on samples of other models.

        There are two: for votes alone, and for a verifier whose values are in [0, 1].
        """
        found = cls.load(GENERIC[verifier is not None])
        arms = tuple(msgspec.structs.replace(arm, model=model) for arm in found.arms)
        return msgspec.structs.replace(found, arms=arms, verifier=verifier)

    def to_json(self) -> str:
        """The text of the file that `load` reads."""
        return write_data(self)

    def save(self, path: Path | str) -> None:
        """Write the file that `load` reads."""
        try:
            write_atomically(Path(path), self.to_json())
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}") from None

    def start(
        self, *, price: float | None = None, mean_cost: float | None = None, min_confidence: float = 0.0
    ) -> Episode:
        """Begin one problem, at a price or at the price that costs `mean_cost` draws a problem on average.

        The price is what one draw must gain in accuracy. Where the confidence at the end is below `min_confidence`,
        the episode gives no answer.
        """
        if (price is None) == (mean_cost is None):
            raise UsageError("give either price or mean_cost")
        at = price if price is not None else self.price_for(mean_cost=mean_cost)
        return Episode(self, at, min_confidence=min_confidence)

    def price_for(self, *, mean_cost: float | None = None, accuracy: float | None = None) -> float:
        """The price for a mean cost, in draws a problem, or for an accuracy; raises `UsageError` where none reaches it.

        Cost and accuracy of each price were measured on problems that its rule was not fitted on.
        """
        if mean_cost is not None and not mean_cost > 0:
            raise UsageError(f"mean_cost = {mean_cost} is not allowed: draws a problem, above 0")
        if accuracy is not None and not 0 <= accuracy <= 1:
            raise UsageError(f"accuracy = {accuracy} is not allowed: 0 to 1, such as 0.9")
        if mean_cost is not None and accuracy is None:
            return self.rule.price_for(mean_cost)
        if accuracy is not None and mean_cost is None:
            return self.rule.price_for_accuracy(accuracy)
        raise UsageError("give either mean_cost or accuracy")

    def resolve_price(
        self, *, price: float | None, mean_cost: float | None, accuracy: float | None, default: float
    ) -> float:
        """The price that one of the settings stands for; without any, the price for `default` draws a problem.

        A default below the lowest listed mean cost means that cost. Raises `UsageError` for two settings, and for a
        mean cost or an accuracy that no listed price reaches.
        """
        if sum(one is not None for one in (price, mean_cost, accuracy)) > 1:
            raise UsageError("price, mean_cost and accuracy exclude each other: each of them sets the price")
        if price is not None:
            return price
        if accuracy is not None:
            return self.price_for(accuracy=accuracy)
        if mean_cost is None:
            mean_cost = max([default, *(point.mean_cost for point in self.rule.prices[:1])])
        return self.price_for(mean_cost=mean_cost)

    def frontier(self, budgets: Sequence[int]) -> Frontier:
        """Accuracy at mean budgets, in draws a problem, beside the same number of draws for every problem.

        Five-fold cross-validation over the problems that `fit` read, with 95 % intervals over problems.
        """
        if self.pool is None:
            raise UsageError("a controller from a file holds no samples: call frontier on the result of Controller.fit")
        if not budgets or min(budgets) < 1:
            raise UsageError(f"budgets {list(budgets)} are not allowed: at least one, each at least 1")
        pool, problems = self.pool, len(self.pool)
        rng = np.random.default_rng(0)
        fitted = RuleFitter().cross_fits(pool, [random_parts(rng, problems) for _ in range(PARTITIONS)])
        paths = [one.follow(pool, repeats=ORDERS, seed=0) for one in fitted]
        orders = SampleOrders.of(pool, repeats=ORDERS, seed=0)
        points = []
        for budget in budgets:
            same = orders.uniform(budget)
            ours, *others = (orders.along(path, path.price(budget)) for path in paths)
            means = np.array([one.accuracy.mean() for one in (ours, *others)])
            accuracy = as_partitions(ours.accuracy, means, PARTITIONS)
            points.append(
                FrontierPoint(
                    budget,
                    float(ours.cost.mean()),
                    float(ours.accuracy.mean()),
                    proportion(accuracy).interval,
                    float(same.cost.mean()),
                    float(same.accuracy.mean()),
                    proportion(same.accuracy).interval,
                    difference(accuracy - same.accuracy).interval,
                )
            )
        return Frontier(tuple(points))

    @property
    def models(self) -> list[str]:
        """The names of the models that its arms draw by, that of the first arm first."""
        return list(dict.fromkeys(arm.model for arm in self.arms))

    @property
    def limits(self) -> dict[str, int]:
        """The greatest number of increments of each arm, as `LiveState` takes it."""
        return {arm.name: arm.limit for arm in self.arms}

    def check_names(self, models: Collection[str], verifier: str | None, *, called: str = "the controller") -> None:
        """Raise `RunError` unless it was fitted for some of these models and for this verifier; "none" is None."""
        foreign = next((model for model in self.models if model not in models), None)
        if foreign == UNNAMED:
            raise RunError(f"{called} was fitted without the name of its model: fit it with one")
        if foreign is not None:
            raise RunError(f"{called} is for the model {foreign!r}, not for {', '.join(models)}: fit one for it")
        fitted, named = self.verifier or NO_VERIFIER, verifier or NO_VERIFIER
        if fitted == UNNAMED != named:
            raise RunError(f"{called} was fitted without the name of its verifier: fit it with one")
        if fitted != named:
            raise RunError(f"{called} is for the verifier {fitted!r}, not for {named!r}: fit one for it")


def read_controller(path: Path, *, models: Collection[str], verifier: str | None) -> Controller:
    """The controller in a file that was fitted for these models and this verifier; raises `RunError` for any other."""
    controller = Controller.load(path)
    controller.check_names(models, verifier, called=f"the controller {path}")
    return controller


class Episode:
    """One problem in a caller's own sampling loop: ask `next`, draw, `observe`, until the action draws no more.

    ``while (action := episode.next()).draw: episode.observe(answer=...)``
    """

    def __init__(self, controller: Controller, price: float, *, min_confidence: float = 0.0) -> None:
        self._rule = controller.rule
        self._price = price
        self._min_confidence = min_confidence
        self._state = LiveState(controller.limits, controller.rule.votes)
        self._action: Action | None = None

    def next(self) -> Action:
        """What to do now; the same action until a draw is observed."""
        if self._action is None:
            self._action = self._rule.choose(self._state, self._price, min_confidence=self._min_confidence)
        return self._action

    def observe(
        self,
        *,
        answer: str | float | None,
        score: float | None = None,
        tokens: int = 0,
        step_scores: Sequence[float] = (),
        logprob: float = 0.0,
    ) -> None:
        """Report the draw that `next` named: its answer, None for none, and what else the rows of the fit held."""
        action = self.next()
        if action.arm is None:
            raise UsageError("the episode has ended: there is no draw to observe")
        if not all(0 <= one <= 1 for one in (*step_scores, 0.0 if score is None else score)):
            raise UsageError(f"score {score} is not allowed: scores are in [0, 1]")
        self._state.add(action.arm, [observe(answer, score, tokens, step_scores, logprob)])
        self._action = None

    @property
    def answer(self) -> str | None:
        """The leading answer so far; None where no draw has answered or the episode abstained."""
        abstained = self._action is not None and self._action.kind == "abstain"
        return None if abstained else self._state.leader

    @property
    def confidence(self) -> float:
        """The estimated chance that the leading answer is right; 0 before the first draw."""
        return self.next().confidence
