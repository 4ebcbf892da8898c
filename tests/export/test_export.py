"""Exported to Hugging Face's form, a model is the same: its tokens, its logits, its conversations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from computewise.cli.runs import export
from computewise.errors import ComputewiseError, ProblemError, UsageError
from computewise.export.weights import export_gguf, export_hf
from computewise.models.embedded.model import context_tokens, prompt_tokens
from computewise.models.embedded.network import TOKENS, WEIGHTS_DIRECTORY, Floats, Trunk, decode, encode, load_weights
from computewise.tasks.arithmetic import TASKS

PROBLEMS = [problem for task in TASKS.values() for problem in task.problems("validation", 40, 0)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `revision`."""
    return export_hf("revision", tmp_path_factory.mktemp("exported") / "hf")


@pytest.fixture(scope="module")
def tokenizer(exported: Path) -> Any:
    """As transformers loads it."""
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(exported)


def ours(weights: Path, tokens: list[int]) -> Floats:
    """Logits (time, vocabulary) of the in-process engine."""
    trunk = Trunk(load_weights(weights))
    cache = trunk.blocks.new_cache(1, len(tokens))
    return trunk.logits(trunk.states(np.array([tokens]), cache, np.zeros(1, np.int64)))[0]


def theirs(directory: Path, tokens: list[int]) -> Floats:
    """Logits of transformers."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        return np.asarray(model(torch.tensor([tokens])).logits[0])


@pytest.mark.parametrize("name", ["small", "revision"])
def test_logits_are_ours(name: str, tmp_path: Path) -> None:
    directory = export_hf(name, tmp_path / name)
    solved = [token for p in PROBLEMS[:8] for token in (*prompt_tokens(p.prompt), *encode(f"{p.answer}\n"))]
    assert (
        np.abs(ours(WEIGHTS_DIRECTORY / f"{name}.safetensors", solved[:240]) - theirs(directory, solved[:240])).max()
        < 5e-4
    )


def test_logits_of_a_weights_file_are_ours(tiny_path: Path, tmp_path: Path) -> None:
    directory = export_hf(tiny_path, tmp_path / "tiny")
    tokens = [*prompt_tokens(PROBLEMS[0].prompt), *range(len(TOKENS))][: load_weights(tiny_path).config.context]
    assert np.abs(ours(tiny_path, tokens) - theirs(directory, tokens)).max() < 1e-4


def test_the_tokenizer_reads_every_prompt_as_we_do(tokenizer: Any) -> None:
    for problem in PROBLEMS:
        ids = tokenizer(problem.prompt + "\n")["input_ids"]
        assert tuple(ids) == prompt_tokens(problem.prompt)
        assert tokenizer.decode(ids, skip_special_tokens=True) == decode(ids)


def test_the_tokenizer_refuses_what_we_refuse(tokenizer: Any) -> None:
    with pytest.raises(ProblemError):
        encode("1/2")
    with pytest.raises(Exception, match="UNK"):
        tokenizer("1/2")


def test_a_conversation_is_prompt_and_attempts(tokenizer: Any) -> None:
    problem, attempts = PROBLEMS[0].prompt, ["1+2\n3", "1+3\n4\n"]
    messages = [{"role": "user", "content": problem}]
    messages += [{"role": "assistant", "content": attempt} for attempt in attempts]

    def ids(**settings: bool) -> list[int]:
        held: list[int] = tokenizer.apply_chat_template(messages, return_dict=False, **settings)
        return held

    assert tuple(ids()) == context_tokens(problem, attempts)
    # A prefill, its delimiter at the end, is not trimmed.
    assert tuple(ids(continue_final_message=True)) == (*context_tokens(problem, attempts[:1]), *encode(attempts[1]))
    messages[0]["role"] = "system"
    with pytest.raises(Exception, match="allowed roles are user and assistant"):
        ids()


def test_servers_take_no_filters_from_the_directory(exported: Path) -> None:
    defaults = json.loads((exported / "generation_config.json").read_text())
    assert (defaults["temperature"], defaults["top_p"], defaults["top_k"]) == (1.0, 1.0, 0)
    assert json.loads((exported / "config.json").read_text())["max_position_embeddings"] == 832


@pytest.mark.parametrize("write", [export_hf, export_gguf])
@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("prm", "prm is a verifier, which no other engine can run: allowed are small, large, revision"),
        (WEIGHTS_DIRECTORY / "orm.safetensors", "is a verifier"),
        ("huge", "no model or weights file huge: allowed are small, large, revision, revision_paper or"),
    ],
)
def test_what_cannot_be_exported_is_refused(write: Any, model: str | Path, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        write(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("write", [export_hf, export_gguf])
def test_an_unwritable_place_is_one_line(write: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^cannot write .*file/out: (Not a directory|File exists)$"):
        write("small", tmp_path / "file" / "out")


def test_the_command_says_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    export("small", format="hf", out=tmp_path / "hf")
    export("small", format="gguf", out=tmp_path / "small.gguf")
    assert capsys.readouterr().out.split() == [str(tmp_path / "hf"), str(tmp_path / "small.gguf")]
    assert {file.name for file in (tmp_path / "hf").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (tmp_path / "small.gguf").read_bytes()[:4] == b"GGUF"
    with pytest.raises(ComputewiseError, match="nowhere is no run directory"):
        export("nowhere", format="parquet", out=tmp_path / "run.parquet")


def test_without_the_wheel_gguf_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError, match=r"pip install 'computewise\[gguf\]'"):
        export_gguf("small", tmp_path / "small.gguf")
