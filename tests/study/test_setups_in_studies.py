"""A study of any models: what there is no model for is not run and not spoken of; no stop loses what is recorded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any
from zlib import crc32

import pytest
from doubles import CountingTask
from quick import quick_controllers
from simulated_source import LABELS, WATCHED, Closed, SimulatedSource, Watched

from computewise.core import Candidate, Problem, Role, Task, Usage
from computewise.costs import NO_VERIFIER, Prices, Shape, Speeds
from computewise.errors import ModelError, ProblemError, RunError, SpendLimitError, UsageError
from computewise.report import write_report
from computewise.report.template import read_source
from computewise.report.text import PLAIN, Names, capitalize
from computewise.runs import CandidateRecord, Record, RunDirectory
from computewise.session import Session, Strategy
from computewise.setups.base import Roles, SetupSpec
from computewise.setups.embedded import EmbeddedSpec, embedded_roles
from computewise.strategies import STRATEGIES, BestOfN, strategy_to_dict
from computewise.study.analysis.analyse import _ungraded, separate_difficulty
from computewise.study.analysis.controller import SCOPES, drawn, scopes_of, widest_alone
from computewise.study.analysis.tables import cost_metrics
from computewise.study.executors import AsyncExecutor, Done, Executor, ProcessExecutor, executor_for, solve_job
from computewise.study.plan import TREE_OF, Job, Run, StudyConfig, jobs, left_out, plan, restore_config, strategy_of
from computewise.study.run import GIVE_UP, measure, run_shard, run_study
from computewise.study.shards import Shard, merge
from computewise.testing import SimulatedTask

CONFIG = StudyConfig(problems=15, budgets=(1, 4), difficulty_samples=8, repeats=3)
POOL = Run("pool", "model", strategy_to_dict(BestOfN(4)), 0, 4)


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Nothing watched yet, and quick controllers."""
    for name, value in vars(Watched()).items():
        setattr(WATCHED, name, value)
    with quick_controllers():
        yield
    assert WATCHED.running == 0, "a model was left running"
    assert WATCHED.opened == WATCHED.closed, "a source was left open"


def study(source: SetupSpec, out: Path, *, resume: bool = False, executor: Executor | None = None) -> dict[str, Any]:
    outcome = run_study(CONFIG, out, source=source, executor=executor, resume=resume, progress=lambda *told: None)
    assert outcome.headline()["best fixed strategy"].keys() == set(CONFIG.budgets)
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary == outcome.summary
    return summary


def records_of(out: Path) -> list[str]:
    return sorted((out / "records.jsonl").read_text().splitlines())


def page_of(out: Path) -> str:
    """The text a person reads, figures included."""
    page = write_report(out).read_text(encoding="utf-8").partition("</style>")[2]
    headings = re.findall(r"<h2>(\d+)\.", page)
    assert headings == [str(place) for place in range(1, len(headings) + 1)]
    ids = re.findall(r' id="([^"]+)"', page)
    assert all(target in ids for target in re.findall(r'href="#([^"]+)"', page))
    assert not re.search(r"<(p|li|h2|h3|figure|figcaption)[^>]*>\s*</\1>", page), "something is empty"
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def sections(out: Path) -> list[str]:
    return re.findall(r'<section id="([^"]+)">', (out / "report.html").read_text(encoding="utf-8"))


def test_one_model_that_samples_by_steps(tmp_path: Path) -> None:
    summary = study(SimulatedSource(), tmp_path)
    assert summary["models"].keys() == {"model", "verifier"}
    assert summary["large"] is summary["exchange_over_R"] is None
    assert summary["exchange"] == summary["ratios"] == summary["along"] == []
    assert summary["assumed"]["without_attention"] == ["Tiny-1.5B", "Judge-7B"]
    assert "They leave out the attention of Tiny-1.5B, Judge-7B" in page_of(tmp_path)
    assert len(summary["left_out"]) == 2
    assert list(summary["controller"]) == ["flops"]
    assert list(summary["controller"]["flops"]["needed"]) == ["how much", "which and how much"]
    assert summary["controller"]["flops"]["beside_large"] is None
    assert {"beam_search", "step_revisions", "particle_filter"} <= {row["strategy"] for row in summary["curves"]}
    text = page_of(tmp_path)
    assert sections(tmp_path) == [
        *("found", "controller", "compute", "difficulty", "paper", "policy", "verifier", "numbers", "trees", "reading")
    ]
    for name in ("Tiny-1.5B", "Judge-7B", *summary["left_out"]):
        assert name in text
    for word in ("large model", "small model", "revision model", "PRM", "Escalation", "nan "):
        assert word.lower() not in text.lower().replace("small models use hardware", ""), word
    policy = json.loads((tmp_path / "bin_policy.json").read_text())
    assert (policy["model"], policy["verifier"]) == ("Tiny-1.5B", "Judge-7B")
    controller = json.loads((tmp_path / "controller.json").read_text())
    assert {arm["model"] for arm in controller["arms"]} == {"Tiny-1.5B"}
    assert controller["verifier"] == "Judge-7B"


