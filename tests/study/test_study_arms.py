"""Records as what a controller draws by: every token is charged once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_fields

from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.core import Role, Usage
from computewise.models.embedded.network import WEIGHTS_DIRECTORY, load_weights
from computewise.runs import CandidateRecord, Record
from computewise.setups.embedded import LAYERS_AND_WIDTH, WEIGHTS, EmbeddedSpec, embedded_roles
from computewise.strategies import BeamSearch, BestOfN, StepRevisions, strategy_to_dict
from computewise.study.analysis.analyse import _noted, _repeated, at_budget
from computewise.study.analysis.controller import ESCALATING, draw_usages, drawn, fit_policy, is_search
from computewise.study.analysis.tables import StrategyRow, cost_metrics
from computewise.study.executors import run_job
from computewise.study.plan import Job, Run
from computewise.tasks.arithmetic import find_task

MODELS = replace(embedded_roles(), sizes={"model": 10, "large": 140, "verifier": 15, "reviser": 10})


@pytest.fixture(scope="module")
def records() -> dict[str, list[Record]]:
    asked = tuple(find_task("expressions").problems("validation", 12, 0))
    runs = {
        "samples": Run("pool", "model", strategy_to_dict(BestOfN(8)), 0, 8),
        "step revisions": Run("step revisions", "model", strategy_to_dict(StepRevisions(4, 2)), 0, 8),
        "beam": Run("beam", "model", strategy_to_dict(BeamSearch(4, 4)), 0, 4),
    }
    return {name: run_job(EmbeddedSpec(), Job(run, asked)) for name, run in runs.items()}


def test_samples_cost_together_what_the_run_cost(records: dict[str, list[Record]]) -> None:
    """But for the prompt, which the run read once, and which is paid by the first draw of a walk."""
    flops = cost_metrics(MODELS)["flops"]
    for record, problem in zip(records["samples"], drawn({"samples": [records["samples"]]}, flops), strict=True):
        prompt = record.candidates[0].uncached_prompt_tokens
        assert sum(draw_usages(record, prompt), Usage()) == replace(
            record.usage, cached_prompt_tokens=8 * prompt, cached_verifier_tokens=8 * prompt
        )
        assert problem.opening["samples"] == ("model", 2 * prompt * (10 + 15))
        assert problem.arms["samples"].costs.sum() + problem.opening["samples"][1] == flops.cost(
            record.usage, 0, "model"
        )


def test_a_verifier_that_keeps_no_prompts_is_charged_with_all_it_read(records: dict[str, list[Record]]) -> None:
    """As a server that reports no cached tokens: ten tokens around each solution, and each reads them anew."""
    flops = cost_metrics(MODELS)["flops"]
    read = [
        replace_fields(
            record,
            usage=replace(
                record.usage,
                verifier_tokens=sum(10 + one.tokens for one in record.candidates),
                cached_verifier_tokens=0,
            ),
        )
        for record in records["samples"]
    ]
    for record, problem in zip(read, drawn({"samples": [read]}, flops), strict=True):
        assert [one.verifier_tokens for one in draw_usages(record, 0)] == [10 + one.tokens for one in record.candidates]
        assert problem.opening["samples"][1] == 2 * record.candidates[0].uncached_prompt_tokens * 10


def test_without_a_verifier_nothing_is_charged_for_one(records: dict[str, list[Record]]) -> None:
    for record in records["samples"]:
        bare = replace_fields(record, usage=replace(record.usage, verifier_tokens=0, cached_verifier_tokens=0))
        assert sum(draw_usages(bare, 0), Usage()).verifier_tokens == 0


def test_revisions_sample_what_the_run_sampled_and_read_no_less(records: dict[str, list[Record]]) -> None:
    """Drawn one after another, no two read the prompt in one call: that may cost a little more, never less."""
    for record in records["step revisions"]:
        prompt = record.candidates[0].uncached_prompt_tokens
        total = sum(draw_usages(record, prompt), Usage(verifier_tokens=prompt))
        assert (total.samples, total.completion_tokens) == (record.usage.samples, record.usage.completion_tokens)
        fresh = total.verifier_tokens - total.cached_verifier_tokens
        charged = record.usage.verifier_tokens - record.usage.cached_verifier_tokens
        assert charged <= fresh <= 1.2 * charged


def test_a_search_is_one_block_and_pays_all_at_once(records: dict[str, list[Record]]) -> None:
    flops = cost_metrics(MODELS)["flops"]
    assert all(map(is_search, records["beam"]))
    for problem, record in zip(drawn({"beam": [records["beam"]] * 2}, flops), records["beam"], strict=True):
        arm = problem.arms["beam"]
        one = len(record.candidates)
        assert arm.blocks.tolist() == [0] * one + [1] * one
        each = flops.cost(record.usage, record.sequential, "model")
        assert arm.costs.sum() == pytest.approx(2 * (each - problem.opening["beam"][1]))
        assert 0 < problem.opening["beam"][1] < each / 2
        assert np.count_nonzero(arm.costs) == 2


def test_equal_answers_have_one_number_over_all_arms(records: dict[str, list[Record]]) -> None:
    found = drawn({name: [runs] for name, runs in records.items()}, cost_metrics(MODELS)["flops"])
    for index, problem in enumerate(found):
        answers: dict[int, str | None] = {}
        for name, arm in problem.arms.items():
            for number, outcome in zip(arm.answers.tolist(), records[name][index].candidates, strict=True):
                assert answers.setdefault(number, outcome.answer) == outcome.answer


def test_what_waits_is_never_more_than_what_is_sampled(records: dict[str, list[Record]]) -> None:
    for runs in records.values():
        assert all(0 < record.sequential <= record.usage.completion_tokens for record in runs)


@pytest.mark.parametrize("role", LAYERS_AND_WIDTH)
def test_shapes_are_those_of_the_shipped_weights(role: Role) -> None:
    config = load_weights(WEIGHTS_DIRECTORY / f"{WEIGHTS[role]}.safetensors").config
    assert LAYERS_AND_WIDTH[role] == (config.layers + config.verifier_layers, config.width)


def test_a_fitted_policy_says_how_each_arm_draws(records: dict[str, list[Record]], tmp_path: Path) -> None:
    held = {name: [records[name]] for name in ("samples", "step revisions")}
    found = fit_policy([held], "with escalation", "expressions", cost_metrics(MODELS)["flops"], MODELS.labels, seed=0)
    assert [arm.name for arm in found.arms] == [name for name in ESCALATING if name in held]
    assert found.arms[1].strategy == {"name": "step_revisions", "chain_length": 4, "chains": 1, "trust": 0.9}
    flops = cost_metrics(MODELS)["flops"]
    read = [2 * (10 + 15) * record.candidates[0].uncached_prompt_tokens for record in records["samples"]]
    paid = [flops.cost(record.usage, 0, "model") for record in records["samples"]]
    assert found.unit == pytest.approx((np.mean(paid) - np.mean(read)) / 8)


def test_a_walk_pays_for_the_prompt_once_whatever_its_order(records: dict[str, list[Record]]) -> None:
    """One sample costs what a study charges for one, not a 64th of the prompt."""
    flops = cost_metrics(MODELS)["flops"]
    held = RecordedPool(drawn({name: [records[name]] for name in ("samples", "beam")}, flops))
    walk, every = ReplayEnv(held, 3, seed=1), np.arange(3 * 12)
    prompts = np.array([record.candidates[0].uncached_prompt_tokens for record in records["samples"]])[walk.problems]
    walk.draw(0, every)
    place = walk.orders[0][every, 0]
    tokens = np.array([[c.tokens for c in r.candidates] for r in records["samples"]])[walk.problems, place]
    assert walk.spent == pytest.approx(2.0 * (10 + 15) * (prompts + tokens))
    for _ in range(7):
        walk.draw(0, every)
    whole = np.array([flops.cost(record.usage, 0, "model") for record in records["samples"]])[walk.problems]
    assert walk.spent == pytest.approx(whole)
    walk.draw(1, every)
    search = np.array([flops.cost(record.usage, 0, "model") for record in records["beam"]])[walk.problems]
    assert walk.spent == pytest.approx(whole + search - 2.0 * (10 + 15) * prompts)


def test_a_study_says_what_was_replaced_and_where_samples_repeat_one_another() -> None:
    text = "We add them up, one after the other. " * 9
    same = [CandidateRecord("2", 0.5, 1.0, 90, True, text=text, notes=("a note",)) for _ in range(4)]
    sure = [replace_fields(one, mean_token_prob=0.5) for one in same]
    records = [Record("pool", "model", {}, 0, str(problem), candidates=same) for problem in range(5)]
    assert _noted(records) == ["In 20 of 20 solutions a note."]
    (unknown,) = _repeated([records])
    assert unknown.startswith("All samples of 5 of 5 problems are one and the same text. At more than 300 characters")
    (known,) = _repeated([[replace_fields(record, candidates=sure) for record in records]])
    assert "By the model's own probabilities this is no chance" in known


def test_the_embedded_samples_repeat_by_chance_alone(records: dict[str, list[Record]]) -> None:
    assert _repeated([records["samples"]]) == []


def test_what_spends_more_than_its_budget_is_no_choice_at_it() -> None:
    def row(n: int, generations: float, flops: float) -> StrategyRow:
        usage = {"generations": np.array([generations, generations]), "flops": np.array([flops, flops])}
        return StrategyRow("beam search", {"name": "beam_search"}, "weighted", n, np.zeros(2), usage)

    within, cheap, over, other = row(16, 17.5, 9), row(16, 3, 1), row(16, 17.7, 5), row(4, 4, 2)
    assert at_budget([within, cheap, over, other], 16) == [cheap, within]
    assert at_budget([over, other], 16) == [over]
