"""A study's headline numbers with a verifier of middling quality, and with a larger model that is not nearly perfect.

    computewise study && python benchmarks/harder_bench.py runs/study

The embedded verifier knows more than the model that it judges, and `large` is right nine times in ten. How much of a
study's numbers is that? From the study's own records, nothing is sampled again:

* *blurred*: each value v becomes (1 - w) v + w u, where u in [0, 1] is drawn once for each text of each problem. w is
  set so that the AUROC within a problem over the pool is about `AUROC`. The steps' scores are dropped.
* *orm*: the outcome verifier has read the recorded texts, without earlier attempts: a real verifier that is middling.
* *large of 3*: each draw of the larger model is one of `large`'s, or else one of `small`'s that the study used only to
  place problems in bins. The chance of the former is log 3 / log M, where `large` has M times `small`'s parameters.

In *both* the values are blurred and the larger model is the smaller one. Searches and step revisions were led by the
clear verifier, so they take no part, in the setting *samples* neither; the chains of revisions stay, although their
model saw the clear verifier's doubts. Costs are FLOPs.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from msgspec.structs import replace as replace_fields

from computewise.core import LARGE, MODEL, Candidate, Problem, Step
from computewise.metrics import within_auroc
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.runs import CandidateRecord, Record, last_records, read_problems
from computewise.session import derive_seed
from computewise.setups.base import Roles
from computewise.setups.embedded import embedded_roles
from computewise.study.analysis.analyse import analyse
from computewise.study.analysis.paper import SHARES
from computewise.study.analysis.summary import summarise
from computewise.study.plan import StudyConfig, plan, restore_config
from computewise.verifiers.embedded import EmbeddedORM

AUROC = 0.85
TIMES = 3
SEED = 0
PURPOSES = ("pool", "difficulty", "chains", "greedy")


@dataclass(frozen=True)
class Bench:
    """What a study would have recorded, and its models."""

    records: Sequence[Record]
    models: Roles


def benches(records: Sequence[Record], models: Roles, problems: Mapping[str, Problem]) -> dict[str, Bench]:
    """The settings by name; `problems` are by their ids."""
    models = replace(models, prices={}, speeds={})
    samples = replace(models, steps=False)
    smaller = replace(samples, sizes={**samples.sizes, LARGE: TIMES * samples.sizes[MODEL]})
    blurred, mixed = blur(records, AUROC), middle(records, models)
    return {
        "as recorded": Bench(records, models),
        "samples": Bench(records, samples),
        "blurred": Bench(blurred, samples),
        "orm": Bench(asyncio.run(by_outcome(records, problems)), samples),
        f"large of {TIMES}": Bench(mixed, smaller),
        "both": Bench(blur(mixed, AUROC), smaller),
    }


def blur(records: Sequence[Record], auroc: float) -> list[Record]:
    """The records with values mixed with as much noise as leaves that AUROC; unchanged where it is lower already.

    A right solution is often the same text, so the AUROC falls in steps: the last share before it falls below is taken.
    """
    clear, worst = 0.0, 1.0
    if pool_auroc(records) <= auroc:
        return list(records)
    for _ in range(12):
        share = (clear + worst) / 2
        if pool_auroc([_blurred(r, share) for r in records if _in_pool(r)]) > auroc:
            clear = share
        else:
            worst = share
    return [_blurred(record, clear) for record in records]


def pool_auroc(records: Sequence[Record]) -> float:
    """Within a problem, over the samples of the pool."""
    pool = [record for record in records if _in_pool(record) and not record.error]
    values = np.array([one.value for record in pool for one in record.candidates])
    right = np.array([one.correct for record in pool for one in record.candidates])
    problem = np.array([index for index, record in enumerate(pool) for _ in record.candidates])
    return within_auroc(values, right, problem)


def _in_pool(record: Record) -> bool:
    return (record.purpose, record.role) == ("pool", MODEL)


def _blurred(record: Record, share: float) -> Record:
    def of(one: CandidateRecord) -> CandidateRecord:
        noise = Random(derive_seed(SEED, record.problem, one.text)).random()
        value = (1 - share) * one.value + share * noise
        return replace_fields(one, value=value, score_mean=value, score_min=value, scores=())

    return replace_fields(record, candidates=[of(one) for one in record.candidates])


async def by_outcome(records: Sequence[Record], problems: Mapping[str, Problem]) -> list[Record]:
    """The records with the values of `orm`; searches and their trees, which take no part, as they are."""
    verifier = EmbeddedORM(EngineLoop())
    read: dict[str, set[tuple[str, bool]]] = {}
    for record in records:
        if record.purpose in PURPOSES:
            texts = {(one.text, one.answer is not None) for one in record.candidates}
            read.setdefault(record.problem, set()).update(texts)
    scores: dict[tuple[str, str], tuple[float, ...]] = {}
    for problem, texts in read.items():
        candidates = [
            Candidate(
                str(index),
                None,
                tuple(Step(line, len(line), 0.0) for line in text.splitlines(keepends=True)),
                end="stop" if ended else "length",
            )
            for index, (text, ended) in enumerate(sorted(texts))
            if text
        ]
        found, _ = await verifier.score(problems[problem], candidates)
        scores |= {(problem, c.text): each for c, each in zip(candidates, found, strict=True)}

    def of(one: CandidateRecord, problem: str) -> CandidateRecord:
        held = scores.get((problem, one.text), (0.0,))
        mean = sum(held) / len(held)
        return replace_fields(one, value=held[-1], score_mean=mean, score_min=min(held), scores=held)

    return [
        replace_fields(record, candidates=[of(one, record.problem) for one in record.candidates])
        if record.purpose in PURPOSES
        else record
        for record in records
    ]


def middle(records: Sequence[Record], models: Roles) -> list[Record]:
    """The records with the larger model's draws mixed with `small`'s."""
    chance = math.log(TIMES) / math.log(models.sizes[LARGE] / models.sizes[MODEL])
    spare = {r.problem: r for r in records if r.purpose == "difficulty"}
    greedy = {r.problem: r for r in records if (r.purpose, r.role) == ("greedy", MODEL)}
    found = []
    for record in records:
        if record.role != LARGE or record.error:
            found.append(record)
            continue
        small = (greedy if record.purpose == "greedy" else spare)[record.problem]
        dice = Random(derive_seed(SEED, record.problem, record.purpose, record.seed))
        count = len(record.candidates)
        mixed = [
            theirs if dice.random() < chance else ours
            for theirs, ours in zip(record.candidates, small.candidates[-count:], strict=True)
        ]
        change = sum(one.tokens for one in mixed) - sum(one.tokens for one in record.candidates)
        usage = replace(
            record.usage,
            completion_tokens=record.usage.completion_tokens + change,
            verifier_tokens=record.usage.verifier_tokens + change,
        )
        found.append(replace_fields(record, candidates=mixed, usage=usage))
    return found


Cell = Callable[[dict[str, Any]], str]


def rows(config: StudyConfig) -> dict[str, Cell]:
    """The headline numbers by name."""
    most = config.budgets[-1]
    found: dict[str, Cell] = {
        "AUROC within a problem": lambda s: estimate(
            s["verifiers"]["verifier"]["auroc_within_problem"], s["verifiers"]["verifier"]["ci95"], 1, 3
        ),
        "one sample": lambda s: _curve(s, "single sample", 1),
        "larger model, greedy": lambda s: estimate(s["large"]["accuracy"], s["large"]["ci95"]),
    }
    for n in config.budgets[1:]:
        found[f"majority of {n}"] = lambda s, n=n: _curve(s, "best-of-N, majority", n)
        found[f"best-of-{n} weighted"] = lambda s, n=n: _curve(s, "best-of-N, weighted", n)
    for n in config.budgets[1:]:
        found[f"compute-optimal minus best fixed, N = {n}"] = lambda s, n=n: _compared(s, n)
    for scope in ("how much", "which and how much", "with escalation"):
        found[f"controller, {scope}, minus best fixed, mean over budgets"] = lambda s, k=scope: _controller(s, k)
    found["policy chosen"] = lambda s: s["policy_chosen"]["rung"] if "policy_chosen" in s else "–"
    found["policy chosen minus best fixed, mean over budgets"] = _chosen
    found["controller with escalation minus the larger model at its cost"] = _beside
    for index, share in enumerate(SHARES):
        found[f"small with its controller minus larger, R = {share:g}"] = lambda s, i=index: _exchange(s, i)
    found[f"one chain of {most} minus {most} parallel attempts"] = lambda s: _sequential(s, most)
    return found


def _curve(summary: dict[str, Any], label: str, n: int) -> str:
    row = next(row for row in summary["curves"] if (row["label"], row["n"]) == (label, n))
    return estimate(row["accuracy"], row["ci95"])


def _compared(summary: dict[str, Any], n: int) -> str:
    sides = "compute-optimal, predicted bins", "best fixed strategy"
    for each in summary["comparisons"]:
        if (each["n"], each["policy"], each["against"]) == (n, *sides):
            return estimate(each["difference"], each["ci95"])
    return "–"


def _controller(summary: dict[str, Any], scope: str) -> str:
    held = summary["controller"]["flops"]["mean_minus_best_fixed"].get(scope)
    return estimate(held["difference"], held["difference_ci95"]) if held else "–"


def _chosen(summary: dict[str, Any]) -> str:
    held = summary.get("chosen_minus_best_fixed")
    return estimate(held["mean"][0], held["mean"][1:]) if held else "–"


def _beside(summary: dict[str, Any]) -> str:
    held = summary["controller"]["flops"]["beside_large"]
    return estimate(held["difference"], held["difference_ci95"]) if held else "–"


def _exchange(summary: dict[str, Any], index: int) -> str:
    at = summary["exchange_over_R"]["at"][index]
    return estimate(at["difference"], at["difference_ci95"])


def _sequential(summary: dict[str, Any], n: int) -> str:
    for row in summary["ratios"]:
        if (row["n"], row["chains"], row["selection"], row["gated"]) == (n, 1, "hierarchical", False):
            return estimate(row["minus_parallel"]["difference"], row["minus_parallel"]["ci95"])
    return "–"


def estimate(value: float, bounds: Sequence[float], scale: float = 100, digits: int = 1) -> str:
    """A number with its interval."""
    return f"{scale * value:.{digits}f} [{scale * bounds[0]:.{digits}f}, {scale * bounds[1]:.{digits}f}]"


def main(directory: Path) -> None:
    """Print a table: one row for each number, one column for each setting."""
    config = restore_config(json.loads((directory / "config.json").read_text()))
    summaries = {}
    recorded, problems = list(last_records(directory)), read_problems(directory)
    for name, bench in benches(recorded, embedded_roles(), problems).items():
        analysis = analyse(config, plan(config, bench.models), bench.records, bench.models)
        summaries[name] = summarise(config, "expressions", analysis)
        print(f"analysed: {name}", file=sys.stderr)
    print(f"| {summaries['samples']['problems']} problems | {' | '.join(summaries)} |")
    print("|---" * (1 + len(summaries)) + "|")
    for name, cell in rows(config).items():
        print(f"| {name} | {' | '.join(cell(summary) for summary in summaries.values())} |")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "records.jsonl").exists():
        sys.exit("usage: python benchmarks/harder_bench.py RUN, the directory of a finished study")
    one_thread()
    main(Path(sys.argv[1]))