def test_a_served_study_draws_nothing_that_only_tells_difficulty(tmp_path: Path) -> None:
    """Beside the 4 samples that are measured the pool holds 4 that tell the difficulty, and those are not measured."""
    config = StudyConfig(problems=15, budgets=(1, 4), repeats=3)
    outcome = run_study(config, tmp_path, source=SimulatedSource(), resume=False, progress=lambda *told: None)
    held = RunDirectory(tmp_path, json.loads((tmp_path / "config.json").read_text()), resume=True).read().values()
    assert "difficulty" not in {record.purpose for record in held}
    pools = [record for record in held if record.purpose == "pool"]
    assert {len(record.candidates) for record in pools} == {8}
    single = next(row for row in outcome.summary["curves"] if row["label"] == "single sample")
    measured = fmean(one.correct for record in pools for one in record.candidates[:4])
    assert single["accuracy"] == pytest.approx(measured)
    assert single["usage"]["samples"] == 1
    found = outcome.summary["difficulty"]
    assert (found["samples"], found["apart"]) == (4, False)
    assert "the last of the pool and are measured nowhere" in page_of(tmp_path)


def test_what_the_pool_holds_beyond_the_largest_budget_is_charged_to_difficulty() -> None:
    """Usages of the two parts are those of so many of the samples: together all that was sampled."""
    config = StudyConfig(problems=10, budgets=(1, 4), difficulty_samples=0)
    drawn = [CandidateRecord(str(n), 0.5, 0.5, 10, n == 0, "", 0, 10, 0.5, 0.5, "", (0.5,)) for n in range(8)]
    usage = Usage(samples=8, prompt_tokens=160, cached_prompt_tokens=140, completion_tokens=80, verifier_tokens=240)
    run = next(run for run in plan(config, SimulatedSource().roles()) if run.purpose == "pool")
    runs, records = separate_difficulty(
        config, [run], [Record("pool", "model", run.strategy, 0, "p", usage=usage, candidates=drawn)]
    )
    assert [one.purpose for one in runs] == ["difficulty", "pool"]
    assert {one.purpose: one.candidates for one in records} == {"pool": drawn[:4], "difficulty": drawn[4:]}
    assert sum((one.usage for one in records), Usage()).completion_tokens == 80
    assert [one.usage.samples for one in records] == [4, 4]
    assert [one.usage.cached_prompt_tokens for one in records] == [60, 60]


def test_all_models_by_their_names(tmp_path: Path) -> None:
    summary = study(SimulatedSource(of_models=("large", "reviser"), priced=True), tmp_path)
    assert {role: held["label"] for role, held in summary["models"].items()} == LABELS
    assert list(summary["controller"]) == ["flops", "dollars"]
    assert summary["left_out"] == []
    assert len(summary["exchange"]) == 4
    assert summary["exchange_halves"].keys() == {"sampling and search", "revisions"}
    assert {row["n"] for row in summary["ratios"]} == {1, 4}
    text = page_of(tmp_path)
    assert {"sizes", "revisions"} <= set(sections(tmp_path))
    for phrase in (
        "Tiny-1.5B against Big-7B",
        "it may also ask Big-7B",
        "Big-7B, greedy",
        "Tiny-1.5B minus Big-7B, points",
        "with this policy is",
        "In dollars a million tokens: Tiny-1.5B 0.1 for what it reads",
        "Tiny-1.5B-revising (1.60 G parameters) writes its next attempt",
        "With escalation: Big-7B, greedy",
        "counts in price as well.",
        "Nothing: no problem failed.",
    ):
        assert phrase in text, phrase
    for word in ("large model", "small model is", "the small model with", "revision model", "Nobody hosts", "the PRM"):
        assert word not in text, word
    controller = json.loads((tmp_path / "controller.json").read_text())
    assert {arm["model"]: arm["larger"] for arm in controller["arms"]} == {"Tiny-1.5B": False, "Big-7B": True}


