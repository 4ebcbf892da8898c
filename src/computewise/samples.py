"""Samples as a controller looks at them: one by one while a problem is solved, and as arrays where it is fitted.

Every conversion to them is here: from live candidates, from a study's records, from samples of a file or a caller. They
share one rule for what was not scored: where no sample of a problem has a score, each counts 1, so that the weighted
vote is a majority vote; among scored samples, one without a score counts 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import fmean

import numpy as np

from computewise.core import Candidate, ObservedSample, Verifier
from computewise.errors import RunError
from computewise.metrics import UNANSWERED, Bools, Floats, Ints
from computewise.runs import CandidateRecord
from computewise.selection import check_aggregation

NO_SCORE = 1.0
"""The value of a sample where no sample of its problem has a score."""
LEAST_PROBABILITY = 1e-3
"""A mean token probability below this counts as this: its logarithm would say no more."""


@dataclass(frozen=True, slots=True)
class SampleArrays:
    """The samples of one arm for one problem, in the order they were drawn: arrays (samples,).

    `answers` numbers equivalent answers alike, over all arms of the problem; `UNANSWERED` (-1) never votes. `values`
    are the verifier's, in [0, 1], as it aggregates; `means` and `lows` are the mean and the least of the steps' scores.
    `logprobs` are mean log-probabilities of a token, 0 where they were not recorded. `tokens` were sampled; `costs` are
    what each sample cost where caches hold the prompt, in the unit of the comparison. Samples of one `block` come
    together or not at all, as those of one search do; samples of one `chain` revise one another.
    """

    answers: Ints
    values: Floats
    correct: Bools
    means: Floats
    lows: Floats
    logprobs: Floats
    tokens: Floats
    costs: Floats
    blocks: Ints
    chains: Ints

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise RunError(f"draws of unequal length: {lengths}")

    def __len__(self) -> int:
        return len(self.answers)

    def take(self, order: Ints) -> SampleArrays:
        """Some of the samples, or all of them in another order."""
        return SampleArrays(*(getattr(self, field.name)[order] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """One problem and its samples by the name of the arm that drew them; the first arm is the one to probe with.

    `opening` says for some arms which model draws by them, and what its first draw costs more than the `costs` of its
    samples: reading the prompt, by it and by the verifier beside it. Arms of one model pay it once.
    """

    id: str
    prompt: str
    arms: dict[str, SampleArrays]
    opening: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    def drawn_in_order(self) -> ProblemSamples:
        """The same, where the first sample of each arm pays for the prompt: for samples that nobody shuffles."""
        arms = dict(self.arms)
        for name, (_, cost) in self.opening.items():
            costs = arms[name].costs.copy()
            costs[:1] += cost
            arms[name] = replace(arms[name], costs=costs)
        return replace(self, arms=arms, opening={})

    @property
    def right(self) -> Ints:
        """The numbers of the right answers, as far as samples gave them."""
        return np.unique(np.concatenate([draws.answers[draws.correct] for draws in self.arms.values()]))


def mean_probabilities(candidate: Candidate) -> tuple[float, ...]:
    """exp of the mean token log-probability up to the end of each step; 1 before the first token.

    Steps whose log-probability is not known are left out; NaN until the first that is known. A short step can have 0
    tokens where a server's token count was divided by length.
    """
    scores: list[float] = []
    logprob, tokens, known = 0.0, 0, False
    for step in candidate.steps:
        if not math.isnan(step.logprob):
            logprob, tokens, known = logprob + step.logprob, tokens + step.tokens, True
        scores.append(math.exp(logprob / max(tokens, 1)) if known else math.nan)
    return tuple(scores)


def mean_token_probability(candidate: Candidate) -> float:
    """Of the whole candidate; 0 without a step, NaN where it is not known."""
    return mean_probabilities(candidate)[-1] if candidate.steps else 0.0


def recorded_probabilities(candidates: Sequence[Candidate]) -> list[float]:
    """The mean token probability of each candidate of a problem, as it is recorded.

    Where none is known each counts 1, as scores do; among known ones, one that is not known counts 0.
    """
    found = [mean_token_probability(candidate) for candidate in candidates]
    known = any(c.steps and not math.isnan(value) for c, value in zip(candidates, found, strict=True))
    return [(0.0 if known else 1.0) if math.isnan(value) else value for value in found]


def value_without_score(scored: Iterable[bool]) -> float:
    """The value of a problem's samples that have no score, where `scored` says of each sample whether it has one."""
    return 0.0 if any(scored) else NO_SCORE


