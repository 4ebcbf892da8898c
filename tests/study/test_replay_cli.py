"""`computewise replay` as a person meets it: recordings in, a summary, a policy and a page out, and clear mistakes."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import numpy as np
import pytest
from quick import quick_controllers
from shell import Said, Shell
from worlds import sampled

from computewise.controller.controller import UNNAMED, read_controller
from computewise.controller.ladder import RuleFitter
from computewise.errors import RunError
from computewise.report.replay_page import write_replay_report
from computewise.samples import ProblemSamples
from computewise.study.recorded.escalation import Sizes, escalation

RULES = ("uniform", "controller", "oracle")
PUBLISHED = ("adaptive_consistency", "doubt_per_draw", "esc", "its_hub", "normal", "short_m_at_k")
BUDGETS = [1, 2, 3, 4, 6, 8]
QUICK = ("--orders", "2", "--splits", "1")
PROBLEMS, SAMPLES = 30, 8
NAMES = ("Ann", "Ben", "Cora", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Joe")
THINGS = ("apples", "books", "coins", "pens", "shells", "stamps", "nuts", "kites")

Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick_controllers():
        yield


def recorded(seed: int = 0, better: float = 0.0, first: int = 0) -> list[Row]:
    """Word problems, hard to easy, each solved at least once, and a verifier that often knows; a larger model is
    `better`.
    """
    rows = []
    for number in range(first, first + PROBLEMS):
        words = random.Random(number)
        name, friend = words.sample(NAMES, 2)
        many, few, thing = words.randint(100, 999), words.randint(10, 99), words.choice(THINGS)
        drawn = random.Random(f"{seed} {number}")
        ease = (number - first + 1) / (PROBLEMS + 2) + better
        asked = f"{name} has {many} {thing} and gives {few} of them to {friend}."
        rows.append(
            {
                "problem": f"{asked} How many {thing} are left to {name}?",
                "answer": str(many - few),
                "unique_id": f"p{number}",
                "samples": [_sample(drawn, asked, many - few, ease, draw) for draw in range(SAMPLES)],
            }
        )
    return rows


def _sample(drawn: random.Random, asked: str, answer: int, ease: float, draw: int) -> Row:
    off = 0 if drawn.random() < ease or not draw else drawn.randint(1, 4)
    value = min(max(drawn.gauss(0.35 if off else 0.65, 0.2), 0.01), 0.99)
    return {
        "text": f"{asked} This is attempt {draw}, number {drawn.random()}.\n\nSo {answer + off} are left.",
        "step_scores": [0.5, value],
        "answer": str(answer + off),
        "answer_class": off,
        "correct": not off,
        "tokens": drawn.randint(20, 60),
    }


def write(path: Path, rows: list[Row]) -> Path:
    """As JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: str | Path, where: Path) -> Said:
    """`computewise replay ARGUMENTS`."""
    return Shell(where)("replay", *map(str, arguments))


