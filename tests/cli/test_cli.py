"""The command line as a person meets it: what it prints, and one clear line for every mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Said, Shell


def process(*command: str, cwd: Path) -> Said:
    """`python COMMAND`, in a process of its own."""
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd)
    return Said(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def run(tmp_path: Path) -> Shell:
    """Commands in this process."""
    return Shell(tmp_path)


POLICY = ["solve", "1+2*3", "--policy", "expressions"]
MISTAKES = {
    "unknown policy": (["solve", "1+2*3", "--policy", "chess"], "allowed are a controller file, or expressions"),
    "policy and strategy": ([*POLICY, "--strategy", "single"], "leave out --strategy"),
    "two prices": (
        [*POLICY, "--price", "0.1", "--accuracy", "0.8"],
        "price, mean_cost and accuracy exclude each other",
    ),
    "negative price": ([*POLICY, "--price", "-1"], "at least 0"),
    "unreachable accuracy": ([*POLICY, "--accuracy", "0.999"], "no price comes to an accuracy of 0.999"),
    "unknown strategy": (["solve", "1+2*3", "--strategy", "mcts"], "allowed are single, greedy, best_of_n"),
    "no number": (["solve", "1+2*3", "--strategy", "beam_search(n=many)"], "n = 'many' of the strategy beam_search"),
    "no fraction": (["solve", "1+2*3", "--strategy", "beam_search(n=2.5)"], "takes a whole number"),
    "malformed strategy": (
        ["solve", "1+2*3", "--strategy", "beam_search(n=2"],
        "write it as beam_search or beam_search(n=",
    ),
    "no setup": (["solve", "1+2*3", "--setup", "nowhere.toml"], "cannot read the setup nowhere.toml"),
    "unknown setting": (["solve", "1+2*3", "--strategy", "single(n=4)"], "no setting 'n'"),
    "budget below 1": (["solve", "1+2*3", "--budget", "0"], "at least 1"),
    "n below 1": (["solve", "1+2*3", "--strategy", "best_of_n(n=0)"], "at least 1"),
    "n not divisible": (
        ["solve", "1+2*3", "--strategy", "beam_search(n=10, width=4)"],
        "allowed widths are 1, 2, 5, 10",
    ),
    "malformed": (["solve", "3*(4+5"], "malformed expression"),
    "division": (["solve", "3/4"], "allowed are integers"),
    "empty": (["solve", ""], "malformed expression"),
    "words": (["solve", "Zed eats soup.", "--task", "stories"], "cannot read"),
    "unknown task": (["solve", "1+1", "--task", "poems"], "allowed are expressions, stories"),
    "unknown selection": (["solve", "1+2*3", "--select", "loudest"], "allowed are weighted, majority, best"),
    "unknown verifier": (
        ["solve", "1+2*3", "--verifier", "oracle"],
        "allowed are prm, orm, logprob, none, your own module:object, or others with --base-url",
    ),
    "no template file": (["solve", "1+2*3", "--verifier", "nope.toml"], "cannot read the template nope.toml: No such"),
    "a template here": (["solve", "1+2*3", "--verifier", "judge"], "the verifier judge needs a server, which computes"),
    "no module": (["solve", "1+2*3", "--strategy", "nowhere:X"], "the strategy nowhere:X cannot be imported"),
    "two problems": (["solve", "3*4", "5+6"], "one problem, in quotes: '3*4' is followed by '5+6'"),
    "a question": (
        ["solve", "What is 3*4?"],
        "a story needs --task stories, any other question --base-url",
    ),
    "a percentage": ([*POLICY, "--accuracy", "90"], "accuracy = 90.0 is not allowed: 0 to 1"),
    "negative cost": ([*POLICY, "--mean-cost", "-4"], "mean_cost = -4.0 is not allowed"),
    "no draws": ([*POLICY, "--mean-cost", "0"], "mean_cost = 0.0 is not allowed"),
    "unknown model": (["solve", "1+2*3", "--model", "huge"], "allowed are small, large, revision, revision_paper"),
    "a model that cannot revise": (
        ["solve", "1+2*3", "--strategy", "revisions", "--model", "small"],
        "not trained to revise its attempts: use revision",
    ),
    "trust": (["solve", "1+2*3", "--strategy", "step_revisions(trust=2)"], "between 0 and 1"),
    "no chains": (["solve", "1+2*3", "--strategy", "revisions(chains=0)"], "at least 1"),
    "temperature": (["solve", "1+2*3", "--temperature", "-1"], "at least 0"),
    "missing weights": (["solve", "1+2*3", "--weights", "nowhere.safetensors"], "no weights file"),
    "study budgets": (["study", "--budgets", "4", "1"], "rising"),
    "study budget 0": (["study", "--budgets", "0"], "at least 1"),
    "study problems": (["study", "--problems", "3"], "at least 10"),
    "nothing to resume": (
        ["study", "--resume", "--out", "nowhere"],
        "nothing to resume in nowhere: name the directory",
    ),
    "study seed": (["study", "--seed", "-1"], "at least 0"),
    "study workers": (["study", "--workers", "-1"], "at least 1"),
    "not a temperature": (["solve", "1+2*3", "--temperature", "nan"], "at least 0"),
    "a word in it": (["solve", "1or 2"], "malformed expression"),
    "unknown option": (["study", "--problms", "3"], "--problems"),
    "not a number": (["study", "--problems", "many"], "--problems"),
    "unknown command": (["stduy"], "stduy"),
    "no report": (["report", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name: str, run: Shell) -> None:
    arguments, said = MISTAKES[name]
    assert said in run(*arguments).refusal
    assert list(run.where.iterdir()) == []


def test_a_mistake_ends_a_process_of_its_own(tmp_path: Path) -> None:
    arguments, said = MISTAKES["unknown command"]
    assert said in process("-m", "computewise", *arguments, cwd=tmp_path).refusal


def test_corrupt_weights_are_one_line(run: Shell, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"not weights at all")
    result = run("solve", "1+2*3", "--weights", str(path))
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "corrupt weights file" in result.err


def test_a_run_directory_of_another_configuration_is_refused_untouched(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"task": "stories"}))
    (tmp_path / "records.jsonl").write_text("precious\n")
    result = run("study", "--out", str(tmp_path), "--resume")
    assert result.code == 2
    assert "another configuration" in result.err
    assert (tmp_path / "records.jsonl").read_text() == "precious\n"


def test_solve_shows_steps_scores_answer_and_cost(run: Shell) -> None:
    result = run("solve", "3*(4+5)-6")
    assert result.code == 0, result.err
    for shown in ("3*9-6", "27-6", "answer: 21", "FLOPs", "tokens sampled"):
        assert shown in result.out
    assert re.search(r"0\.\d\d|1\.00", result.out)


def test_a_budget_too_small_for_a_token_is_said(run: Shell) -> None:
    result = run("solve", "1+2*3", "--budget", "5")
    assert result.code == 0, result.err
    assert "none finished" in result.out
    assert "the token budget ended the search" in result.out


def test_solve_prints_json_that_adds_up(run: Shell) -> None:
    result = run("solve", "3*(4+5)-6", "--strategy", "beam_search(n=16)", "--json")
    told = json.loads(result.out)
    assert told["answer"] == "21"
    assert told["correct"] is True
    assert told["strategy"] == {"name": "beam_search", "n": 16, "width": 4}
    assert told["usage"]["samples"] == len(told["explored"])
    parts = ("prompt", "completion", "verifier")
    assert told["flops"]["total"] == pytest.approx(sum(told["flops"][part] for part in parts))
    assert process("-m", "computewise", "solve", "3*(4+5)-6", "--json", cwd=run.where).out == result.out


MISTAKEN = ["12*(3-4)+25*(7-2)-88", "--strategy", "step_revisions(chain_length=4, chains=2)"]
"""What `small` seldom gets right at once."""


def test_steps_are_revised_by_a_model_that_cannot_and_the_changes_are_shown(run: Shell) -> None:
    result = run("solve", *MISTAKEN, "--seed", "1")
    assert result.code == 0, result.err
    assert "answer: 25  (right)" in result.out
    assert "step_revisions(chain_length=4, chains=2" in result.out
    shown = " ".join(result.out.replace("│", " ").split())
    assert re.search(r"\[-[0-9]+-\]\{\+125\+\}-88", shown)


def test_a_policy_shows_what_it_decided_and_why(run: Shell) -> None:
    shown = run("solve", "3*(4+5)-67*(13-6)", "--policy", "expressions").out
    assert "escalate: large, greedy" in shown
    assert "answer: -442  (right)" in shown
    cheap = json.loads(run("solve", "3*(4+5)-67*(13-6)", "--policy", "expressions", "--price", "1", "--json").out)
    dear = json.loads(run("solve", "3*(4+5)-67*(13-6)", "--policy", "expressions", "--accuracy", "0.9", "--json").out)
    assert [one["kind"] for one in cheap["decisions"]] == ["more", "stop"]
    assert cheap["flops"] < dear["flops"]
    assert dear["usage"].keys() == {"small", "large"}


def test_json_says_what_revises_what(run: Shell) -> None:
    told = json.loads(run("solve", *MISTAKEN, "--seed", "1", "--json").out)
    assert told["strategy"] == {"name": "step_revisions", "chain_length": 4, "chains": 2, "trust": 0.9}
    assert told["answer"] == "25"
    revises = {one["id"]: one["revises"] for one in told["explored"]}
    assert revises == {id: "." in id for id in revises}
    assert any(revises.values())
    searched = json.loads(run("solve", "3*(4+5)-6", "--strategy", "beam_search(n=4)", "--json").out)
    assert any(one["parent"] for one in searched["explored"])
    assert not any(one["revises"] for one in searched["explored"])


def test_a_model_trained_to_revise_revises_whole_attempts(run: Shell) -> None:
    flags = ["--strategy", "revisions(chain_length=3, chains=2)", "--model", "revision_paper"]
    told = json.loads(run("solve", MISTAKEN[0], *flags, "--json").out)
    assert [one["id"] for one in told["explored"]] == ["0", "0.0", "0.0.0", "1", "1.0", "1.0.0"]
    assert sum(one["revises"] for one in told["explored"]) == 4
    assert told["usage"]["samples"] == 6
    assert "revisions(chain_length=3, chains=2)" in run("solve", MISTAKEN[0], *flags).out


def test_a_story_is_solved(run: Shell) -> None:
    story = "Ann has 12 apples. Ann buys 3 bags of 4. Ann loses 5. How many apples?"
    told = json.loads(run("solve", story, "--task", "stories", "--json").out)
    assert told["answer"] is not None
    assert told["correct"] is None


def test_help_names_every_command_and_every_option_is_explained(run: Shell) -> None:
    top = run("--help").out
    assert all(command in top for command in ("study", "solve", "report", "train"))
    assert "train" in run("train", "--help").out
    for option in ("--problems", "--budgets", "--seeds", "--resume", "--out", "--workers"):
        assert option in run("study", "--help").out


def test_training_without_pytorch_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else real(name, *rest);"
        "sys.argv = ['computewise', 'train', 'small'];"
        "from computewise.cli import main; main()"
    )
    result = process("-c", script, cwd=tmp_path)
    assert result.code == 2
    assert "computewise[train]" in result.err
    assert list(tmp_path.iterdir()) == []
