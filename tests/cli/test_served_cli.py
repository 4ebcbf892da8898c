"""The command line over served models: what it prints, refuses and keeps, with servers that answer in this process."""

from __future__ import annotations

import json
import math
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from quick import quick_controllers
from servers import SERVERS, VLLM, Hosted, Little, Ollama, Server, Stating
from shell import HOME, KEYS, Net, Said, Shell

from computewise.controller.controller import read_controller
from computewise.models.server.counts import UNCOUNTED

QUESTION = "problem 41734 of 3 steps"
TASK = ("--delimiter", "\\n", "--grader", "exact")
SERVED = ("--base-url", HOME, "--verifier", "logprob", *TASK)
MINE = ("--data", "mine.jsonl", "--columns", "prompt=asked,answer=gold")
SMALL = (
    "--problems",
    "10",
    "--budgets",
    "1",
    "4",
    "--difficulty-samples",
    "4",
    "--repeats",
    "3",
    "--max-tokens",
    "120",
)
STUDY = ("study", *SERVED, *MINE, *SMALL)
RESULTS = ("config.json", "controller.json", "bin_policy.json", "problems.jsonl", "records.jsonl", "report.html")


class Two(VLLM):
    """With two models."""

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """See `Server.answer`."""
        return {"data": [{"id": "a-1b"}, {"id": "b-7b"}]} if path == "/v1/models" else VLLM.answer(self, path, body)


