"""One score a step, and a verifier that proves itself."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence

import pytest
from verifier_doubles import PROBLEM, FixedReader, candidate

from computewise.core import Candidate, Problem, Step, Usage
from computewise.errors import ModelError, UsageError
from computewise.selection import aggregate
from computewise.verifiers.base import SUM, LogprobVerifier, StepVerifier, VerifierSpec, self_check
from computewise.verifiers.load import open_verifier


def verifier(reader: FixedReader, aggregation: str = "last") -> StepVerifier:
    return StepVerifier(reader, name="fixed", parameters=3, aggregation=aggregation)


async def test_only_new_steps_are_read() -> None:
    reader = FixedReader((0.3,), (0.4, 0.5))
    candidates = [
        candidate("a\n", "b\n", "c\n", scores=(0.1, 0.2)),
        candidate("d\n", scores=(0.9,)),
        candidate("e", "f", finished=False),
    ]
    scores, usage = await verifier(reader).score(PROBLEM, candidates)
    assert scores == [(0.1, 0.2, 0.3), (0.9,), (0.4, 0.5)]
    assert usage == Usage(verifier_tokens=7)
    assert [(s.steps, s.known, s.finished) for s in reader.asked] == [
        (("a", "b", "c"), 2, True),
        (("e", "f"), 0, False),
    ]


async def test_nothing_new_costs_nothing() -> None:
    assert await verifier(FixedReader()).score(PROBLEM, [candidate("a", scores=(0.5,))]) == ([(0.5,)], Usage())


async def test_a_blank_step_is_not_read_and_has_the_score_before_it() -> None:
    reader = FixedReader((0.8, 0.3), (0.7,))
    candidates = [candidate("\n\n", "a\n\n", " \n", "b\n\n", "\n\n"), candidate("a", "\n", "c", scores=(0.2, 0.2))]
    scores, _ = await verifier(reader).score(PROBLEM, candidates)
    assert scores == [(0.5, 0.8, 0.8, 0.3, 0.3), (0.2, 0.2, 0.7)]
    assert [(s.steps, s.known) for s in reader.asked] == [(("a", "b"), 0), (("a", "c"), 1)]


async def test_a_solution_of_blanks_is_not_read_at_all() -> None:
    assert await verifier(FixedReader()).score(PROBLEM, [candidate("\n", " ")]) == ([(0.5, 0.5)], Usage())


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.01, 1.01])
async def test_what_is_no_score_is_refused(score: float) -> None:
    with pytest.raises(ModelError, match=r"fixed scored a step .*: a score must be in \[0, 1\]"):
        await verifier(FixedReader((score,))).score(PROBLEM, [candidate("a")])


async def test_rounding_is_no_fault() -> None:
    scores, _ = await verifier(FixedReader((1.00001, -0.00001))).score(PROBLEM, [candidate("a", "b")])
    assert scores == [(1.0, 0.0)]


@pytest.mark.parametrize("scores", [(), (0.1, 0.2)])
async def test_another_number_of_scores_is_refused(scores: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match=f"fixed gave {len(scores)} scores for 1 steps"):
        await verifier(FixedReader(scores)).score(PROBLEM, [candidate("a")])


async def test_another_number_of_solutions_is_refused() -> None:
    with pytest.raises(ModelError, match="read 1 solutions of 2"):
        await verifier(FixedReader((0.1,))).score(PROBLEM, [candidate("a"), candidate("b")])


@pytest.mark.parametrize(("how", "value"), [("last", 0.5), ("min", 0.2), ("prod", 0.08), ("mean", 0.5)])
def test_aggregations(how: str, value: float) -> None:
    assert aggregate((0.8, 0.2, 0.5), how) == pytest.approx(value)
    assert verifier(FixedReader(), how).value((0.8, 0.2, 0.5)) == pytest.approx(value)
    assert aggregate((), how) == 0.0


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown aggregation 'max': allowed are last, min, prod, mean"):
        verifier(FixedReader(), "max")


class Judging:
    """Scores the last step of the right solution and of the wrong one as told."""

    name = "judging"
    parameters = 0

    def __init__(self, right: float, wrong: float, steps: int = 2) -> None:
        self.right, self.wrong, self.steps = right, wrong, steps

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        assert problem.prompt == SUM.question
        assert all(one.finished for one in candidates)
        last = [self.right if "89" in one.text else self.wrong for one in candidates]
        return [(0.5,) * (self.steps - 1) + (score,) for score in last], Usage()

    def value(self, scores: Sequence[float]) -> float:
        return scores[-1]


async def test_a_verifier_that_knows_passes() -> None:
    await self_check(Judging(0.9, 0.2))


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        (0.50003, 0.50003, r"0.5000\), which are equal: the marker is probably wrong"),
        (
            0.2,
            0.9,
            r"right solution \(0.5000, 0.2000\) and a wrong one \(0.5000, 0.9000\), in the wrong order: .*label",
        ),
        (math.nan, 0.2, r"nan.*a score must be in \[0, 1\]"),
        (1.5, 0.2, r"1.5000.*a score must be in \[0, 1\]"),
    ],
)
async def test_a_verifier_that_does_not_know_is_refused(right: float, wrong: float, reason: str) -> None:
    with pytest.raises(UsageError, match=f"judging scores a .*{reason}") as caught:
        await self_check(Judging(right, wrong))
    assert "\n" not in str(caught.value)


async def test_a_verifier_of_other_steps_is_refused() -> None:
    with pytest.raises(UsageError, match="for 2 and 2 steps"):
        await self_check(Judging(0.9, 0.2, steps=3))


def test_a_specification_is_plain_and_travels() -> None:
    spec = VerifierSpec("judge", model="m", base_url="http://server/v1", samples=3)
    assert VerifierSpec(**spec.to_dict()) == spec == pickle.loads(pickle.dumps(spec))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "needs a base_url or a path, and not both"),
        ({"base_url": "http://server", "path": "/x"}, "and not both"),
        ({"path": "/x", "server": "tgi"}, "unknown server 'tgi': allowed are auto, vllm"),
        ({"path": "/x", "aggregation": "max"}, "unknown aggregation 'max'"),
        ({"path": "/x", "parameters": -1}, "parameters = -1"),
        ({"path": "/x", "samples": 0}, "samples = 0"),
    ],
)
def test_a_specification_with_a_fault_is_refused(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        VerifierSpec("judge", **settings)  # type: ignore[arg-type]


async def test_verifiers_without_a_model() -> None:
    assert await open_verifier(VerifierSpec("none")) is None
    assert isinstance(await open_verifier(VerifierSpec("logprob")), LogprobVerifier)


async def test_a_step_without_a_token_says_nothing_of_log_probability() -> None:
    held = Candidate("0", None, (Step("a", 0, 0.0), Step("b", 2, -2.0)))
    assert (await LogprobVerifier().score(PROBLEM, [held]))[0] == [pytest.approx((1.0, math.exp(-1)))]


async def test_a_served_one_needs_a_client() -> None:
    with pytest.raises(UsageError, match=r"judge at http://server/v1 needs a client"):
        await open_verifier(VerifierSpec("judge", model="m", base_url="http://server/v1"))