def test_a_chat_model_is_asked_for_whole_solutions_only(tmp_path: Path) -> None:
    """The model of this source raises where it is to stop at a step or go on from one: so nothing asked for it."""
    summary = study(SimulatedSource(steps=False, logprobs=False), tmp_path)
    assert {row["label"] for row in summary["curves"]} == {
        *("single sample", "greedy", "best-of-N, majority", "best-of-N, best", "best-of-N, weighted")
    }
    assert summary["verifiers"].keys() == {"verifier"}
    assert summary["controller"]["flops"]["budgets"][0]["controllers"].keys() == {"how much"}
    assert len(summary["left_out"]) == 4
    text = page_of(tmp_path)
    assert sections(tmp_path) == [
        *("found", "controller", "compute", "difficulty", "paper", "policy", "verifier", "numbers", "reading")
    ]
    assert all(sentence in text for sentence in summary["left_out"])
    for word in ("beam search", "particle", "Step revisions run", "log-probability", "lookahead", "with escalation"):
        assert word not in text, word


def test_a_chat_model_beside_a_larger_one(tmp_path: Path) -> None:
    summary = study(SimulatedSource(steps=False, of_models=("large",)), tmp_path)
    assert summary["controller"]["flops"]["budgets"][0]["controllers"].keys() == {"how much", "with escalation"}
    assert summary["exchange_halves"].keys() == {"sampling and search"}
    text = page_of(tmp_path)
    assert "the controller that decides how much, without Big-7B" in text
    assert "A draw is a sample, or one answer of Big-7B." in text


def test_a_chat_model_may_revise_in_conversation(tmp_path: Path) -> None:
    summary = study(SimulatedSource(steps=False, of_models=("reviser",)), tmp_path)
    assert {(row["chains"], row["chain_length"]) for row in summary["ratios"] if row["n"] == 4} == {
        *((1, 4), (2, 2), (4, 1))
    }
    assert summary["exchange_halves"] == {}
    text = page_of(tmp_path)
    assert "revisions" in sections(tmp_path)
    assert LABELS["large"] not in text


@dataclass(frozen=True)
class Pairs(Strategy):
    """`n` solutions, at least two; a chain of attempts where `chained` is 1."""

    n: int = 2
    chained: int = 0
    name = "pairs"
    needs_verifier = True

    def __post_init__(self) -> None:
        if self.n < 2:
            raise UsageError(f"n = {self.n} is not allowed: at least 2")

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return await session.score(await session.sample(self.n))


@dataclass(frozen=True)
class Rethinking(Pairs):
    """The same by a model that revises, whose attempts are selected as chains."""

    name = "rethinking"
    needs_history = True
    default_select = "hierarchical"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STRATEGIES, "_known", {**STRATEGIES, "pairs": Pairs, "rethinking": Rethinking})


@pytest.mark.usefixtures("own")
def test_strategies_of_ones_own_are_measured_at_each_budget_they_accept(tmp_path: Path) -> None:
    config = replace(CONFIG, strategies=("pairs(chained=1)", "rethinking"))
    source = SimulatedSource(of_models=("reviser",))
    run_study(config, tmp_path, source=source, executor=AsyncExecutor(), resume=False, progress=lambda *told: None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = [row for row in summary["curves"] if row["label"].startswith(("pairs", "rethinking"))]
    assert {(row["label"], row["n"]) for row in rows} == {
        ("pairs(chained=1), best", 4),
        ("pairs(chained=1), weighted", 4),
        ("rethinking, hierarchical", 4),
    }
    weighted = next(row for row in rows if row["label"] == "pairs(chained=1), weighted")
    assert weighted["usage"]["generations"] == pytest.approx(4)
    assert "pairs(chained=1), weighted" in page_of(tmp_path)
    assert restore_config(json.loads((tmp_path / "config.json").read_text())) == config
    assert "strategies" not in CONFIG.to_dict()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("named", "refusal"),
    [
        ("pairs(n=4)", "a study gives each budget as n"),
        ("pairs(width=4)", "strategy 'pairs' has no setting 'width'"),
        ("nobody", "unknown strategy 'nobody'"),
        ("single", "has no setting 'n'"),
        ("rethinking", "needs a model that is shown its attempts"),
        ("rebase", "needs a model that continues a solution"),
    ],
)
def test_a_strategy_that_cannot_be_studied_is_refused_before_anything_runs(
    tmp_path: Path, named: str, refusal: str
) -> None:
    config = replace(CONFIG, strategies=(named,))
    with pytest.raises(UsageError, match=re.escape(refusal)):
        run_study(
            config, tmp_path / "run", source=SimulatedSource(steps=False), resume=False, progress=lambda *told: None
        )
    assert not (tmp_path / "run").exists()