def observe_candidate(candidate: Candidate, answer: str | None, verifier: Verifier | None) -> ObservedSample:
    """A live candidate; `answer` is in canonical form."""
    scores, probability = candidate.scores or (NO_SCORE,), mean_token_probability(candidate)
    return ObservedSample(
        answer=answer,
        value=verifier.value(candidate.scores) if verifier else NO_SCORE,
        score_mean=fmean(scores),
        score_min=min(scores),
        logprob=0.0 if math.isnan(probability) else math.log(max(probability, LEAST_PROBABILITY)),
        tokens=candidate.tokens,
    )


def observe(
    answer: str | float | None,
    score: float | None,
    tokens: int,
    step_scores: Sequence[float] = (),
    logprob: float = 0.0,
    *,
    without_score: float = NO_SCORE,
) -> ObservedSample:
    """A sample in plain values, the same when a controller is fitted and when it is followed.

    `score` is a verifier's for the whole sample and the weight of its vote; without it the last of `step_scores`, and
    without both `without_score`. `logprob` is the mean log-probability of a token. Equal answers are equal text.
    """
    value = score if score is not None else step_scores[-1] if step_scores else without_score
    scores = step_scores or (value,)
    text = None if answer is None else str(answer).strip()
    return ObservedSample(text, value, fmean(scores), min(scores), logprob, tokens)


def arrays_of_observed(samples: Sequence[ObservedSample], correct: Sequence[bool]) -> SampleArrays:
    """Independent samples of one problem; each costs 1."""
    numbers: dict[str, int] = {}
    answers = np.array([answer_number(sample.answer, numbers) for sample in samples], np.int64)
    return _independent(
        answers,
        values=np.array([sample.value for sample in samples], float),
        correct=np.array(correct, np.bool_),
        means=np.array([sample.score_mean for sample in samples], float),
        lows=np.array([sample.score_min for sample in samples], float),
        logprobs=np.array([sample.logprob for sample in samples], float),
        tokens=np.array([sample.tokens for sample in samples], float),
    )


def arrays_of_step_scores(
    answers: Sequence[int | None],
    correct: Sequence[bool],
    step_scores: Sequence[Sequence[float]],
    aggregation: str,
    logprobs: Sequence[float],
    tokens: Sequence[float],
) -> SampleArrays:
    """Independent samples of one problem, whose answers are numbered; each costs 1.

    `aggregation` makes a sample's value of its step scores: last, min, prod or mean. Raises `UsageError` for another.
    Scores outside [0, 1] count as the nearer end, NaN as 0.
    """
    check_aggregation(aggregation)
    default = value_without_score(bool(scores) for scores in step_scores)
    steps = [scores or (default,) for scores in step_scores]
    lengths = np.array([len(each) for each in steps])
    begins = np.cumsum(lengths) - lengths
    scores = np.clip(np.nan_to_num(np.concatenate(steps)), 0, 1)
    of_steps = {
        "last": scores[begins + lengths - 1],
        "min": np.minimum.reduceat(scores, begins),
        "prod": np.multiply.reduceat(scores, begins),
        "mean": np.add.reduceat(scores, begins) / lengths,
    }
    return _independent(
        np.array([UNANSWERED if answer is None else answer for answer in answers], np.int64),
        values=of_steps[aggregation],
        correct=np.array(correct, np.bool_),
        means=of_steps["mean"],
        lows=of_steps["min"],
        logprobs=np.array(logprobs, float),
        tokens=np.array(tokens, float),
    )


