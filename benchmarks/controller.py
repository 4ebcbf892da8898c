"""The controller on `expressions`: fitted on validation problems, proven on test problems, every token charged.

    python benchmarks/controller.py fit 900        writes the policy that is shipped
    python benchmarks/controller.py prove 400 3    that policy on test problems, with three seeds
    python benchmarks/controller.py large 1000     the same beside `large`, and best-of-64, on more problems: one seed

`prove` prints, for the cost of every fixed strategy, the controller at no more than that cost beside the best of all
fixed strategies that cost no more. That best is picked in hindsight on the very problems it is measured on, which
favours it; the controller has never seen them. Strategies that the controller does not draw by are run with one seed,
the rest with all. The price is solved for the budget over all the problems, for which no
label is needed; what the price solved on the validation problems comes to is printed beside it.

What is run is recorded in runs/controller-SPLIT, so a killed run goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from computewise.controller import frontier as walked
from computewise.controller.controller import read_controller
from computewise.controller.file import POLICIES
from computewise.controller.replay import RecordedPool
from computewise.core import LARGE, MODEL, Role, Usage
from computewise.intervals import Curve, difference, proportion, simultaneous, times_fewer
from computewise.metrics import Floats
from computewise.models.embedded.engine import one_thread
from computewise.runs import Key, Record, RunDirectory, make_key
from computewise.session import Strategy
from computewise.setups.embedded import EmbeddedSpec
from computewise.strategies import (
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    Greedy,
    ParticleFilter,
    Rebase,
    StepRevisions,
    strategy_to_dict,
)
from computewise.study.analysis.controller import Runs, drawn, fit_policy
from computewise.study.analysis.tables import SamplePool, cost_metrics, elected
from computewise.study.executors import executor_for
from computewise.study.plan import LARGER as LARGER_SAMPLES
from computewise.study.plan import SEARCH, Run, search_seeds
from computewise.study.run import measure
from computewise.tasks.arithmetic import find_task

Outcome = tuple[Floats, Floats]
Records = dict[Key, list[Record]]
TASK = "expressions"
SOURCE = EmbeddedSpec(TASK)
MODELS = SOURCE.roles()
FLOPS = cost_metrics(MODELS)["flops"]
REVISIONS = StepRevisions(16, 4)
SCOPE = "with escalation"
ORDERS = 8
RIVALS: tuple[Strategy, ...] = (
    Greedy(),
    *(BeamSearch(n, 4) for n in (4, 16)),
    *(strategy(n) for n in (4, 16, 64) for strategy in (Rebase, ParticleFilter, AdaptiveBranching)),
    *(StepRevisions(length, 1) for length in (4, 16, 64)),
    StepRevisions(32, 2),
)
"""The rivals of the controller, besides best-of-N and the arms it draws by."""


def arms(seed: int) -> dict[str, list[Run]]:
    """The runs whose records are the draws of each arm."""
    return {
        "samples": [Run("pool", MODEL, strategy_to_dict(BestOfN(64)), seed, 64)],
        "particle filter": [
            Run("draws", MODEL, strategy_to_dict(SEARCH), other, SEARCH.n) for other in search_seeds(seed)
        ],
        "step revisions": [Run("arm", MODEL, strategy_to_dict(REVISIONS), seed, 64)],
        "large, greedy": [Run("greedy", LARGE, strategy_to_dict(Greedy()), 0, 1)],
        "large, samples": [Run("pool", LARGE, strategy_to_dict(BestOfN(LARGER_SAMPLES)), seed, 8 * LARGER_SAMPLES)],
    }


def rivals(seed: int) -> list[Run]:
    """The runs of the fixed strategies."""
    return [Run("rival", MODEL, strategy_to_dict(strategy), seed, 16) for strategy in RIVALS]


def run(split: str, problems: int, runs: Sequence[Run]) -> Records:
    """The records of each run by problem; recorded runs are not repeated."""
    asked = find_task(TASK).problems(split, problems, 0)
    directory = RunDirectory(Path("runs") / f"controller-{split}", {"split": split}, resume=True)
    records = measure(runs, SOURCE, asked, directory, executor=executor_for(SOURCE), progress=_progress)
    return {_key(one): records[at * problems : (at + 1) * problems] for at, one in enumerate(runs)}


def _key(one: Run) -> Key:
    return make_key(one.purpose, one.role, one.strategy, one.seed, "")


def fit(problems: int) -> None:
    """Fit the policy that is shipped."""
    held = arms(0)
    records = run("validation", problems, _each(held))
    one_thread()
    found = fit_policy([_of(held, records)], SCOPE, TASK, FLOPS, MODELS.labels, seed=0)
    path = POLICIES / f"{TASK}.json"
    path.write_text(found.to_json())
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def prove(problems: int, seeds: int) -> None:
    """Compare the shipped policy with all fixed strategies."""
    held = [arms(seed) for seed in range(seeds)]
    records = run("test", problems, _each(*held) + rivals(0))
    one_thread()
    fitted = read_controller(POLICIES / f"{TASK}.json", models=("small", "large"), verifier="prm")
    workload = RecordedPool([one for each in held for one in drawn(_of(each, records), FLOPS)])
    path = fitted.rule.follow(workload, repeats=ORDERS, seed=0)
    fixed = _fixed(held, records)
    unit = fitted.unit
    most, large = fixed["best-of-64 weighted"], fixed["large, greedy, not verified"]
    print(f"{problems} test problems, {seeds} seeds; costs in verified samples of `small` ({unit:.2e} FLOPs)\n")
    print("| fixed strategy | cost | accuracy |\n|---|---|---|")
    for name, (accuracy, cost) in sorted(fixed.items(), key=lambda item: float(item[1][1].mean())):
        print(f"| {name} | {cost.mean() / unit:.2f} | {_percent(accuracy)} |")
    columns = ("at the cost of", "controller's cost", "accuracy", "best fixed", "minus it", "- best-of-64", "- large")
    print(f"\n| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|")
    against = []
    for name, (_, cost) in sorted(fixed.items(), key=lambda item: float(item[1][1].mean())):
        budget = float(cost.mean())
        if budget < path.spent[:, 0].mean():
            continue
        accuracy, spent = _by_problem(path.at(path.price(budget)), seeds)
        affordable = {rival: one for rival, one in fixed.items() if one[1].mean() <= budget * (1 + 1e-9)}
        best = max(affordable, key=lambda rival: float(affordable[rival][0].mean()))
        against.append(accuracy - fixed[best][0])
        print(
            f"| {name}: {budget / unit:.2f} | {spent.mean() / unit:.2f} | {_percent(accuracy)} | {best} "
            f"| {_points(accuracy - fixed[best][0])} | {_points(accuracy - most[0])} | {_points(accuracy - large[0])} |"
        )
    at_worst = min(one.low for one in simultaneous(np.stack(against)))
    print(f"\nminus the best fixed at least {100 * at_worst:+.1f} points at every cost, with 95 % confidence for all")
    _quarter(path, most, seeds)
    print("\n| mean cost asked for | cost at the price solved on validation problems | accuracy |\n|---|---|---|")
    for asked in (2, 4, 8, 16, 32):
        accuracy, spent = _by_problem(path.at(fitted.rule.price_for(asked)), seeds)
        print(f"| {asked} | {spent.mean() / unit:.2f} | {_percent(accuracy)} |")


def beside_large(problems: int) -> None:
    """Compare the shipped policy with `large`'s greedy answer, and with best-of-64 at a quarter of its cost."""
    held = arms(0)
    records = run("test", problems, _each(held))
    one_thread()
    fitted = read_controller(POLICIES / f"{TASK}.json", models=("small", "large"), verifier="prm")
    path = fitted.rule.follow(RecordedPool(drawn(_of(held, records), FLOPS)), repeats=ORDERS, seed=0)
    fixed = _fixed([held], records, others=False)
    most, large = fixed["best-of-64 weighted"], fixed["large, greedy, not verified"]
    print(f"{problems} test problems, one seed\n")
    print("| budget | cost | accuracy | minus large, greedy | minus best-of-64 weighted |\n|---|---|---|---|---|")
    for name, budget in (("large, greedy", large[1].mean()), ("a quarter of best-of-64", most[1].mean() / 4)):
        accuracy, spent = path.at(path.price(float(budget)))
        print(
            f"| {name}: {budget / fitted.unit:.2f} | {spent.mean() / fitted.unit:.2f} | {_percent(accuracy)} "
            f"| {_points(accuracy - large[0])} | {_points(accuracy - most[0])} |"
        )
    print(f"\nlarge, greedy: {_percent(large[0])}; best-of-64 weighted: {_percent(most[0])}")
    _quarter(path, most, 1)


