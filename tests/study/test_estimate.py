"""What a study on a server is said to cost, and how far it is said to be."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from simulated_source import SimulatedSource

from computewise.cli import study as study_cli
from computewise.core import LARGE, MODEL, Problem, Role, Usage
from computewise.errors import UsageError
from computewise.setups.server import ServerSpec
from computewise.strategies import BeamSearch, BestOfN, Greedy, strategy_to_dict
from computewise.study.estimate import StudyCost, Trial, duration, estimate, multiply, solutions_of
from computewise.study.plan import Job, RevisionPool, Run, StudyConfig, jobs, plan

PROBLEMS = tuple(Problem(f"p{n}", f"1 + {n}", str(1 + n)) for n in range(10))


def of(strategy: object, role: Role = MODEL, budget: int = 0, verified: bool = True) -> Run:
    return Run("x", role, strategy_to_dict(strategy), 0, budget, verified)  # type: ignore[arg-type]


def test_a_run_draws_as_many_solutions_as_its_strategy() -> None:
    assert solutions_of(of(BestOfN(7))) == 7
    assert solutions_of(of(Greedy(), budget=1)) == 1
    assert solutions_of(of(BeamSearch(16, 4), budget=16)) == 16
    chains = Run("chains", "reviser", {"name": RevisionPool.name, "n": 4}, 0, 16)
    assert solutions_of(chains) == 4 + 2 + 1 + 1


def test_what_was_tried_is_multiplied() -> None:
    """Two solutions of 100 tokens and 2.5 steps took 4 s; the larger model's one took 10 s."""
    trials: dict[Role, Trial] = {
        MODEL: Trial(2, 2.5, Usage(samples=2, prompt_tokens=40, completion_tokens=200, verifier_tokens=240), 4.0),
        LARGE: Trial(1, 1.0, Usage(samples=1, prompt_tokens=20, completion_tokens=300), 10.0),
    }
    missing = [
        Job(of(BestOfN(4)), PROBLEMS[:3]),
        Job(of(BeamSearch(4, 4), budget=4), PROBLEMS[:1]),
        Job(of(Greedy(), LARGE, 1, verified=False), PROBLEMS[:2]),
    ]
    cost = multiply(missing, trials, SimulatedSource(of_models=("large",), priced=True))
    assert cost.solutions == 12 + 4 + 2
    assert cost.requests == 12 * 2 + 4 * 2.5 * 2 + 2
    assert cost.usage.completion_tokens == 16 * 100 + 2 * 300
    assert cost.usage.prompt_tokens == 16 * 20 + 2 * 20
    assert cost.seconds == 16 * 2 + 2 * 10
    assert cost.dollars is not None
    assert cost.dollars > 0
    assert multiply(missing, trials, SimulatedSource(of_models=("large",))).dollars is None


def test_a_study_of_ten_problems_is_tried_on_two() -> None:
    source = SimulatedSource()
    runs = plan(StudyConfig(problems=10, budgets=(1, 4), difficulty_samples=0), source.roles())
    missing = [job for run in runs for job in jobs(run, source.task().problems("test", 10, 0), 1)]
    cost = estimate(missing, source)
    assert cost.solutions == 10 * sum(map(solutions_of, runs))
    assert cost.usage.completion_tokens > cost.solutions


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "about 1 s"), (89, "about 89 s"), (600, "about 10 min"), (9000, "about 2 h 30 min")]
)
def test_a_duration_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_cost_is_one_line() -> None:
    usage = Usage(completion_tokens=1_240_000, prompt_tokens=30_500, verifier_tokens=2_000_000)
    assert str(StudyCost(740, 1480, usage, 7200.0, 3.5)) == (
        "about 740 solutions in at most 1,480 requests: 1.2 M tokens sampled, 30,500 read, 2.0 M read by the verifier, "
        "$3.50; about 2 h 0 min at the speed of a few trial solutions"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_terminal_is_asked_before_anything_is_sent(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr("sys.stderr", said)
    monkeypatch.setattr("builtins.input", lambda: answer)
    monkeypatch.setattr(study_cli, "estimate", lambda *asked: StudyCost(1, 2, Usage(), 3.0, None))
    console = Console(file=said, width=200, force_terminal=False)
    source = ServerSpec.__new__(ServerSpec)
    ask, silent = (study_cli._approval(source, console, yes=yes) for yes in (False, True))
    silent([])
    if answer == "y":
        ask([])
    else:
        with pytest.raises(UsageError, match="nothing was started"):
            ask([])
    assert said.getvalue().count("about 1 solutions") == 2


def test_without_a_terminal_one_line_a_minute_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    said = io.StringIO()
    with study_cli._progress(Console(file=said, width=200), Path("runs/mine")) as progress:
        progress("recorded before", 100, 1000)
        for second in range(1, 181):
            now[0] = float(second)
            progress("pool, model", 100 + second, 1000)
    assert said.getvalue().splitlines() == [
        "run directory: runs/mine; 100 of 1,000 runs are recorded",
        "160 of 1,000 runs (16%), about 14 min left",
        "220 of 1,000 runs (22%), about 13 min left",
        "280 of 1,000 runs (28%), about 12 min left",
    ]