def arrays_of_records(
    candidates: Sequence[CandidateRecord],
    numbers: dict[str, int],
    costs: Sequence[float],
    blocks: Ints,
    chains: Ints,
) -> SampleArrays:
    """The candidates of one record; `numbers` holds the problem's answers so far, and takes up new ones.

    A record holds 0 in place of what was not scored.
    """
    default = value_without_score(bool(one.scores or one.value or one.score_mean) for one in candidates)
    return SampleArrays(
        answers=np.array([answer_number(one.answer, numbers) for one in candidates], np.int64),
        values=np.array([one.value or default for one in candidates], float),
        correct=np.array([one.correct for one in candidates], np.bool_),
        means=np.array([one.score_mean or default for one in candidates], float),
        lows=np.array([one.score_min or default for one in candidates], float),
        logprobs=np.log(np.maximum([one.mean_token_prob for one in candidates], LEAST_PROBABILITY)),
        tokens=np.array([one.tokens for one in candidates], float),
        costs=np.array(costs, float),
        blocks=blocks,
        chains=chains,
    )


LONG = 300
"""Texts of more characters than this are seldom equal by chance."""
SURELY = 1e-3
"""Repetitions that are less probable than this are no chance."""
_OFTEN, _SOME = 0.5, 0.05
_CAUSE = "the server answers from a cache, or ignores the temperature or the seed"


def repeated_samples(problems: Sequence[Sequence[tuple[str, float | None]]], what: str = "samples") -> str | None:
    """A sentence about samples that repeat one another word for word; None where too few do.

    For each problem there are its samples: the text with its thinking, and its probability to the model, None where
    that is not known. The sentence says how sure it is that this is no chance.
    """
    problems = [[one for one in samples if one[0].strip()] for samples in problems]
    problems = [samples for samples in problems if len(samples) > 1]
    counts = [Counter(text for text, _ in samples) for samples in problems]
    alike = sum(len(count) == 1 for count in counts)
    repeated = sum(times - 1 for count in counts for times in count.values())
    surely = sum(_surely(samples, count) for samples, count in zip(problems, counts, strict=True))
    known = any(probability is not None for samples in problems for _, probability in samples)
    sure = (
        "By the model's own probabilities this is no" if known else f"At more than {LONG} characters this is hardly a"
    )
    where = f"all {what} of {alike} of {len(problems)} problems are" if len(problems) > 1 else f"all {what} are"
    if alike and alike >= _OFTEN * len(problems):
        start = f"{where[0].upper()}{where[1:]} one and the same text."
        if 2 * surely > repeated:
            return f"{start} {sure} chance: {_CAUSE}, and more samples say nothing new."
        return f"{start} Either the model is certain of it, or {_CAUSE}; more samples say nothing new."
    total = sum(map(len, problems))
    if total and surely > _SOME * total:
        start = f"{surely} of {total} {what} repeat another one of their problem word for word"
        return f"{start}. {sure} chance: {_CAUSE}, and such samples vote as if they were independent."
    return None


def _surely(samples: Sequence[tuple[str, float | None]], times: Mapping[str, int]) -> int:
    """The repetitions in one problem's samples that are no chance."""
    probabilities = dict(samples)
    found = 0
    for text, count in times.items():
        probability, others = probabilities[text], count - 1
        if probability is None:
            found += others if len(text) > LONG else 0
        elif math.comb(len(samples) - 1, others) * probability**others < SURELY:
            found += others
    return found


def answer_number(answer: str | None, numbers: dict[str, int]) -> int:
    """Equal answers have equal numbers; `numbers` holds those so far, and takes up a new one."""
    return UNANSWERED if answer is None else numbers.setdefault(answer, len(numbers))


def _independent(
    answers: Ints, *, values: Floats, correct: Bools, means: Floats, lows: Floats, logprobs: Floats, tokens: Floats
) -> SampleArrays:
    each = np.arange(len(answers))
    return SampleArrays(
        answers=answers,
        values=values,
        correct=correct & (answers != UNANSWERED),
        means=means,
        lows=lows,
        logprobs=logprobs,
        tokens=tokens,
        costs=np.ones(len(answers)),
        blocks=each,
        chains=each,
    )