def _quarter(path: walked.StoppingPath, most: Outcome, seeds: int) -> None:
    """How many times less than best-of-64 the controller spends from where on it is as accurate."""
    shares = (np.arange(1, 65) / 64 * float(most[1].mean())).tolist()
    points = [_by_problem(path.at(path.price(share)), seeds) for share in shares]
    ours = Curve(np.stack([one[0] for one in points], -1), np.stack([one[1] for one in points], -1))
    _, _, times = times_fewer(ours, Curve(most[0][:, None], most[1][:, None]))
    if times.value:
        print(f"\nbest-of-64's accuracy for {times.value:.1f} [{times.low:.1f}, {times.high:.1f}] times fewer FLOPs")
    else:
        print("\nnever as accurate as best-of-64")


def _fixed(held: list[dict[str, list[Run]]], records: Records, *, others: bool = True) -> dict[str, Outcome]:
    """Accuracy and FLOPs of every fixed strategy, (problems,) each, means over seeds."""
    found: dict[str, list[Outcome]] = {}
    for index, each in enumerate(held):
        pool = SamplePool(records[_key(each["samples"][0])])
        for n in (2, 4, 8, 16, 32, 64):
            cost = _flops(pool.usage(n, verified=True), MODEL)
            found.setdefault(f"best-of-{n} weighted", []).append((pool.accuracy("weighted", n), cost))
        plain = pool.accuracy("best", 1), _flops(pool.usage(1, verified=False), MODEL)
        found.setdefault("one sample, not verified", []).append(plain)
        greedy = records[_key(each["large, greedy"][0])]
        found.setdefault("large, greedy, not verified", []).append(
            (_right(greedy, "best"), _flops(_bare(greedy), LARGE))
        )
        several = records[_key(each["large, samples"][0])]
        larger = SamplePool(several)
        for n in range(2, LARGER_SAMPLES + 1):
            outcome = larger.accuracy("weighted", n), _flops(larger.usage(n, verified=True), LARGE)
            found.setdefault(f"large, best-of-{n} weighted", []).append(outcome)
        for one in [
            *(rivals(0) if others and index == 0 else ()),
            each["step revisions"][0],
            each["particle filter"][0],
        ]:
            runs = records[_key(one)]
            chains = one.strategy["name"] in ("step_revisions", "adaptive_branching")
            outcome = _right(runs, "hierarchical" if chains else "weighted"), _flops([r.usage for r in runs], MODEL)
            name = " ".join(str(value) for value in one.strategy.values())
            found.setdefault(name, []).append(outcome)
            if one.strategy["name"] == "greedy":
                found.setdefault("greedy, not verified", []).append((outcome[0], _flops(_bare(runs), MODEL)))
    return {name: (np.mean([a for a, _ in each], 0), np.mean([c for _, c in each], 0)) for name, each in found.items()}