def test_a_study_needs_a_verifier(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a study needs a verifier"):
        study(SimulatedSource(verified=False), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_problems_with_names_are_kept_and_their_prompts_are_read(tmp_path: Path) -> None:
    study(SimulatedSource(numbered=True), tmp_path)
    problems = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert [one["id"] for one in problems] == [f"test/{number:03}" for number in range(CONFIG.problems)]
    assert all(one["prompt"].startswith("problem ") and one["answer"] for one in problems)
    prompts = {one["id"]: one["prompt"] for one in problems}
    source = read_source(tmp_path)
    assert source.prompts == prompts
    pool = [record for record in source.records if record.purpose == "pool"]
    flops = cost_metrics(SimulatedSource().roles())["flops"]
    assert [one.prompt for one in drawn({"samples": [pool]}, flops, prompts)] == [prompts[one.problem] for one in pool]
    (tmp_path / "problems.jsonl").unlink()
    assert read_source(tmp_path).prompts == {}, "a run of an older version"
    (tmp_path / "problems.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match=r"problems\.jsonl, line 1 is no problem"):
        read_source(tmp_path)


def test_what_was_said_and_how_it_was_scored_is_recorded_within_the_sources_limits(tmp_path: Path) -> None:
    found = list(measured(SimulatedSource(tokens=31), tmp_path).values())
    outcomes = [outcome for record in found for outcome in record.candidates]
    assert all(len(outcome.scores) == outcome.text.count("\n") + 1 for outcome in outcomes)
    assert all(outcome.value == outcome.scores[-1] for outcome in outcomes)
    lengths = [len(outcome.text) for outcome in outcomes]
    assert max(lengths) == 31, "some are cut off at the limit, none goes beyond"


def test_it_is_sampled_at_the_sources_temperature(tmp_path: Path) -> None:
    for heat, several in ((1.0, True), (0.0, False)):
        found = measured(SimulatedSource(heat=heat), tmp_path / str(heat)).values()
        assert any(len({outcome.text for outcome in record.candidates}) > 1 for record in found) is several


def measured(
    source: SetupSpec,
    out: Path,
    *,
    resume: bool = False,
    executor: Executor | None = None,
    runs: Sequence[Run] = (POOL,),
) -> dict[str, Record]:
    directory = RunDirectory(out, {}, resume=resume)
    problems = source.task().problems("test", 20, 0)
    executor = executor or executor_for(source)
    found = measure(runs, source, problems, directory, executor=executor, progress=lambda *told: None)
    assert [record.problem for record in found] == [problem.id for problem in problems] * len(runs)
    return {record.problem: record for record in found}


def test_who_works_it_off_changes_nothing(tmp_path: Path) -> None:
    source = SimulatedSource()
    runs = [run for run in plan(CONFIG, source.roles()) if run.purpose.startswith(("beam", "step revisions, C = 2"))]
    for name, executor in (("one", AsyncExecutor(1)), ("many", AsyncExecutor(64)), ("processes", ProcessExecutor(2))):
        measured(source, tmp_path / name, executor=executor, runs=runs)
    one, many, processes = (records_of(tmp_path / name) for name in ("one", "many", "processes"))
    assert one == many == processes
    assert len(one) == 20 * len(runs)
    assert (WATCHED.opened, WATCHED.closed) == (2, 2), "once for each run in this process"


def test_no_more_problems_are_in_flight_than_allowed(tmp_path: Path) -> None:
    measured(SimulatedSource(pause=0.001), tmp_path / "three", executor=AsyncExecutor(3))
    assert WATCHED.peak == 3
    measured(SimulatedSource(pause=0.001), tmp_path / "many")
    assert WATCHED.peak == 20
    with pytest.raises(UsageError, match="in_flight = 0"):
        AsyncExecutor(0)


def test_grading_is_kept_off_the_loop_where_it_is_slow(tmp_path: Path) -> None:
    measured(SimulatedSource(), tmp_path / "aside")
    assert threading.get_ident() not in WATCHED.graders
    assert WATCHED.graders
    assert not EmbeddedSpec().slow_grader()


def test_closed_early_nothing_is_left_running() -> None:
    """The fixture looks after the models and the source."""
    source = SimulatedSource(pause=0.02)
    problems = source.task().problems("test", 20, 0)
    working = AsyncExecutor(2).run(source, jobs(POOL, problems, 1))
    while not next(working):
        pass
    calls = WATCHED.calls
    working.close()
    assert 0 < calls < 20
    assert WATCHED.calls == calls


def test_a_ceiling_keeps_what_was_recorded_and_the_run_can_go_on(tmp_path: Path) -> None:
    source, out = SimulatedSource(of_models=("large",)), tmp_path / "run"
    whole = study(source, tmp_path / "whole")
    WATCHED.calls = 0
    with pytest.raises(SpendLimitError, match=r"^300 calls are spent; what is recorded is kept, go on with --resume$"):
        study(replace(source, ceiling=300), out, executor=AsyncExecutor(4))
    kept = records_of(out)
    assert kept
    assert set(kept) < set(records_of(tmp_path / "whole"))
    assert study(source, out, resume=True) == whole
    assert records_of(out) == records_of(tmp_path / "whole")


def test_an_interrupt_in_the_middle_keeps_what_was_finished(tmp_path: Path) -> None:
    source, out = SimulatedSource(), tmp_path / "run"
    whole = study(source, tmp_path / "whole")
    WATCHED.calls = 0
    with pytest.raises(KeyboardInterrupt):
        study(replace(source, interrupted=200), out, executor=AsyncExecutor(4))
    kept = records_of(out)
    assert 0 < len(kept) < len(records_of(tmp_path / "whole"))
    before = (out / "records.jsonl").read_bytes()
    assert study(source, out, resume=True) == whole
    assert (out / "records.jsonl").read_bytes().startswith(before), "what was recorded is not run again"
    assert records_of(out) == records_of(tmp_path / "whole")


def test_parts_of_a_study_put_together_are_the_study(tmp_path: Path) -> None:
    source, parts = SimulatedSource(), [tmp_path / "first", tmp_path / "second"]
    for number, part in enumerate(parts, 1):
        found = run_shard(CONFIG, part, Shard(number, 2), source=source, resume=False, progress=lambda *told: None)
        assert found == (8 if number == 1 else 7) * len(plan(CONFIG, source.roles()))
        assert not (part / "summary.json").exists()
    merge(parts, tmp_path / "whole")
    assert study(source, tmp_path / "whole", resume=True) == study(source, tmp_path / "alone")


def test_a_failed_problem_is_a_record_and_is_tried_again_on_resume(tmp_path: Path) -> None:
    source, out = SimulatedSource(), tmp_path / "run"
    lost = source.task().problems("test", CONFIG.problems, CONFIG.seed)[3]
    number = lost.prompt.split()[1]
    summary = study(replace(source, lost=(number,)), out)
    assert summary["problems"] == CONFIG.problems - 1
    assert {one["problem"] for one in summary["failed"]} == {lost.id}
    assert {one["error"] for one in summary["failed"]} == {"the server is gone"}
    assert "the problem is left out of every number" in page_of(out)
    assert study(source, out, resume=True) == study(source, tmp_path / "whole")
    text = page_of(out)
    assert "the problem is left out" not in text
    assert "the server is gone" not in text
    read = read_source(out).records
    assert len(read) == len(plan(CONFIG, source.roles())) * CONFIG.problems, "of each run of a problem the last record"
    assert not any(record.error for record in read)


@dataclass(frozen=True, slots=True)
class FailingTask(SimulatedTask):
    """A grader that fails on what no model should write, in the answers and in the solutions."""

    def answer(self, solution: str) -> str | None:
        if crc32(solution.encode()) % 4 == 0:
            raise ProblemError("the grader cannot read this")
        return SimulatedTask.answer(self, solution)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        if answer is not None and answer != problem.answer:
            raise ProblemError("the grader fails on a wrong answer")
        return SimulatedTask.correct(self, problem, answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingSource(SimulatedSource):
    def task(self) -> Task:
        return FailingTask(deepest=6)


async def test_an_answer_that_cannot_be_graded_is_wrong_and_is_said() -> None:
    source = FailingSource()
    problems = tuple(source.task().problems("test", 3, 0))
    async with source.open() as opened:
        records = await solve_job(source, opened, Job(POOL, problems))
    assert not any(record.error for record in records)
    found = [one for record in records for one in record.candidates if one.ungraded]
    assert {one.ungraded for one in found} == {"the grader cannot read this", "the grader fails on a wrong answer"}
    assert not any(one.correct for one in found)
    assert any(one.correct for record in records for one in record.candidates)
    [said] = _ungraded(records)
    assert said.startswith(f"Answers that could not be graded and count as wrong: {len(found)}, of 3 problems, such as")
    assert _ungraded([]) == []


def test_a_model_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    source = SimulatedSource()
    said = rf"^{GIVE_UP} problems in a row failed, the last: the server is gone; what is recorded is kept, go on with"
    with pytest.raises(RunError, match=said):
        study(replace(source, gone=True, pause=0.01), tmp_path / "run", executor=AsyncExecutor(4))
    lines = records_of(tmp_path / "run")
    assert all('"error":"the server is gone"' in line for line in lines)
    assert GIVE_UP <= len(lines) < len(plan(CONFIG, source.roles())) * CONFIG.problems
    assert study(source, tmp_path / "run", resume=True) == study(source, tmp_path / "whole")


def test_failures_that_are_not_in_a_row_end_nothing(tmp_path: Path) -> None:
    class Faltering:
        """Every second job of this fails."""

        def run(self, source: SetupSpec, missing: Sequence[Job]) -> Generator[list[Done], None, None]:
            for number, job in enumerate(missing):
                error = "gone" if number % 2 else None
                yield [(job, [Record(POOL.purpose, "model", POOL.strategy, 0, job.problems[0].id, error=error)])]

    runs = [replace(POOL, seed=seed) for seed in range(5)]
    source = SimulatedSource()
    problems = source.task().problems("test", 20, 0)
    directory = RunDirectory(tmp_path, {}, resume=False)
    found = measure(runs, source, problems, directory, executor=Faltering(), progress=lambda *told: None)
    assert [record.error for record in found] == [None, "gone"] * 50


def test_another_error_ends_the_run_after_what_was_done(tmp_path: Path) -> None:
    """A model asked for what it cannot do is nobody's bad luck."""
    source = SimulatedSource(steps=False)
    beam = next(run for run in plan(CONFIG, embedded_roles()) if run.purpose == "beam search, M = 4")
    with pytest.raises(UsageError, match="is a chat endpoint"):
        measured(source, tmp_path, runs=[POOL, beam])


@pytest.mark.parametrize("executor", [AsyncExecutor(2), ProcessExecutor(1)])
def test_what_a_source_cannot_open_is_raised(tmp_path: Path, executor: Executor) -> None:
    with pytest.raises(ModelError, match="no such server"):
        measured(Closed(), tmp_path, executor=executor)


def test_only_what_the_models_can_is_planned() -> None:
    def kinds(models: Roles) -> set[tuple[str, str]]:
        return {(run.purpose.split(",")[0], run.role) for run in plan(CONFIG, models)}

    every = kinds(SimulatedSource(of_models=("large", "reviser")).roles())
    assert every == kinds(embedded_roles())
    assert every - kinds(SimulatedSource().roles()) == {
        *(("greedy", "large"), ("pool", "large"), ("chains", "reviser"))
    }
    whole = SimulatedSource(steps=False).roles()
    assert kinds(whole) == {("difficulty", "model"), ("greedy", "model"), ("pool", "model")}
    assert not any(strategy_of(run).needs_steps for run in plan(CONFIG, whole))
    assert any(strategy_of(run).needs_steps for run in plan(CONFIG, embedded_roles()))
    assert all(strategy_to_dict(strategy_of(run)) == run.strategy for run in plan(CONFIG, embedded_roles()))
    assert left_out(embedded_roles()) == []
    assert [sentence.split()[0] for sentence in left_out(whole)] == ["Tiny-1.5B", "There", "There"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingSource(SimulatedSource):
    counting: CountingTask = field(default_factory=CountingTask)

    def task(self) -> Task:
        return self.counting


@pytest.mark.parametrize("strategy", [BestOfN(4), TREE_OF])
async def test_a_record_s_answers_are_extracted_once(strategy: Strategy) -> None:
    """Those of a recorded tree, too, whose nodes are the candidates and what was discarded."""
    source = CountingSource()
    problems = tuple(source.task().problems("test", 3, 0))
    job = Job(Run("any", "model", strategy_to_dict(strategy), 0, 16), problems)
    async with source.open() as opened:
        records = await solve_job(source, opened, job)
    trees = [record.tree for record in records if record.tree is not None]
    assert len(trees) == (len(problems) if strategy == TREE_OF else 0)
    finished = sum(node.end == "stop" for tree in trees for node in tree)
    assert source.counting.asked.total() == (finished or sum(len(record.candidates) for record in records))


def test_costs_are_counted_in_what_is_known() -> None:
    models = embedded_roles()
    price, speed = Prices(1, 1, 1, 1), Speeds(1, 1, 1)
    assert list(cost_metrics(models)) == ["flops", "bytes", "dollars", "seconds"]
    bare = replace(models, prices={}, speeds={}, shapes={})
    assert list(cost_metrics(bare)) == ["flops"]
    assert list(cost_metrics(replace(bare, prices={"model": price}))) == ["flops"], "nobody knows what large costs"
    both = replace(bare, prices={"model": price, "large": replace(price, output=2)}, speeds={"model": speed})
    assert list(cost_metrics(both)) == ["flops", "dollars"]
    assert cost_metrics(both)["dollars"].models["reviser"] == cost_metrics(both)["dollars"].models["model"]
    assert cost_metrics(both)["dollars"].models["large"] != cost_metrics(both)["dollars"].models["model"]
    shapes: dict[Role, Shape] = {role: shape for role, shape in models.shapes.items() if role != "verifier"}
    assert list(cost_metrics(replace(bare, shapes=shapes))) == ["flops"], "nobody knows what the verifier moves"
    free = replace(bare, shapes=shapes, sizes={**models.sizes, "verifier": 0})
    assert list(cost_metrics(free)) == ["flops", "bytes"]
    traffic = cost_metrics(free)["bytes"].models["model"]
    assert getattr(traffic, "verifier") == NO_VERIFIER  # noqa: B009
    assert isinstance(getattr(traffic, "model"), Shape)  # noqa: B009


def test_a_scope_that_adds_no_arm_is_no_scope() -> None:
    assert list(scopes_of(SCOPES["with escalation"])) == list(SCOPES)
    assert scopes_of(["samples"]) == {"how much": ["samples"]}
    assert list(scopes_of(["samples", "large, greedy"])) == ["how much", "with escalation"]
    assert widest_alone(SCOPES) == "which and how much"
    assert widest_alone(["how much", "with escalation"]) == "how much"


def test_models_are_called_by_their_names_or_else_their_roles() -> None:
    named = Names({"model": "gpt-x", "large": "Big", "verifier": "a judge"})
    assert (PLAIN.the("model"), PLAIN.model("model"), PLAIN.short("model")) == (
        "the small model",
        "small model",
        "small",
    )
    assert (named.the("model"), named.model("model"), named.short("model")) == ("gpt-x",) * 3
    assert (PLAIN.verifier, named.verifier) == ("the PRM", "a judge")
    assert [capitalize(text) for text in ("the small model", "small model", "gpt-x", "the PRM")] == [
        *("The small model", "Small model", "gpt-x", "The PRM")
    ]


def test_a_worker_that_has_loaded_nothing_yet_computes_in_one_thread() -> None:
    """A limit that is set before NumPy is loaded limits nothing: each worker then takes every core."""
    code = (
        "from computewise.study.executors import start_worker; start_worker(); import numpy, threadpoolctl; "
        "print(*(one['num_threads'] for one in threadpoolctl.threadpool_info() if one['user_api'] == 'blas'))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(shown.split()) == {"1"}
