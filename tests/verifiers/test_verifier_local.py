"""Verifiers in process, against the same arithmetic done the plain way: one text at a time, without padding."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from verifier_doubles import PROBLEM, candidate

from computewise.core import Candidate
from computewise.errors import ModelError, UsageError, WeightsError
from computewise.verifiers import local as reader_module
from computewise.verifiers.base import StepVerifier, VerifierSpec
from computewise.verifiers.load import open_verifier
from computewise.verifiers.local import LocalReader, load_reader, load_tensors
from computewise.verifiers.templates import Head, Labels, VerifierTemplate, find_template

torch = pytest.importorskip("torch", reason="verifiers in process need PyTorch, the extra [hf]")
transformers = pytest.importorskip("transformers", reason="verifiers in process need transformers, the extra [hf]")
tokenizers = pytest.importorskip("tokenizers", reason="verifiers in process need tokenizers, the extra [hf]")
torch.set_num_threads(1)

SHEPHERD = find_template("peiyi9979/math-shepherd-mistral-7b-prm")
SHEPHERD = replace(SHEPHERD, labels=Labels("+", "-"))
RLHFLOW = find_template("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data")
QWEN = find_template("Qwen/Qwen2.5-Math-PRM-7B")
SKYWORK = find_template("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B")
SPECIAL = ["<s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>", "<|eot_id|>"]
SPECIAL += ["<|start_header_id|>", "<|end_header_id|>"]
CORPUS = ["one two three ки + - Q? 7 boxes hold 84 pencils.\n\nsystem user assistant ки\n"] * 5
SOLUTIONS = [
    candidate("one\n\n", "two plus\nmore\n\n", "three"),
    candidate("a much longer first step than any of the others\n\n", "\n\n", "x", scores=(0.5,)),
    candidate("z", finished=False),
]
SMALL = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def save_tokenizer(path: Path, *, bos: bool, marked: bool = False, chat_template: str | None = None) -> Any:
    """One of 400 tokens at most: byte-level as Llama 3 and Qwen have it, or with blanks marked as Mistral does."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=marked, fuse_unk=marked))
    if marked:
        prepend, replace = tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")
        inner.normalizer = tokenizers.normalizers.Sequence([prepend, replace])
    else:
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
    alphabet = (
        list("Qabcdefghijklmnopqrstuvwxyz?+-\nки\u2581") if marked else tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([line for text in CORPUS for line in text.split()] if marked else CORPUS, trainer)
    if bos:
        inner.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
    if chat_template:
        tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(path)
    return tokenizer


def save_causal(path: Path, kind: str, seed: int = 0) -> Any:
    """A causal model of random weights, large enough for scores that differ."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SMALL, initializer_range=0.3)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.save_pretrained(path)
    return model


def save_trunk(path: Path, extra: dict[str, Any], *, binary: bool, without: str = "") -> Any:
    """A Qwen2 trunk with further tensors; as on the hub, its configuration names code of its own: it must not run."""
    from safetensors.torch import save_file

    torch.manual_seed(3)
    config = transformers.Qwen2Config(**SMALL, initializer_range=0.3)
    trunk = transformers.Qwen2Model(config).eval()
    held = {f"model.{name}": tensor for name, tensor in trunk.state_dict().items() if name != without} | extra
    if binary:
        torch.save(held, path / "pytorch_model.bin")
    else:
        save_file(held, path / "model.safetensors", metadata={"format": "pt"})
    (path / "modeling_own.py").write_text("raise SystemExit('code of a model directory has run')\n")
    own = {"architectures": ["Own"], "auto_map": {"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.C"}}
    (path / "config.json").write_text(json.dumps(config.to_dict() | own))
    return trunk


def verifier(reader: LocalReader) -> StepVerifier:
    return StepVerifier(reader, name="local", parameters=reader.parameters, aggregation="last")


async def check(reader: LocalReader, plain: Callable[[str, Sequence[str]], list[float]]) -> None:
    """The scores of `SOLUTIONS` are those that `plain` gives of question and steps, the known and the blank apart."""
    scores, usage = await verifier(reader).score(PROBLEM, SOLUTIONS)
    first, second, third = (plain("Q?", steps_of(one)) for one in SOLUTIONS)
    assert scores == [
        pytest.approx(first, abs=1e-5),
        pytest.approx((0.5, 0.5, second[1]), abs=1e-5),
        pytest.approx(third, abs=1e-5),
    ]
    assert len({round(score, 3) for score in (*first, second[1], *third)}) == 5
    assert usage.cached_verifier_tokens == 0
    assert usage.verifier_tokens > 20


def steps_of(one: Candidate) -> list[str]:
    return [step.text.strip() for step in one.steps if step.text.strip()]


def next_of_two(model: Any, ids: list[int], good: int, bad: int) -> float:
    """P(good) of the two after a prompt."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    return float(torch.exp(logits[good]) / (torch.exp(logits[good]) + torch.exp(logits[bad])))


@pytest.mark.parametrize("kind", ["Mistral", "Llama", "Qwen2"])
async def test_labels_at_the_marker(kind: str, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path, bos=True, marked=kind == "Mistral")
    model = save_causal(tmp_path, kind)
    good, bad = (tokenizer.encode(label, add_special_tokens=False)[0] for label in "+-")
    if kind == "Mistral":
        assert tokenizer.tokenize("one ки\ntwo")[:3] == ["\u2581one", "\u2581ки", "\n"]

    def plain(question: str, steps: Sequence[str]) -> list[float]:
        texts = [f"{question} " + "\n".join(f"{step} ки" for step in steps[: end + 1]) for end in range(len(steps))]
        return [next_of_two(model, tokenizer.encode(text), good, bad) for text in texts]

    reader = load_reader(tmp_path, SHEPHERD, device="cpu")
    assert reader.parameters == sum(one.numel() for one in model.parameters())
    await check(reader, plain)


@pytest.mark.parametrize("own", [False, True])
async def test_labels_where_the_reply_is_predicted(own: bool, tmp_path: Path) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.role }}:\n{{ m.content }}<|im_end|>{% endfor %}"
    opening = "{% if add_generation_prompt %}<|im_start|>assistant:\n{% endif %}"
    tokenizer = save_tokenizer(tmp_path, bos=True, chat_template=template + opening if own else None)
    model = save_causal(tmp_path, "Llama")
    good, bad = (tokenizer.encode(label, add_special_tokens=False)[0] for label in "+-")
    head = "<|start_header_id|>%s<|end_header_id|>\n\n"
    dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
    start, user, assistant, end = (
        ("", "<|im_start|>user:\n", "<|im_start|>assistant:\n", "<|im_end|>")
        if own
        else (head % "system" + dates, head % "user", head % "assistant", "<|eot_id|>")
    )

    def plain(question: str, steps: Sequence[str]) -> list[float]:
        scores, text = [], start
        for index, step in enumerate(steps):
            text += user + (f"{question} " if index == 0 else "") + step + end + assistant
            scores.append(next_of_two(model, tokenizer.encode(text), good, bad))
            text += "+" + end
        return scores

    await check(load_reader(tmp_path, RLHFLOW, device="cpu"), plain)