def _bare(records: list[Record]) -> list[Usage]:
    return [replace(record.usage, verifier_tokens=0, cached_verifier_tokens=0) for record in records]


def _right(records: list[Record], selection: str) -> Floats:
    return np.array([elected(record, selection) for record in records], float)


def _flops(usages: list[Usage], role: Role) -> Floats:
    return np.array([FLOPS.cost(usage, 0, role) for usage in usages])


def _of(held: dict[str, list[Run]], records: Records) -> dict[str, Runs]:
    return {name: [records[_key(one)] for one in runs] for name, runs in held.items()}


def _each(*held: dict[str, list[Run]]) -> list[Run]:
    """The distinct runs."""
    found: list[Run] = []
    for one in (one for each in held for runs in each.values() for one in runs):
        if one not in found:
            found.append(one)
    return found


def _by_problem(outcome: Outcome, seeds: int) -> Outcome:
    return outcome[0].reshape(seeds, -1).mean(0), outcome[1].reshape(seeds, -1).mean(0)


def _percent(accuracy: Floats) -> str:
    value, low, high = (100 * one for one in proportion(accuracy))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _points(paired: Floats) -> str:
    value, low, high = (100 * one for one in difference(paired))
    return f"{value:+.1f} [{low:.1f}, {high:.1f}]"


def _progress(what: str, done: int, total: int) -> None:
    if done % 1000 < 50:
        print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fit", problems]:
            fit(int(problems))
        case ["large", problems]:
            beside_large(int(problems))
        case ["prove", problems, seeds]:
            prove(int(problems), int(seeds))
        case _:
            sys.exit(__doc__)
