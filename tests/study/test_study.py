"""The main job in miniature: what it writes is right, complete and the same in whatever order it was recorded."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from quick import quick_controllers
from shared import shared_directory
from simulated_source import SimulatedSource

from computewise.core import Usage
from computewise.report import write_report
from computewise.runs import CandidateRecord, Key, Record, RunDirectory, make_key
from computewise.selection import SELECTIONS, Ballot
from computewise.setups.embedded import EmbeddedSpec, embedded_roles
from computewise.study.analysis.analyse import analyse
from computewise.study.analysis.summary import summarise
from computewise.study.analysis.tables import SamplePool, elected
from computewise.study.executors import ProcessExecutor
from computewise.study.plan import StudyConfig, jobs, plan, searches
from computewise.study.run import run_study
from computewise.tasks.arithmetic import TASKS

CONFIG = StudyConfig(problems=15, budgets=(1, 4), difficulty_samples=8, repeats=5)
RUNS = plan(CONFIG, embedded_roles())


def held_in(run: Path) -> dict[Key, Record]:
    """What an embedded run of `CONFIG` has recorded."""
    return RunDirectory(run, {**EmbeddedSpec().to_dict(), **CONFIG.to_dict()}, resume=True).read()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run directory."""

    def fill(out: Path) -> None:
        out.rmdir()
        run_study(CONFIG, out, executor=ProcessExecutor(1), resume=False, progress=lambda what, done, total: None)

    return shared_directory(tmp_path_factory, "finished", fill)


