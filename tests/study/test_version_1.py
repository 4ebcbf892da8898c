"""Run directories of version 1 are still read, gone on with, merged, exported and reported on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from computewise.core import MODEL, REVISER, Problem, Role, Usage
from computewise.errors import RunError
from computewise.export import export_run
from computewise.report import write_report
from computewise.runs import (
    FORMAT,
    CandidateRecord,
    Record,
    RunDirectory,
    StrategyParams,
    last_records,
    read_config,
    read_records,
    upgrade_summary,
    write_atomically,
)
from computewise.study.shards import merge

CONFIG = """{
  "task": "sums",
  "problems": 1,
  "models": {"small": {"model": "little"}, "large": {"model": "big"}},
  "verifier": "prm",
  "prices": {"small": {"input": 1.0}},
  "servers": {"small": "http://a/v1", "prm": "http://b/v1"}
}"""
RECORDS = """\
{"purpose":"chains","model":"revision","strategy":{"name":"ratio_pool","n":2},"seed":3,"problem":"sums/0",\
"usage":{"samples":2,"prompt_tokens":0,"cached_prompt_tokens":0,"completion_tokens":9,"verifier_tokens":0,\
"cached_verifier_tokens":0},"candidates":[{"answer":"2","value":0.5,"logprob":0.9,"tokens":4,"correct":true,\
"chain":"0","read":7,"sampled":5,"mean":0.4,"low":0.3,"text":"It is 2.","scores":[0.3,0.5]}],"tree":null,\
"error":null,"sequential":6}
{"purpose":"pool","model":"small","strategy":{"name":"best_of_n","n":1},"seed":3,"problem":"sums/0",\
"usage":{"samples":1},"candidates":[{"answer":"2","value":0.5,"logprob":0.9,"tokens":4,"correct":true,\
"text":"It is 2."}],"tree":null,"error":null,"sequential":4}
{"purpose":"chains","model":"revision","str"""
PROBLEM = Problem("sums/0", "1+1", "2")
POOL: StrategyParams = {"name": "best_of_n", "n": 1}
CHAIN = Record(
    "chains",
    REVISER,
    {"name": "revision_pool", "n": 2},
    3,
    "sums/0",
    Usage(samples=2, completion_tokens=9),
    [CandidateRecord("2", 0.5, 0.9, 4, True, "0", 7, 5, 0.4, 0.3, "It is 2.", (0.3, 0.5))],
    sequential=6,
)
SAMPLE = Record(
    "pool",
    MODEL,
    POOL,
    3,
    "sums/0",
    Usage(samples=1),
    [CandidateRecord("2", 0.5, 0.9, 4, True, text="It is 2.")],
    sequential=4,
)
OLD_ROLES: dict[Role, str] = {"model": "small", "large": "large", "verifier": "prm", "reviser": "revision"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory as version 1 wrote it; the last line is torn."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(CONFIG)
    (path / "records.jsonl").write_text(RECORDS)
    (path / "problems.jsonl").write_text('{"id":"sums/0","prompt":"1+1","answer":"2"}\n')
    return path


def current(run: Path) -> dict[str, Any]:
    """The settings of `run` as a study of today gives them."""
    return {name: value for name, value in read_config(run).items() if name != "format"}


def test_it_is_read_by_the_names_of_today(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert list(read_records(run)) == list(last_records(run)) == [CHAIN, SAMPLE]
    config = read_config(run)
    assert (config["format"], config["prices"], config["verifier"]) == (FORMAT, {"model": {"input": 1.0}}, "prm")
    assert (list(config["models"]), list(config["servers"])) == (["model", "large"], ["model", "verifier"])
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_it_is_resumed_in_the_format_of_today(run: Path) -> None:
    config = current(run)
    directory = RunDirectory(run, config, resume=True)
    added = Record("greedy", MODEL, {"name": "greedy"}, 0, "sums/0")
    directory.append([added])
    assert list(directory.read().values()) == [CHAIN, SAMPLE, added]
    assert json.loads((run / "config.json").read_text()) == {"format": FORMAT, **config}
    held = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert [one["role"] for one in held] == ["reviser", "model", "model"]
    assert not any("model" in one for one in held)
    assert held[0]["candidates"][0]["mean_token_prob"] == 0.9


def test_another_configuration_leaves_it_as_it_was(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunError, match=r"another configuration \(problems differ\)"):
        RunDirectory(run, {**current(run), "problems": 2}, resume=True)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_kill_while_it_is_rewritten_loses_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, writes = current(run), iter([True])

    def killed(path: Path, text: str) -> None:
        if not next(writes, False):
            raise KeyboardInterrupt
        write_atomically(path, text)

    monkeypatch.setattr("computewise.runs.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory(run, config, resume=True)
    monkeypatch.undo()
    assert (run / "config.json").read_text() == CONFIG
    assert '"model":"small"' not in (run / "records.jsonl").read_text()
    assert list(RunDirectory(run, config, resume=True).read().values()) == [CHAIN, SAMPLE]


def test_it_is_merged_into_a_run_of_today(run: Path, tmp_path: Path) -> None:
    (run / "config.json").write_text(json.dumps({**json.loads(CONFIG), "shard": "1/1"}))
    assert merge([run], tmp_path / "out") == 2
    assert list(read_records(tmp_path / "out")) == [CHAIN, SAMPLE]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["format"] == FORMAT


def test_its_samples_are_exported(run: Path, tmp_path: Path) -> None:
    [line] = export_run(run, "search-and-learn", tmp_path / "pool.jsonl").read_text().splitlines()
    assert json.loads(line)["completions"] == ["It is 2."]


def test_its_report_is_that_of_today(reported: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(reported, old)
    (old / "bin_policy.json").rename(old / "policy.json")
    for name in ("config.json", "summary.json"):
        (old / name).write_text(json.dumps(_downgraded(json.loads((old / name).read_text()))))
    lines = (old / "records.jsonl").read_text().splitlines()
    (old / "records.jsonl").write_text("".join(json.dumps(_downgraded(json.loads(line))) + "\n" for line in lines))
    assert '"logprob"' in (old / "records.jsonl").read_text()
    write_report(old)
    assert (old / "report.html").read_text() == (reported / "report.html").read_text()


OLD_FIELDS = {
    "mean_token_prob": "logprob",
    "uncached_prompt_tokens": "read",
    "completion_tokens": "sampled",
    "score_mean": "mean",
    "score_min": "low",
}


def _downgraded(held: dict[str, Any]) -> dict[str, Any]:
    """A record, a summary or a configuration by the names of version 1."""
    found: dict[str, Any] = {}
    for name, value in held.items():
        if name in ("models", "verifiers", "prices", "speeds"):
            found[name] = {OLD_ROLES.get(role, role): one for role, one in value.items()}
        elif name == "candidates":
            found[name] = [{OLD_FIELDS.get(field, field): one for field, one in each.items()} for each in value]
        elif name == "role":
            found["model"] = OLD_ROLES[value]
        elif value == "revision_pool":
            found[name] = "ratio_pool"
        elif name != "format":
            found[name] = _old(value)
    return found


def _old(value: Any) -> Any:
    if isinstance(value, dict):
        return _downgraded(value)
    return [_old(one) for one in value] if isinstance(value, list) else value


def test_a_summary_of_today_is_not_changed() -> None:
    held = {"format": FORMAT, "models": {"small": {}}, "curves": [{"role": "model"}]}
    assert upgrade_summary(held, Path("summary.json")) == held


@pytest.mark.parametrize("version", [3, 0, "2", None])
def test_an_unknown_version_is_one_line(run: Path, version: object) -> None:
    (run / "config.json").write_text(json.dumps({"format": version, **json.loads(CONFIG)}))
    with pytest.raises(RunError, match=rf"config\.json has the format {version!r}, which .* 1 and {FORMAT}$") as error:
        read_config(run)
    assert "\n" not in str(error.value)
    for read in (lambda: RunDirectory(run, {}, resume=True), lambda: export_run(run, "parquet", run / "out.parquet")):
        with pytest.raises(RunError, match="has the format"):
            read()