def strict(path: Path) -> Any:
    """What a JSON file holds; NaN and infinities are no JSON."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def finished(*arguments: str | Path, out: Path, quick: tuple[str, ...] = QUICK) -> Row:
    """The summary of a run that went well, its page checked for standing alone."""
    said = run(*arguments, *quick, "--out", out, where=out.parent)
    assert said.code == 0, said
    assert said.err == ""
    assert said.out.endswith(f"report: {out / 'report.html'}\n")
    summary: Row = strict(out / "summary.json")
    assert set(summary["frontier"]) == set(RULES)
    for rule in RULES:
        points = summary["frontier"][rule]
        assert [point["budget"] for point in points] == BUDGETS[: len(points)]
        for point in points:
            same = summary["frontier"]["uniform"][points.index(point)]
            assert 0 < point["mean_cost"] <= same["mean_cost"] * (1 + 1e-9)
    assert sorted(summary["rules"]) == sorted(PUBLISHED)
    for point in chain(*summary["frontier"].values(), *summary["rules"].values()):
        low, high = point["ci95"]
        assert low - 1e-9 <= point["accuracy"] <= high + 1e-9
        assert point["mean_samples"] > 0
        assert point["mean_tokens"] > 0
    _alone((out / "report.html").read_text())
    return summary


def _alone(page: str) -> None:
    urls = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1999/xhtml"}
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b|@import|\bsrc=", page)
    assert set(re.findall(r'(?<!:)href="([^#][^"]*)"', page)) <= {
        f"figures/{name}.{kind}" for name in ("frontier", "escalation", "exchange_over_R") for kind in ("png", "svg")
    }
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', page)) <= set(ids)
    assert "NaN" not in page
    assert "None" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def text(page: Path) -> str:
    """What a person reads, without figures and tags."""
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(bare.replace("&#39;", "'").split())


def test_a_file_is_split_and_its_faults_come_before_any_number(tmp_path: Path) -> None:
    rows = recorded()
    rows[3]["samples"][4]["text"] += " It is so, without any doubt." * 10
    rows[3]["samples"][5] = rows[3]["samples"][4]
    rows[7]["samples"][2] = rows[8]["samples"][2]
    file, out = write(tmp_path / "small.jsonl", rows), tmp_path / "out"
    summary = finished(file, out=out)
    assert {"equal texts", "completions of two problems"} <= {one["kind"] for one in summary["findings"]}
    assert summary["problems"] == {"fit": PROBLEMS, "evaluate": PROBLEMS}
    said = text(out / "report.html")
    for finding in summary["findings"]:
        assert finding["text"] in said
        assert said.index(finding["text"]) < said.index("Accuracy in %")
    assert said.index("Each counts as a sample") < said.index("At equal cost")
    assert "perhaps they were attached to the wrong one" in said
    for shown in ("Split by problem", "needs no labels", "accuracy curve in advance", "Calibration error"):
        assert shown in said
    assert "larger model" not in said
    assert "over 2 to 8 samples" in said
    assert summary["cost"] == "tokens"  # each sample has a count
    controller = read_controller(out / "controller.json", models=[UNNAMED], verifier=UNNAMED)
    assert controller.arms[0].limit == SAMPLES
    with pytest.raises(RunError, match="was fitted without the name of its model"):
        read_controller(out / "controller.json", models=["llama"], verifier="prm")


def test_another_file_is_measured_on(tmp_path: Path) -> None:
    fit = write(tmp_path / "a.jsonl", recorded())
    evaluate = write(tmp_path / "b.jsonl", recorded(seed=1, first=100)[:-2])
    summary = finished("--fit", fit, "--evaluate", evaluate, "--aggregation", "mean", out=tmp_path / "out")
    assert summary["problems"] == {"fit": PROBLEMS, "evaluate": PROBLEMS - 2}
    said = text(tmp_path / "out" / "report.html")
    assert f"Fitted on the {PROBLEMS} problems of one file and measured on the {PROBLEMS - 2} of another" in said
    assert "Nothing wrong was found" in said


def test_problems_in_both_files_are_said(tmp_path: Path) -> None:
    fit = write(tmp_path / "a.jsonl", recorded())
    evaluate = write(tmp_path / "b.jsonl", recorded(seed=1, first=10))
    finished("--fit", fit, "--evaluate", evaluate, out=tmp_path / "out")
    assert f"{PROBLEMS - 10} problems are in both files" in text(tmp_path / "out" / "report.html")


def test_with_a_larger_model_it_is_escalated_to_and_exchanged(tmp_path: Path) -> None:
    fit = write(tmp_path / "fit.jsonl", recorded())
    evaluate = write(tmp_path / "evaluate.jsonl", recorded(first=100))
    larger = [*recorded(seed=2, better=0.3), *recorded(seed=2, better=0.3, first=100)[:-1]]
    large = write(tmp_path / "large.jsonl", larger)
    out = tmp_path / "out"
    models = ("--large", large, "--parameters", "1e9", "8e9")
    summary = finished("--fit", fit, "--evaluate", evaluate, *models, out=out)
    held = summary["escalation"]
    assert held["problems"] == PROBLEMS - 1
    assert [one["samples"] for one in held["large_alone"]] == list(range(1, SAMPLES + 1))
    for large_alone, one in zip(held["large_alone"], held["at_equal_cost"], strict=True):
        for rule in ("escalating", "small_alone"):
            assert one[rule]["cost"] <= 1.05 * large_alone["cost"]
        assert 0 <= one["escalated"] <= 1
    assert {path.stem for path in (out / "figures").iterdir()} == {"frontier", "escalation", "exchange_over_R"}
    said = text(out / "report.html")
    for shown in ("8 G parameters", "Break-even R", "Problems escalated", "only these are used", "is not charged"):
        assert shown in said
    charged = finished("--fit", fit, "--evaluate", evaluate, *models, "--verifier-parameters", "8e9", out=out / "v")
    more = charged["escalation"]
    assert more["large_alone"][0]["cost"] < held["large_alone"][0]["cost"]  # 16 to 9 by token, where it was 8 to 1
    assert "of the verifier of 8 G parameters" in text(out / "v" / "report.html")


def test_a_promise_is_made_or_refused_in_a_sentence(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", recorded())
    summary = finished(file, "--lose-at-most", "0.02", out=tmp_path / "out")
    assert summary["promise"]["price"] is None
    said = text(tmp_path / "out" / "report.html")
    assert f"cannot be promised with {PROBLEMS} problems at 90 % confidence: it takes at least" in said
    assert "Which policy was chosen" in said
    assert "With a running price" in said
    likely = finished(file, "--lose-at-most", "0.5", "--confidence", "0.8", out=tmp_path / "more")
    assert likely["promise"]["mean_cost"] < likely["promise"]["most_cost"]


def test_the_policy_is_chosen_and_stands_beside_every_rung(tmp_path: Path) -> None:
    summary = finished(write(tmp_path / "a.jsonl", recorded()), out=tmp_path / "out")
    held = json.loads((tmp_path / "out" / "controller.json").read_text())
    assert summary["policy_chosen"]["rung"] == held["rung"]
    assert summary["policy_chosen"]["why"]
    assert set(summary["rivals"]) == {
        "equal samples",
        "doubt per draw",
        "error per draw",
        "generic",
        "formula",
        "forest",
    }
    for points in summary["rivals"].values():
        assert [point["cost"] for point in points] == [one["cost"] for one in points]
        assert all(point["ci95"][0] <= point["accuracy"] <= point["ci95"][1] for point in points)
    beside = summary["chosen_minus_best_fixed"]
    assert len(beside["budgets"]) == len(BUDGETS) - 1
    estimate, low, high = beside["mean"]
    assert low < estimate < high
    assert all(low <= one <= high for one, low, high in (point["difference"] for point in beside["budgets"]))


def test_of_two_equal_models_no_fifth_of_the_problems_belongs_to_one() -> None:
    """Bins from the samples that are measured would make every lucky problem an easy one of the small model."""
    rng = np.random.default_rng(0)
    problems = [
        ProblemSamples(f"p{n}", "", {arm: sampled(rng, chance, 6) for arm in ("samples", "large")})
        for n, chance in enumerate(rng.beta(0.7, 0.7, 500))
    ]
    plain = partial(RuleFitter, rungs=("doubt per draw", "larger alone"))
    with patch("computewise.study.recorded.escalation.RuleFitter", plain):
        found = escalation(problems, None, Sizes(1.0, 1.001), orders=2, splits=1, seed=0)["exchange"]["curve"]
    one = [next(point for point in found[str(fifth)] if point["k"] < 1.2) for fifth in range(1, 6)]
    easy, hard = (np.mean([point["difference"] for point in part]) for part in (one[:2], one[3:]))
    assert abs(easy - hard) < 0.06


@pytest.mark.parametrize("right", [True, False])
def test_problems_that_are_all_alike_and_have_two_samples_leave_no_nan(right: bool, tmp_path: Path) -> None:
    rows = recorded()[:12]
    for row in rows:
        row["samples"] = [sample | {"correct": right, "answer_class": 0} for sample in row["samples"][:2]]
    file = write(tmp_path / "alike [all].jsonl", rows)
    summary = finished(file, "--large", file, "--parameters", "1", "8", out=tmp_path / "[b]out")
    assert {point["accuracy"] for rule in RULES for point in summary["frontier"][rule]} == {float(right)}


def test_without_scores_every_sample_is_one_vote_and_the_truth_is_told(tmp_path: Path) -> None:
    """Accuracy after all samples is that of the most frequent answer, the first of equals in random orders."""
    rows = recorded()
    for row in rows:
        for sample in row["samples"]:
            sample["step_scores"] = []
    summary = finished(
        write(tmp_path / "votes.jsonl", rows), out=tmp_path / "out", quick=("--orders", "60", "--splits", "1")
    )
    expected = []
    for row in rows:
        counts = Counter(sample["answer_class"] for sample in row["samples"])
        first = [answer for answer, count in counts.items() if count == max(counts.values())]
        expected.append((0 in first) / len(first))
    last = summary["frontier"]["uniform"][-1]
    assert last["accuracy"] == pytest.approx(sum(expected) / len(expected), abs=0.03)
    assert not summary["scored"]
    assert "the most frequent one" in text(tmp_path / "out" / "report.html")


def test_scores_are_left_out_where_there_will_be_no_verifier(tmp_path: Path) -> None:
    rows = recorded()
    scored = write(tmp_path / "scored.jsonl", rows)
    for row in rows:
        for sample in row["samples"]:
            sample["step_scores"] = []
    votes = write(tmp_path / "votes.jsonl", rows)
    without = finished(scored, "--verifier", "none", "--model", "llama", out=tmp_path / "a")
    plain = finished(votes, "--model", "llama", out=tmp_path / "b")
    assert without["frontier"] == plain["frontier"]
    read_controller(tmp_path / "a" / "controller.json", models=["llama"], verifier="none")
    read_controller(tmp_path / "b" / "controller.json", models=["llama"], verifier="none")


def test_a_controller_with_names_is_for_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", recorded())
    finished(file, "--model", "llama", "--verifier", "prm", "--task", "math500", out=tmp_path / "out")
    controller = read_controller(tmp_path / "out" / "controller.json", models=["llama"], verifier="prm")
    assert (controller.task, controller.currency) == ("math500", "tokens")
    assert controller.rule.log_tokens is not None
    with pytest.raises(RunError, match="for the verifier 'prm', not for 'none'"):
        read_controller(tmp_path / "out" / "controller.json", models=["llama"], verifier="none")


def test_accuracy_that_does_not_rise_saves_nothing(tmp_path: Path) -> None:
    """Every problem has one answer only: more samples cannot help, so nothing is times fewer."""
    rows = recorded()
    for number, row in enumerate(rows):
        for sample in row["samples"]:
            sample |= {"answer": str(number % 2), "answer_class": 0, "correct": bool(number % 2), "step_scores": []}
    summary = finished(write(tmp_path / "flat.jsonl", rows), out=tmp_path / "out")
    assert "there is nothing to save" in summary["sentence"]
    for one in summary["reached"]:
        assert one["times_fewer"] == pytest.approx(1)
        assert one["ci95"] == pytest.approx([1, 1])


def test_few_problems_are_not_called_better(tmp_path: Path) -> None:
    summary = finished(write(tmp_path / "few.jsonl", recorded()[:29]), out=tmp_path / "out")
    assert "too few problems to tell" in summary["sentence"]
    page = text(tmp_path / "out" / "report.html")
    assert "] better" not in page
    assert "] worse" not in page


def test_a_gain_on_average_has_an_interval_and_the_worst_budget_a_band(tmp_path: Path) -> None:
    summary = finished(write(tmp_path / "a.jsonl", recorded()), out=tmp_path / "out")
    mean, each = summary["mean_minus_uniform"], summary["controller_minus_uniform"][1:]
    assert mean["difference"] == pytest.approx(sum(one["difference"] for one in each) / len(each))
    assert mean["ci95"][0] < mean["difference"] < mean["ci95"][1]
    assert mean["at_worst"] < min(one["ci95"][0] for one in each)
    assert "with 95 % confidence for all at once" in summary["sentence"]


@pytest.mark.parametrize(("cost", "unit"), [("samples", 1.0), ("tokens", 40.0), ("dollars", 40e-6 * 3)])
def test_a_cost_is_what_was_asked_for(cost: str, unit: float, tmp_path: Path) -> None:
    """Samples of 20 to 60 tokens; a million tokens cost 3 dollars, prompts nothing."""
    file = write(tmp_path / "a.jsonl", recorded())
    prices = ("--prices", "0", "3") if cost == "dollars" else ()
    summary = finished(file, "--cost", cost, *prices, out=tmp_path / "out")
    first = summary["frontier"]["uniform"][0]
    assert first["mean_cost"] == pytest.approx(unit, rel=0.1)
    assert first["mean_samples"] == 1
    assert first["mean_tokens"] == pytest.approx(40, rel=0.1)
    assert cost in text(tmp_path / "out" / "report.html")


def test_budgets_go_as_far_as_the_samples_do(tmp_path: Path) -> None:
    """Two of thirty problems with fewer samples do not hide a budget; most of them do."""
    rows = recorded()
    for row in rows[:2]:
        row["samples"] = row["samples"][:6]
    few = [row | {"samples": row["samples"][: 3 if number % 2 else 8]} for number, row in enumerate(rows)]
    budgets = []
    for name, held in (("a", rows), ("b", few)):
        summary = finished(write(tmp_path / f"{name}.jsonl", held), out=tmp_path / name)
        budgets.append([point["budget"] for point in summary["frontier"]["uniform"]])
    assert budgets == [BUDGETS, [1, 2, 3]]


MISTAKES = {
    "no file": ([], "name one file"),
    "both": (["good.jsonl", "--fit", "good.jsonl"], "name one file"),
    "aggregation": (["good.jsonl", "--aggregation", "sum"], "allowed are last, min, prod, mean"),
    "no promise": (["good.jsonl", "--lose-at-most", "0"], "lose_at_most = 0"),
    "no parameters": (["good.jsonl", "--large", "good.jsonl"], "--parameters"),
    "parameters alone": (["good.jsonl", "--parameters", "1e9", "8e9"], "--large"),
    "larger first": (["good.jsonl", "--large", "good.jsonl", "--parameters", "8e9", "1e9"], "larger model's second"),
    "other columns": (["columns.jsonl"], "question, reply are not understood"),
    "missing": (["nowhere.jsonl"], "nowhere.jsonl"),
    "missing larger": (["good.jsonl", "--large", "nowhere.jsonl", "--parameters", "1", "8"], "nowhere.jsonl"),
    "another larger": (["good.jsonl", "--large", "others.jsonl", "--parameters", "1", "8"], "no problem in common"),
    "malformed": (["malformed.jsonl"], "line 1.samples"),
    "no JSON": (["broken.jsonl"], "line 1 is not JSON"),
    "another kind": (["good.txt"], "No such file"),
    "format": (["good.jsonl", "--format", "jsonl"], "unknown format 'jsonl': allowed are inspect, lm-eval, samples"),
    "role": (["good.jsonl", "--columns", "words=text"], "unknown column 'words' in --columns: allowed are id, prompt"),
    "scores": (["good.jsonl", "--scores", "raw"], "allowed are probability, logit"),
    "only": (["good.jsonl", "--only", "subject"], "write it as COLUMN=VALUE"),
    "no such column": (["good.jsonl", "--only", "model=x"], "has no column model for --only: it has problem, answer"),
    "no such value": (
        ["good.jsonl", "--only", "unique_id=x"],
        "has no row that --only chooses: it has unique_id=p0, p1",
    ),
    "grader": (["good.jsonl", "--grader", "maths"], "unknown grader 'maths': allowed are math, choice, exact"),
    "too few": (["few.jsonl"], "too few to split"),
    "unknown cost": (["good.jsonl", "--cost", "euros"], "allowed are samples, tokens, dollars"),
    "no prices": (["good.jsonl", "--cost", "dollars"], "need each other"),
    "prices alone": (["good.jsonl", "--prices", "1", "2"], "need each other"),
    "nothing scored": (["votes.jsonl", "--verifier", "prm"], "holds no scores"),
    "endless": (["good.jsonl", "--large", "good.jsonl", "--parameters", "1e9", "inf"], "finite"),
    "seed": (["good.jsonl", "--seed", "-1"], "at least 0"),
    "no orders": (["good.jsonl", "--orders", "0"], "at least 1"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings good and bad."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = recorded()
    write(folder / "good.jsonl", rows)
    write(folder / "few.jsonl", rows[:4])
    unscored = [row | {"samples": [sample | {"step_scores": []} for sample in row["samples"]]} for row in rows]
    write(folder / "votes.jsonl", unscored)
    write(folder / "others.jsonl", recorded(first=100))
    write(folder / "columns.jsonl", [{"question": "1+1?", "reply": "2"}])
    write(folder / "malformed.jsonl", [rows[1] | {"samples": "many"}])
    (folder / "broken.jsonl").write_text("{\n")
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name: str, files: Path, tmp_path: Path) -> None:
    arguments, said = MISTAKES[name]
    out = tmp_path / "out"
    named = [files / one if one.endswith((".jsonl", ".txt")) else one for one in arguments]
    assert said in run(*named, "--out", out, where=tmp_path).refusal
    assert not out.exists()


def test_a_summary_of_another_version_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"frontier": {}}')
    with pytest.raises(RunError, match="replay again"):
        write_replay_report(tmp_path)
    with pytest.raises(RunError, match="missing"):
        write_replay_report(tmp_path / "nowhere")