def test_summary_has_every_promised_name(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["task"] == "expressions"
    assert summary["problems"] == CONFIG.problems
    assert {"model", "large", "verifier", "reviser"} == summary["models"].keys()
    assert all(model["parameters"] > 0 for model in summary["models"].values())
    assert len(summary["bins"]["oracle"]) == len(summary["bins"]["predicted"]) == 5
    rows = [*summary["curves"], *summary["best_fixed"], *summary["oracle_per_problem"]]
    rows += [row for kind in ("oracle", "predicted") for row in summary["policy"][kind]]
    for row in rows:
        assert {"strategy", "selection", "n", "accuracy", "ci95", "by_bin", "usage"} <= row.keys()
        assert {"generations", "completion_tokens", "prompt_tokens", "verifier_tokens", "flops"} <= row["usage"].keys()
        assert 0 <= row["ci95"][0] <= row["accuracy"] <= row["ci95"][1] <= 1
        assert len(row["by_bin"]) == 5
        assert np.mean(row["by_bin"]) == pytest.approx(row["accuracy"])
    assert [row["n"] for row in summary["best_fixed"]] == [1, 4]
    assert {"R", "k", "by_bin"} <= summary["exchange"][0].keys()
    assert {"small", "large"} <= summary["exchange"][0]["by_bin"][0].keys()
    assert summary["seeds"] == [0]
    assert list(summary["controller"]) == ["flops", "bytes", "dollars", "seconds"]
    for held in summary["controller"].values():
        assert [at["n"] for at in held["budgets"]] == [2, 4]
        for at in held["budgets"]:
            assert at["controllers"].keys() == at["best_fixed"].keys() == at["draws"].keys()
            for point in at["controllers"].values():
                assert point["ci95"][0] <= point["accuracy"] <= point["ci95"][1]
        assert all(
            mean is None or mean["at_worst"] <= mean["difference"] for mean in held["mean_minus_best_fixed"].values()
        )
        for needed in held["needed"].values():
            assert needed is None or needed["times_fewer"][0] == pytest.approx(1 / needed["share"], rel=0.2)
    assert {"curve", "break_even", "at"} <= summary["exchange_over_R"].keys()
    assert sum(summary["bin_sizes"]) == CONFIG.problems


def test_what_an_escalating_controller_could_do_for_everybody_is_its_rival(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert [(row["role"], row["label"], row["n"]) for row in summary["large_samples"]] == [
        ("large", "best-of-N, weighted", n) for n in (2, 3, 4)
    ]


def test_a_policy_names_a_strategy_that_can_be_built(finished: Path) -> None:
    from computewise.strategies import make_strategy

    policy = json.loads((finished / "bin_policy.json").read_text())
    assert policy["version"] == 1
    for budget in policy["budgets"]:
        assert [entry["bin"] for entry in budget["bins"]] == [1, 2, 3, 4, 5]
        for entry in budget["bins"]:
            settings = dict(entry["strategy"])
            assert make_strategy(settings.pop("name"), settings)


def test_every_planned_run_is_recorded_once_and_charged(finished: Path) -> None:
    held = held_in(finished)
    lines = (finished / "records.jsonl").read_text().splitlines()
    assert len(lines) == len(held) == len(plan(CONFIG, embedded_roles())) * CONFIG.problems
    for record in held.values():
        assert record.error is None
        assert record.usage.completion_tokens > 0
        # The large model's answer is scored too: a controller that escalates weighs it against the others.
        assert (record.usage.verifier_tokens > 0) == ((record.purpose, record.role) != ("greedy", "model"))
        assert record.candidates


def test_a_ceiling_is_no_lower_than_any_rule(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    for index, ceiling in enumerate(summary["oracle_per_problem"]):
        for rule in (summary["policy"]["oracle"], summary["policy"]["predicted"], summary["best_fixed"]):
            assert rule[index]["accuracy"] <= ceiling["accuracy"] + 1e-9


def test_budgets_are_met_within_a_half(finished: Path) -> None:
    """A search of nominal N costs about N generations; where finished beams wait for others, less."""
    for row in json.loads((finished / "summary.json").read_text())["curves"]:
        # Where attempts are trusted, the first of each chain is what it costs at least.
        least = row["settings"].get("chains", 1) if "trust" in row["settings"] else row["n"]
        assert 0.4 * least <= row["usage"]["generations"] <= 1.5 * row["n"], row["label"]


def test_a_finished_run_resumes_to_the_same_summary_without_work(finished: Path) -> None:
    before = (finished / "summary.json").read_text(), (finished / "records.jsonl").read_text()
    done: list[int] = []
    count = lambda what, now, total: done.append(total - now)  # noqa: E731
    run_study(CONFIG, finished, executor=ProcessExecutor(1), resume=True, progress=count)
    assert ((finished / "summary.json").read_text(), (finished / "records.jsonl").read_text()) == before
    assert done == [0]


def test_a_failed_problem_is_left_out_everywhere_and_named(tmp_path: Path, finished: Path) -> None:
    """An error record does not crash the analysis, nor lose its neighbours."""
    records = list(held_in(finished).values())
    bad = records[-1]
    broken = Record(bad.purpose, bad.role, bad.strategy, bad.seed, bad.problem, error="the server is gone")
    with quick_controllers():
        summary = summarise(CONFIG, "expressions", analyse(CONFIG, RUNS, [*records[:-1], broken], embedded_roles()))
    assert summary["problems"] == CONFIG.problems - 1
    assert summary["failed"] == [{"problem": bad.problem, "error": "the server is gone"}]


def test_the_order_of_the_records_changes_nothing(finished: Path) -> None:
    """Differences are paired by problem, whatever order the workers were done in."""
    records = list(held_in(finished).values())
    shuffled = random.Random(0).sample(records, len(records))
    with quick_controllers():
        one, other = (analyse(CONFIG, RUNS, held, embedded_roles()) for held in (records, shuffled))
    assert summarise(CONFIG, "expressions", one) == summarise(CONFIG, "expressions", other)


def test_a_budget_that_is_no_power_of_two_is_summarised(tmp_path: Path) -> None:
    config = StudyConfig(problems=10, budgets=(1, 6), difficulty_samples=2, repeats=2)
    source = SimulatedSource(of_models=("large", "reviser"))
    with quick_controllers():
        run_study(config, tmp_path / "run", source=source, resume=False, progress=lambda what, done, total: None)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=pytest.fail)
    splits = {(row["chains"], row["chain_length"]) for row in summary["ratios"] if row["n"] == 6}
    assert splits == {(1, 6), (2, 3), (6, 1)}
    assert write_report(tmp_path / "run").exists()


def test_a_study_of_one_sample_a_problem_is_valid_json(tmp_path: Path) -> None:
    """A pool of one has no right and wrong to rank: what cannot be measured is left out, not written as NaN."""
    config = StudyConfig(problems=10, budgets=(1,), difficulty_samples=2, repeats=2)
    source = SimulatedSource(of_models=("large", "reviser"))
    with quick_controllers():
        run_study(config, tmp_path / "run", source=source, resume=False, progress=lambda what, done, total: None)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["verifiers"] == summary["controller"] == {}
    assert write_report(tmp_path / "run").exists()


@pytest.mark.parametrize("budget", [1, 2, 4, 8, 16, 64, 100])
def test_searches_are_built_for_every_budget_and_cost_no_more(budget: int) -> None:
    for family, strategy in searches(budget):
        assert strategy.n * (getattr(strategy, "k", 0) + 1) <= budget, family  # type: ignore[attr-defined]


@pytest.mark.parametrize("budgets", [(4, 5), (8, 10), (16, 18), (1, 2, 4, 8, 10), (1, 4, 16, 64)])
def test_no_two_budgets_plan_the_same_run(budgets: tuple[int, ...]) -> None:
    runs = plan(StudyConfig(budgets=budgets, difficulty_samples=64), embedded_roles())
    keys = {make_key(run.purpose, run.role, run.strategy, run.seed, "") for run in runs}
    assert len(keys) == len(runs)
    of_controller = [("draws", "model"), ("pool", "large")]
    strategies = [run for run in runs if run.purpose != "chains" and (run.purpose, run.role) not in of_controller]
    assert {run.budget for run in strategies} <= {0, 1, *budgets}


def test_jobs_cover_every_problem_once() -> None:
    problems = TASKS["expressions"].problems("test", 60, 0)
    for run in plan(CONFIG, embedded_roles()):
        size = EmbeddedSpec().batch(run.purpose, run.budget)
        covered = [problem.id for job in jobs(run, problems, size) for problem in job.problems]
        assert covered == [problem.id for problem in problems]


def test_a_recorded_pool_is_estimated_as_its_selection_says() -> None:
    """With k = n an estimate is the selection itself: the two ways to read a record agree."""
    rng = np.random.default_rng(0)
    records = []
    for problem in range(30):
        answers = [str(rng.integers(4)) if rng.random() < 0.8 else None for _ in range(8)]
        outcomes = [CandidateRecord(a, float(rng.random()), float(rng.random()), 5, a == "1") for a in answers]
        usage = Usage(8, 80, 70, 40, 120, 70)
        records.append(Record("pool", "model", {"name": "best_of_n", "n": 8}, 0, str(problem), usage, outcomes))
    pool = SamplePool(records)
    for selection in ("best", "weighted"):
        assert pool.accuracy(selection, 8).tolist() == [elected(record, selection) for record in records]
    ballots = [[Ballot(o.answer, 1.0) for o in record.candidates] for record in records]
    assert all(SELECTIONS["majority"](b) is not None for b in ballots)
    full, one = pool.usage(8, verified=True)[0], pool.usage(1, verified=False)[0]
    assert full == records[0].usage
    assert (one.prompt_tokens, one.cached_prompt_tokens, one.completion_tokens, one.verifier_tokens) == (10, 0, 5, 0)