def classification_head() -> Any:
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))


async def test_a_classification_head_at_every_marker(tmp_path: Path) -> None:
    tokenizer, head = save_tokenizer(tmp_path, bos=False), classification_head()
    trunk = save_trunk(tmp_path, {f"score.{k}": v for k, v in head.state_dict().items()}, binary=False)
    system = "Please reason step by step, and put your final answer within \\boxed{}."

    def plain(question: str, steps: Sequence[str]) -> list[float]:
        asked = (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = tokenizer.encode(asked + "".join(f"{step}<extra_0>" for step in steps) + "<|im_end|>\n")
        with torch.no_grad():
            logits = head(trunk(torch.tensor([ids])).last_hidden_state[0])
        marker = tokenizer.convert_tokens_to_ids("<extra_0>")
        return [float(logits[at].softmax(-1)[1]) for at, id in enumerate(ids) if id == marker]

    reader = load_reader(tmp_path, QWEN, device="cpu")
    assert reader.parameters == sum(one.numel() for part in (trunk, head) for one in part.parameters())
    await check(reader, plain)


def value_head() -> dict[str, Any]:
    torch.manual_seed(6)
    return {"v_head.summary.weight": torch.randn(1, 32) / 3, "v_head.summary.bias": torch.tensor([0.1])}


@pytest.mark.parametrize("binary", [False, True])
async def test_a_value_head_at_the_end_of_every_step(binary: bool, tmp_path: Path) -> None:
    tokenizer, head = save_tokenizer(tmp_path, bos=False), value_head()
    trunk = save_trunk(tmp_path, head, binary=binary)

    def plain(question: str, steps: Sequence[str]) -> list[float]:
        ids, ends = tokenizer.encode(f"<|endoftext|>{question}\n"), []
        for step in steps:
            for line in step.split("\n"):
                ids += tokenizer.encode(line) + tokenizer.encode("\n")
            ends.append(len(ids) - 1)
        with torch.no_grad():
            states = trunk(torch.tensor([ids])).last_hidden_state[0]
        values = states @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"]
        return [float(torch.sigmoid(values[end])) for end in ends]

    reader = load_reader(tmp_path, SKYWORK, device="cpu")
    assert reader.parameters == sum(one.numel() for one in trunk.parameters()) + 33
    await check(reader, plain)


@pytest.fixture(scope="module")
def skywork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a value head."""
    path = tmp_path_factory.mktemp("skywork")
    save_tokenizer(path, bos=False)
    save_trunk(path, value_head(), binary=False)
    return path


@pytest.mark.parametrize("batch", [1, 60, 100_000])
async def test_a_score_does_not_depend_on_the_batch(batch: int, skywork: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "BATCH_TOKENS", batch)
    local = verifier(load_reader(skywork, SKYWORK, device="cpu"))
    alone = [(await local.score(PROBLEM, [one]))[0][0] for one in SOLUTIONS]
    together, usage = await local.score(PROBLEM, SOLUTIONS)
    assert together == [pytest.approx(scores, abs=1e-5) for scores in alone]
    each = [(await local.score(PROBLEM, [one]))[1].verifier_tokens for one in SOLUTIONS]
    assert usage.verifier_tokens == sum(each)


async def test_calls_at_once_take_turns(skywork: Path) -> None:
    local = verifier(load_reader(skywork, SKYWORK, device="cpu"))
    alone = [(await local.score(PROBLEM, [one]))[0] for one in SOLUTIONS]
    at_once = await asyncio.gather(*(local.score(PROBLEM, [one]) for one in SOLUTIONS))
    assert [scores for scores, _ in at_once] == alone


async def test_a_solution_beyond_the_context_is_refused(skywork: Path) -> None:
    local = verifier(load_reader(skywork, SKYWORK, device="cpu"))
    with pytest.raises(ModelError, match=r"a solution of \d+ tokens is longer than the verifier's context of 512"):
        await local.score(PROBLEM, [candidate("\u00e9" * 400)])


async def test_a_marker_that_grows_together_with_what_follows_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, bos=True)
    save_causal(tmp_path, "Llama")
    template = replace(SHEPHERD, layout=replace(SHEPHERD.layout, marker="o", between="n", step="{step} "))
    with pytest.raises(ModelError, match="joins the marker of step 1 with what follows"):
        await verifier(load_reader(tmp_path, template, device="cpu")).score(PROBLEM, [candidate("x", "e")])


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (Labels("good luck", "-"), r"the label 'good luck' is \d+ tokens: a label must be a single token"),
        (Labels("+", "+"), "are the same token"),
        (Labels("+", "-", 648, 387), "the labels' ids 648 and 387 are not in the vocabulary of"),
    ],
)
def test_labels_that_are_no_two_tokens_are_refused(labels: Labels, reason: str, tmp_path: Path) -> None:
    save_tokenizer(tmp_path, bos=True)
    save_causal(tmp_path, "Llama")
    with pytest.raises(UsageError, match=reason):
        load_reader(tmp_path, replace(SHEPHERD, labels=labels))


def test_a_missing_weight_is_not_left_random(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, bos=False)
    save_trunk(tmp_path, value_head(), binary=False, without="layers.1.mlp.up_proj.weight")
    with pytest.raises(WeightsError, match=r"lacks 1 weights of its model, layers\.1\.mlp\.up_proj\.weight among them"):
        load_reader(tmp_path, SKYWORK)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (QWEN, "has no tensor score.0.weight: it is another kind of model"),
        (SHEPHERD, r"lacks 1 weights of its model, lm_head\.weight"),
    ],
)
def test_a_directory_of_another_kind_is_refused(template: VerifierTemplate, reason: str, skywork: Path) -> None:
    with pytest.raises(WeightsError, match=reason):
        load_reader(skywork, template)


def test_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, bos=False)
    head = classification_head().state_dict()
    save_trunk(tmp_path, {f"score.{name}": tensor for name, tensor in head.items()}, binary=False)
    with pytest.raises(WeightsError, match="has a head of 2 outputs, its template says 3"):
        load_reader(tmp_path, replace(QWEN, head=Head(3, 1)))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is not a directory of a model: it has no config\.json"):
        load_reader(tmp_path, QWEN)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot read the tokenizer of") as caught:
        load_reader(tmp_path, QWEN)
    assert "\n" not in str(caught.value)
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(WeightsError, match="cannot read the weights of"):
        load_tensors(tmp_path, ["x"])
    with pytest.raises(UsageError, match="is a judge, which needs a chat server"):
        load_reader(tmp_path, find_template("judge"))


async def test_a_local_verifier_is_opened_and_checked(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, bos=True)
    model = save_causal(tmp_path, "Llama")
    mine = tmp_path / "mine.toml"
    text = 'name = "mine"\nfamily = "label"\n[layout]\nhead = "{question} "\nmarker = "ки"\n[labels]\n'
    reasons = []
    for good, bad in ("+-", "-+"):
        mine.write_text(f'{text}good = "{good}"\nbad = "{bad}"\n')
        try:
            opened = await open_verifier(VerifierSpec(str(mine), path=str(tmp_path), device="cpu"))
            assert opened is not None
            assert opened.parameters == sum(one.numel() for one in model.parameters())
            reasons.append("")
        except UsageError as error:
            reasons.append(str(error))
    assert sorted(bool(reason) for reason in reasons) == [False, True]  # one of the two orders is wrong
    assert "in the wrong order: the good and the bad label are probably swapped" in max(reasons)


def test_a_padded_batch_is_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "BATCH_TOKENS", 100)
    rows = [reader_module.TokenRow([0] * length, []) for length in (5, 60, 20, 33, 120, 7, 50, 31)]
    batches = reader_module.batches(rows)
    assert sorted(place for batch in batches for place in batch) == list(range(8))
    assert max(len(batch) * max(len(rows[place].ids) for place in batch) for batch in batches if len(batch) > 1) <= 100
    assert [[len(rows[place].ids) for place in batch] for batch in batches] == [[120], [60], [50, 33], [31, 20, 7], [5]]