class Judge(Server):
    """A chat model that knows what is wrong."""

    def chat(self, body: dict[str, Any]) -> Any:
        """Yes or no, by log-probabilities."""
        asked = body["messages"][-1]["content"]
        yes = 0.1 if "wrong" in asked or "= 36" in asked else 0.8
        likely = [{"token": word, "logprob": math.log(share)} for word, share in (("Yes", yes), ("No", 0.9 - yes))]
        said = {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": likely}]}
        choice = {"index": 0, "message": {"content": "Yes"}, "finish_reason": "stop", "logprobs": said}
        return {"choices": [choice], "usage": {"prompt_tokens": 40, "completion_tokens": 1}}


def write_problems(path: Path, count: int = 12) -> None:
    """As one has them oneself."""
    rng = random.Random(0)
    drawn = [(rng.randint(10_000, 89_999), rng.randint(1, 4)) for _ in range(count)]
    rows = [{"asked": f"problem {number} of {depth} steps", "gold": str(number)} for number, depth in drawn]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick_controllers():
        yield


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A vLLM at `HOME`."""
    write_problems(tmp_path / "mine.jsonl")
    return Shell(tmp_path, Net({"home:8000": VLLM(Stating(skill=0.7))}))


@dataclass(frozen=True)
class Studied:
    """A study that has run, as "whole"; not to be changed."""

    shell: Shell
    said: Said
    keys: dict[str, set[str | None]]
    """Those that it sent, by host."""


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    """Ten problems of a file."""
    where = tmp_path_factory.mktemp("studied")
    write_problems(where / "mine.jsonl")
    with (where / "mine.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"asked": "Why?", "gold": " "}\n')
    shell = Shell(where, Net({"home:8000": VLLM(Stating(skill=0.7))}))
    said = shell(*STUDY, "--out", "whole", **KEYS)
    return Studied(shell, said, {host: set(sent) for host, sent in shell.net.keys.items()})


RUNGS = {
    "vllm": "A",
    "sglang": "C",
    "llama": "A",
    "ollama": "C",
    "lmstudio": "D",
    "tgi": "D",
    "transformers": "D",
    "hosted": "D",
    "thinker": "D",
    "deepseek": "C",
}


@pytest.mark.parametrize("name", SERVERS)
def test_check_says_what_a_server_allows(name: str, shell: Shell) -> None:
    shell.net.servers["home:8000"] = SERVERS[name]()
    shown = shell("check", "--base-url", HOME)
    told = json.loads(shell("check", "--base-url", HOME, "--json").out)
    assert (shown.code, shown.err) == (0, "")
    assert f"rung {RUNGS[name]}: " in shown.out
    assert told["capabilities"]["rung"] == RUNGS[name]
    refused = [strategy for strategy, why in told["strategies"].items() if why]
    assert ("beam_search" in refused) == ("refused: beam_search" in shown.out) == (RUNGS[name] == "D")
    assert "best_of_n" not in refused


BEST = ("solve", QUESTION, *SERVED, "--strategy", "best_of_n(n=4)")
ON_SERVER = ("solve", QUESTION, "--base-url", HOME, *TASK)
EMBEDDED = ("solve", "1+2*3")
REFUSED = {
    "no server": (["check", "--base-url", "http://nowhere:1/v1"], "no answer from http://nowhere:1/v1/models"),
    "no scheme": (["check", "--base-url", "home:8000/v1"], "is not the URL of a server: give one such as"),
    "key in the URL": (["check", "--base-url", "http://me:sk-x@home:8000/v1"], "keys are taken from the environment"),
    "unknown model": (["check", "--base-url", HOME, "--model", "other"], "has no model 'other': it lists little-1b"),
    "parameters": (["check", "--base-url", HOME, "--parameters", "inf"], "parameters = inf is not allowed"),
    "template": (["check", "--base-url", HOME, "--chat-template", "x.jinja"], "cannot read the chat template x.jinja"),
    "no verifier": (["study", *ON_SERVER[2:], *MINE], "a study needs a verifier: name one by --verifier"),
    "verifier not named": ([*ON_SERVER, "--verifier-url", HOME], "--verifier-url is for a verifier: name it by"),
    "unknown verifier": ([*ON_SERVER, "--verifier", "oracle"], "unknown verifier 'oracle': allowed are "),
    "prm on its own": ([*ON_SERVER, "--verifier", "prm"], "the verifier prm reads the embedded tasks only"),
    "judge elsewhere": (
        [*ON_SERVER, "--verifier", "judge", "--verifier-url", "http://judge:1/v1"],
        "name the model that is the verifier judge at --verifier-url by --verifier-model",
    ),
    "verifier's size": (
        [*ON_SERVER, "--verifier", "launch/ThinkPRM-7B", "--verifier-parameters", "nan"],
        "verifier_parameters = nan is not allowed",
    ),
    "verifier of none": ([*BEST, "--verifier-url", HOME], "--verifier-url is for a verifier with a model of its own"),
    "verifier twice": (
        [*ON_SERVER, "--verifier", "launch/ThinkPRM-7B", "--verifier-path", "x", "--verifier-url", HOME],
        "in this process, by --verifier-path, or on a server: name one",
    ),
    "larger one's": ([*BEST, "--large-url", HOME], "--large-url is for a larger model: name it by --large"),
    "dollars": ([*STUDY, "--max-dollars", "1"], "--max-dollars needs --prices"),
    "no dollars": ([*STUDY, "--prices", "1", "1", "1", "1", "--max-dollars", "0"], "max_dollars = 0.0 is not allowed"),
    "prices": ([*STUDY, "--prices", "1", "-2", "3", "4"], "cached_input = -2.0 is not allowed"),
    "prices of one": ([*STUDY, "--large", "b", "--prices", "1", "1", "1", "1"], "prices are needed of both models"),
    "temperature": ([*BEST, "--temperature", "inf"], "temperature = inf is not allowed: at least 0"),
    "ceiling": ([*STUDY, "--max-total-tokens", "0"], "max_total_tokens = 0 is not allowed: at least 1"),
    "thinking": (
        [*BEST, "--no-thinking", "--thinking-budget", "5"],
        "--no-thinking and --thinking-budget exclude each other",
    ),
    "cache": ([*STUDY, "--cache", "x", "--no-cache"], "--cache and --no-cache exclude each other"),
    "columns": ([*BEST, "--columns", "prompt"], "columns 'prompt' are not understood"),
    "weights": ([*BEST, "--weights", "x.safetensors"], "--weights is for an embedded model"),
    "price without policy": ([*BEST, "--price", "0.1"], "give --policy too"),
    "policy and budget": ([*EMBEDDED, "--policy", "expressions", "--budget", "9"], "leave out --budget"),
    "shipped policy": (
        ["solve", QUESTION, *SERVED, "--policy", "expressions"],
        "is for the model 'small', not for little-1b",
    ),
    "code": (
        ["solve", QUESTION, "--base-url", HOME, "--verifier", "none", "--grader", "code", "--task", "mine.jsonl"],
        "the grader code runs programs that the model writes",
    ),
    "embedded cache": ([*EMBEDDED, "--no-cache"], "--no-cache is for a server's model: give --base-url too"),
    "embedded ceiling": (["study", "--max-total-tokens", "9"], "--max-total-tokens is for a server's model"),
    "embedded data": ([*EMBEDDED, "--data", "mine.jsonl"], "--data needs --base-url"),
    "embedded grader": ([*EMBEDDED, "--grader", "exact"], "--grader needs --base-url"),
    "embedded study": (["study", "--verifier", "orm"], "a study of the embedded models has its own"),
    "embedded study's data": (["study", "--columns", "prompt=q"], "--columns needs --base-url"),
    "no problems": (["study", *SERVED], "name the problems: "),
    "a question": (["study", *SERVED, "--task", "question"], "name the problems: "),
    "no file": (["study", *SERVED, "--data", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
    "too many": (["study", *SERVED, *MINE], "mine.jsonl has 12 problems"),
    "majority": (["study", "--base-url", HOME, *TASK, *MINE, "--verifier", "none"], "a study needs a verifier"),
    "workers": ([*STUDY, "--workers", "2"], "with --base-url it is --in-flight"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_one_line(name: str, shell: Shell) -> None:
    arguments, said = REFUSED[name]
    assert said in shell(*arguments).refusal
    assert {path.name for path in shell.where.iterdir()} <= {"mine.jsonl", "cache"}


def test_a_file_that_is_no_cache_is_named(shell: Shell) -> None:
    assert "cannot use the cache mine.jsonl" in shell(*STUDY, "--cache", "mine.jsonl").refusal


def test_without_a_verifier_the_majority_answers_and_a_line_says_how_to_name_one(shell: Shell) -> None:
    said = shell(*ON_SERVER)
    assert said.code == 0
    assert "answer: 41734" in said.out
    assert "best_of_n(n=16): " in said.out
    assert [
        line
        for line in said.err.splitlines()
        if "one would weight the votes and guide searches: --verifier judge" in line
    ]
    assert "majority" not in shell(*ON_SERVER, "--verifier", "none").err
    told = json.loads(shell(*ON_SERVER, "--json").out)
    assert told["answer"] == "41734"
    assert told["usage"]["verifier_tokens"] == 0


class Unsized(VLLM):
    """Says nowhere how many parameters its model has."""

    model = "somebody/little"


@pytest.mark.parametrize("verifier", [(), ("--verifier", "judge"), ("--verifier", "logprob")])
def test_without_a_size_there_are_no_flops_and_a_line_says_how_to_give_it(
    verifier: tuple[str, ...], shell: Shell
) -> None:
    shell.net.servers["home:8000"] = Unsized(Stating(skill=0.7))
    if "judge" in verifier:
        shell.net.servers["judge:1"] = Judge()
        verifier = (*verifier, "--verifier-url", "http://judge:1/v1", "--verifier-model", "wise")
    said = shell(*ON_SERVER, *verifier, "--strategy", "best_of_n(n=4)")
    assert said.code == 0, said
    assert "answer: 41734" in said.out
    assert "FLOPs unknown" in said.out
    assert "the number of parameters of little is unknown, so no FLOPs are counted: give it by --parameters" in said.err
    assert ("of wise is unknown, so no FLOPs are counted: give it by --verifier-p" in said.err) == ("judge" in verifier)
    told = json.loads(shell(*ON_SERVER, *verifier, "--json").out)
    assert told["flops"] is None
    assert told["usage"]["completion_tokens"] > 0
    sized = ("--parameters", "7e9", *(("--verifier-parameters", "1e9") if "judge" in verifier else ()))
    known = shell(*ON_SERVER, *verifier, *sized, "--json")
    assert json.loads(known.out)["flops"]["completion"] == 2 * 7e9 * told["usage"]["completion_tokens"]
    assert "parameters" not in known.err


def test_check_needs_no_size_and_a_study_says_that_it_does(shell: Shell) -> None:
    shell.net.servers["home:8000"] = Unsized(Stating(skill=0.7))
    assert re.search(r"parameters +unknown", shell("check", "--base-url", HOME).out)
    assert json.loads(shell("check", "--base-url", HOME, "--json").out)["parameters"] is None
    said = "a study counts FLOPs, and the number of parameters of little is unknown: give --parameters 7e9"
    assert shell(*STUDY).refusal == said


def test_what_check_saves_is_what_the_other_commands_take(shell: Shell) -> None:
    shell.net.servers["judge:1"] = Judge()
    judge = ("--verifier", "judge", "--verifier-url", "http://judge:1/v1", "--verifier-model", "Wise-7B")
    said = shell("check", "--base-url", f"{HOME}/", *judge, *TASK, "--max-tokens", "99", "--save", "home.toml", **KEYS)
    assert said.code == 0, said
    assert "verifier judge Wise-7B: it tells a right solution from a wrong one" in said.out
    held = (shell.where / "home.toml").read_text("utf-8")
    assert tomllib.loads(held) == {
        "model": {"base_url": HOME, "name": "little-1b", "parameters": 1_000_000_000},
        "verifier": {"name": "judge", "base_url": "http://judge:1/v1", "model": "Wise-7B"},
        "task": {"grader": "exact", "delimiter": "\\n"},
        "limits": {"max_tokens": 99},
    }
    assert not [key for key in KEYS.values() if key in held]
    plain = ("solve", QUESTION, "--strategy", "best_of_n(n=4)", "--json")
    by_flags = shell(*plain, "--base-url", HOME, *judge, *TASK, "--max-tokens", "99")
    by_file = shell(*plain, "--setup", "home.toml", "--no-cache")
    assert json.loads(by_file.out) == json.loads(by_flags.out)
    unlike = json.loads(shell(*plain, "--setup", "home.toml", "--verifier", "none").out)
    assert unlike["usage"]["verifier_tokens"] == 0


SETUPS = {
    "table": ("[modle]\n", "has the unknown key 'modle': allowed are the tables [model], [large], [verifier]"),
    "no table": ("model = 3\n", "has the unknown key 'model'"),
    "key": ("[model]\nparamters = 7e9\n", "unknown key 'paramters' in [model]: allowed are base_url, name, parameters"),
    "api key": ("[model]\napi_key = 'sk'\n", "has the unknown key 'api_key' in [model]"),
    "code": ("[task]\nallow_code_execution = true\n", "has the unknown key 'allow_code_execution' in [task]"),
    "type": ("[model]\nparameters = '7e9'\n", "has a wrong 'parameters' in [model]: expected `float`, got `str`"),
    "list": ("[prices]\nmodel = [1, 2]\n", "has a wrong 'model' in [prices]: expected `array` of length 4"),
    "truth": ("[model]\nno_thinking = 1\n", "has a wrong 'no_thinking' in [model]: expected `bool`, got `int`"),
    "number": (
        "[model]\nbase_url = 'http://home:8000/v1'\n[limits]\nmax_tokens = 0\n",
        "max_tokens = 0 is not allowed",
    ),
    "toml": ("[model\n", "the setup s.toml is not valid TOML"),
    "reached": (
        f"[model]\nbase_url = '{HOME}'\n[limits]\nmax_total_tokens = 9\n",
        "the spending limit of 9 tokens is reached",
    ),
}


@pytest.mark.parametrize("name", SETUPS)
def test_a_setup_that_cannot_be_meant_is_one_line(name: str, shell: Shell) -> None:
    text, said = SETUPS[name]
    (shell.where / "s.toml").write_text(text, "utf-8")
    assert said in shell("solve", QUESTION, "--setup", "s.toml").refusal


def test_of_two_models_one_has_to_be_named(shell: Shell) -> None:
    shell.net.servers["home:8000"] = Two()
    said = f"name the model by --model: {HOME} lists a-1b, b-7b"
    assert shell("check", "--base-url", HOME).refusal == said
    assert json.loads(shell("check", "--base-url", HOME, "--model", "b-7b", "--json").out)["parameters"] == 7e9


@pytest.mark.parametrize("command", [("check", "--base-url", HOME), BEST, STUDY])
def test_a_wrong_key_is_not_repeated(command: tuple[str, ...], shell: Shell) -> None:
    shell.net.servers["home:8000"] = VLLM(key="sk-right")
    said = shell(*command, COMPUTEWISE_API_KEY="sk-wrong").refusal
    assert said == f"{HOME}/models answered 401: no such key"
    assert shell("check", "--base-url", HOME, COMPUTEWISE_API_KEY="sk-right").code == 0


@pytest.mark.parametrize("verifier", ["logprob", "none"])
@pytest.mark.parametrize("strategy", ["best_of_n", "beam_search", "step_revisions"])
def test_solve_shows_the_search(verifier: str, strategy: str, shell: Shell) -> None:
    named = f"{strategy}({'chains=2' if strategy == 'step_revisions' else 'n=4'})"
    said = shell("solve", QUESTION, "--base-url", HOME, "--verifier", verifier, *TASK, "--strategy", named)
    if verifier == "none" and strategy != "best_of_n":
        assert (
            said.refusal == f"the strategy {strategy} needs a verifier, which says what to go on with: --verifier NAME"
        )
        return
    assert said.code == 0, said
    assert "answer: 4173" in said.out
    assert f"{strategy}(" in said.out
    assert ("0.7" in said.out) == (verifier == "logprob")
    assert said.err.startswith("little-1b: ")


def test_solve_prints_one_json_object(shell: Shell) -> None:
    told = json.loads(shell(*BEST, "--task", "question", "--json").out)
    assert told["answer"] == "41734"
    assert told["correct"] is None
    assert told["usage"]["samples"] == len(told["explored"]) == 4


def test_a_judge_says_what_is_right(shell: Shell) -> None:
    shell.net.servers["judge:1"] = Judge()
    judge = ("--verifier", "judge", "--verifier-url", "http://judge:1/v1", "--verifier-model", "Wise-7B")
    told = json.loads(shell(*ON_SERVER, *judge, "--strategy", "best_of_n(n=4)", "--json", **KEYS).out)
    seen = {round(one["scores"][-1], 3): one["step"] for one in told["explored"]}
    assert sorted(seen) == [0.111, 0.889]
    assert "41734" in seen[0.889]
    assert told["answer"] == "41734"
    assert shell.net.keys == {"home:8000": {"Bearer sk-model"}, "judge:1": {"Bearer sk-verifier"}}


MINE_READS = """
from computewise.core import Usage


class Mine:
    name, parameters = "mine", 0

    async def score(self, problem, candidates):
        return [tuple(0.9 if "41734" in c.text else 0.2 for _ in c.steps) for c in candidates], Usage()

    def value(self, scores):
        return scores[-1]
"""


def test_a_verifier_of_ones_own_is_taken_by_module_and_object(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.where / "mine_reads.py").write_text(MINE_READS, "utf-8")
    monkeypatch.syspath_prepend(shell.where)
    mine = ("--verifier", "mine_reads:Mine", "--strategy", "best_of_n(n=4)", "--json")
    told = json.loads(shell(*ON_SERVER, *mine).out)
    assert told["answer"] == "41734"
    assert {one["scores"][-1] for one in told["explored"]} == {0.9, 0.2}
    assert told["flops"]["verifier"] == 0
    assert {one["scores"][-1] for one in json.loads(shell("solve", "1+2", *mine).out)["explored"]} == {0.2}
    said = shell("check", "--base-url", HOME, "--verifier", "mine_reads:Mine", "--save", "mine.toml")
    assert "verifier mine: " in said.out
    assert json.loads(shell("solve", QUESTION, *TASK, "--setup", "mine.toml", *mine[2:]).out)["answer"] == "41734"
    assert "takes no --verifier-url" in shell(*ON_SERVER, *mine, "--verifier-url", HOME).refusal
    assert "mine_reads has no 'Other'" in shell(*ON_SERVER, "--verifier", "mine_reads:Other").refusal


def test_an_answer_that_the_grader_does_not_find_is_not_called_unfinished(shell: Shell) -> None:
    shell.net.servers["home:8000"] = VLLM(Little(skill=0.7))
    assert "answer: none was found in what finished" in shell(*BEST).out


def test_steps_are_refused_where_the_server_has_none(shell: Shell) -> None:
    shell.net.servers["home:8000"] = Hosted(Stating(skill=0.7))
    said = shell("solve", QUESTION, *SERVED, "--strategy", "beam_search(n=4)").refusal
    assert said.startswith("little-1b cannot be searched by steps: the server neither accepts raw prompts")
    assert "answer: 41734" in shell(*BEST).out


def test_logprob_is_refused_where_the_server_gives_none(shell: Shell) -> None:
    shell.net.servers["home:8000"] = Ollama(Stating())
    said = shell("solve", QUESTION, *SERVED).refusal
    assert said == "Ollama gives no log-probabilities to judge by: name another verifier"


def test_check_and_solve_say_what_was_replaced_and_check_that_samples_are_alike(shell: Shell) -> None:
    class Repeats(Hosted):
        def chat(self, body: dict[str, Any]) -> Any:
            held = Hosted.chat(self, body | {"logprobs": False})
            choices = [one | {"message": {"content": f"{'It is so. ' * 40}\\boxed{{42}}"}} for one in held["choices"]]
            return {"choices": choices, "usage": None}

    shell.net.servers["home:8000"] = Repeats()
    found = shell("check", "--base-url", HOME, "--json")
    uncounted, alike = json.loads(found.out)["notes"]
    assert uncounted == UNCOUNTED
    assert alike.startswith(
        "All 4 samples of a trial are one and the same text. At more than 300 characters this is hard"
    )
    said = shell("solve", "What is 6*7?", "--base-url", HOME, "--no-cache", "--json")
    assert json.loads(said.out)["notes"] == [UNCOUNTED]
    assert said.err.count(UNCOUNTED) == 1


def test_a_study_of_ones_own_problems(studied: Studied) -> None:
    said, whole = studied.said, studied.shell.where / "whole"
    assert said.code == 0, said
    assert "10 problems of mine.jsonl" in said.out
    assert "beam search, M = 4" in said.out
    assert "line 13 has no reference answer" in said.err
    assert "tokens sampled" in said.err
    assert all((whole / name).stat().st_size for name in RESULTS)
    summary = json.loads((whole / "summary.json").read_text("utf-8"))
    assert summary["models"]["model"]["label"] == "little-1b"
    assert 0.2 < summary["best_fixed"][-1]["accuracy"] <= 1
    assert "little-1b" in (whole / "report.html").read_text("utf-8")


def test_no_file_holds_a_key(studied: Studied) -> None:
    files = [path for path in studied.shell.where.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    for path in files:
        assert not [key for key in KEYS.values() if key.encode() in path.read_bytes()], path
    assert studied.keys == {"home:8000": {"Bearer sk-model"}}


def test_what_was_paid_for_is_not_asked_for_again(studied: Studied) -> None:
    shell = studied.shell
    server = shell.net.servers["home:8000"]
    server.asked.clear()
    shell("check", "--base-url", HOME)
    probe = server.bodies("/v1/completions")[:-1]  # the last request samples texts to compare
    server.asked.clear()
    said = shell(*STUDY, "--out", "again")
    assert server.bodies("/v1/completions") == probe
    assert "little-1b: 0 requests, 0 tokens sampled, " in said.err
    assert shell.records("again") == shell.records("whole")
    server.asked.clear()
    assert shell(*STUDY, "--out", "anew", "--shard", "1/5", "--no-cache").code == 0
    assert len(server.bodies("/v1/completions")) > len(probe)


def test_a_torn_run_goes_on_at_another_port(studied: Studied) -> None:
    shell, other = studied.shell, "http://moved:9000/v1"
    torn = shell.where / "torn"
    torn.mkdir()
    for name in ("config.json", "problems.jsonl"):
        (torn / name).write_bytes((shell.where / "whole" / name).read_bytes())
    lines = (shell.where / "whole" / "records.jsonl").read_bytes().splitlines(keepends=True)
    (torn / "records.jsonl").write_bytes(b"".join(lines[:60]) + lines[60][:20])
    moved = Shell(shell.where, Net({"moved:9000": VLLM(Stating(skill=0.7))}))
    arguments = [other if one == HOME else one for one in STUDY]
    assert "holds a run: go on with --resume" in moved(*arguments, "--out", "torn").err
    said = moved(*arguments, "--out", "torn", "--resume")
    assert said.code == 0, said
    assert moved.records("torn") == shell.records("whole")


def test_a_run_goes_on_with_the_model_it_began_with(studied: Studied) -> None:
    class Another(VLLM):
        model = "little-2b"

    shell = Shell(studied.shell.where, Net({"home:8000": Another(Stating())}))
    said = shell(*STUDY, "--out", "whole", "--resume")
    assert said.code == 2
    assert "the run directory whole has another configuration (models differ)" in said.err


def test_a_ceiling_stops_a_run_that_a_higher_one_finishes(shell: Shell) -> None:
    command = [*STUDY, "--no-cache", "--out", "run", "--max-total-tokens"]
    first = shell(*command, "4000")
    assert (first.code, first.out) == (2, "")
    assert "computewise: the spending limit of 4000 tokens is reached" in first.err.splitlines()[-1]
    assert first.err.rstrip().endswith("what is recorded is kept, go on with --resume")
    kept = shell.records("run")
    assert kept
    last = shell(*command, "400000", "--resume")
    assert last.code == 0, last
    assert set(kept) < set(shell.records("run"))


def test_shards_come_together_as_the_whole_run(studied: Studied) -> None:
    shell = studied.shell
    for number in "12":
        assert shell(*STUDY, "--out", f"part{number}", "--shard", f"{number}/2").code == 0
    alone = Shell(shell.where, Net({}))
    said = alone("merge", "part1", "part2", "--out", "merged")
    assert said.code == 0, said
    assert alone.net.keys == {}, "no server is asked"
    assert shell.records("merged") == shell.records("whole")
    assert "10 problems of mine.jsonl" in said.out
    for name in ("config.json", "controller.json", "bin_policy.json", "problems.jsonl"):
        assert (shell.where / "merged" / name).read_bytes() == (shell.where / "whole" / name).read_bytes(), name


def test_a_run_is_exported_and_replayed(studied: Studied) -> None:
    shell = Shell(studied.shell.where, Net({}))
    exported = shell("export", "whole", "--format", "search-and-learn", "--out", "whole.jsonl")
    assert (exported.code, exported.out) == (0, "whole.jsonl\n")
    said = shell("replay", "whole.jsonl", "--orders", "2", "--splits", "1", "--out", "replayed")
    assert said.code == 0, said
    assert "10 problems: accuracy" in said.out
    assert (shell.where / "replayed" / "report.html").stat().st_size


def test_a_controller_fitted_to_recorded_samples_is_followed(studied: Studied) -> None:
    shell = studied.shell
    exported = shell("export", "whole", "--format", "search-and-learn", "--out", "pool.jsonl")
    assert exported.code == 0, exported
    named = ("--model", "little-1b", "--verifier", "logprob")
    fitted = shell("replay", "pool.jsonl", "--orders", "2", "--splits", "1", *named, "--out", "fitted")
    assert fitted.code == 0, fitted
    policy = ("--policy", "fitted/controller.json")
    told = json.loads(shell("solve", QUESTION, *SERVED, *policy, "--price", "0.0001", "--json").out)
    assert told["decisions"][-1]["kind"] == "stop"
    assert told["draws_worth"] > 0
    unnamed = shell("replay", "pool.jsonl", "--orders", "2", "--splits", "1", "--out", "unnamed")
    assert unnamed.code == 0, unnamed
    said = shell("solve", QUESTION, *SERVED, "--policy", "unnamed/controller.json").refusal
    assert "was fitted without the name of its model" in said


def test_a_served_study_s_policy_is_followed(studied: Studied) -> None:
    shell = studied.shell
    policy = ("--policy", "whole/controller.json")
    fitted = read_controller(shell.where / "whole" / "controller.json", models=["little-1b"], verifier="logprob")
    assert fitted.models == ["little-1b"]
    told = json.loads(shell("solve", QUESTION, *SERVED, *policy, "--price", "0.0001", "--json").out)
    assert set(told["usage"]) == {"little-1b"}
    assert told["decisions"][-1]["kind"] == "stop"
    assert any(drawn["answer"] == told["answer"] for one in told["decisions"] for drawn in one["drawn"])
    said = shell("solve", QUESTION, "--base-url", HOME, *TASK, "--verifier", "none", *policy).refusal
    assert said.endswith("is for the verifier 'logprob', not for 'none': fit one for it")
    assert "is for the model 'little-1b', not for small, large" in shell("solve", "1+2", *policy).refusal
