"""Reward models in this process, from a directory of weights (the extra [hf])."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from computewise.core import Usage
from computewise.errors import ModelError, UsageError, WeightsError
from computewise.verifiers.templates import (
    Head,
    Labels,
    Layout,
    ScoredSteps,
    StepPrompt,
    VerifierTemplate,
    render_prompt,
)


def encode_pieces(tokenizer: Any, prompt: StepPrompt, *, separately: bool) -> tuple[list[int], list[int]]:
    """Token ids, and for each step the index of the token where its score is read, the last one before its end."""
    if separately:
        lengths, ids = [0], []
        for piece in prompt.pieces:
            ids += tokenizer.encode(piece, add_special_tokens=False)
            lengths.append(len(ids))
        return ids, [lengths[end] - 1 for end in prompt.ends]
    encoded = tokenizer(prompt.text, return_offsets_mapping=True)
    last = {end: index for index, (start, end) in enumerate(encoded["offset_mapping"]) if end > start}
    wanted = [len(prompt.prefix(step)) for step in range(len(prompt.ends))]
    missing = [step for step, end in enumerate(wanted, 1) if end not in last]
    if missing:
        raise ModelError(f"the tokenizer joins the marker of step {missing[0]} with what follows: wrong marker?")
    return list(encoded["input_ids"]), [last[end] for end in wanted]


def label_tokens(tokenizer: Any, labels: Labels) -> tuple[int, int]:
    """The good and the bad label's id; raises `UsageError` for a label that is not a single token."""
    given = (labels.good, labels.good_id), (labels.bad, labels.bad_id)
    good, bad = [_single(tokenizer, text) if id is None else id for text, id in given]
    if good == bad:
        raise UsageError(f"the labels {labels.good!r} and {labels.bad!r} are the same token, {good}")
    if max(good, bad) >= len(tokenizer):
        raise UsageError(f"the labels' ids {good} and {bad} are not in the vocabulary of {len(tokenizer)} tokens")
    return good, bad


def _single(tokenizer: Any, text: str) -> int:
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise UsageError(f"the label {text!r} is {len(ids)} tokens: a label must be a single token")
    return int(ids[0])


_SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class ScoreHead(Protocol):
    """Maps states (read-outs, width) to scores (read-outs,) in single precision."""

    @property
    def parameters(self) -> int:
        """The number of parameters beyond the trunk's."""
        ...

    def scores(self, states: Any) -> Any:
        """The scores of states."""
        ...


class LabelHead:
    """Softmax over the logits of two tokens; only two rows of the output embedding are computed."""

    def __init__(self, model: Any, tokenizer: Any, labels: Labels) -> None:
        scaled = [name for name in _SCALED if getattr(model.config, name, None)]
        if scaled:
            raise UsageError(f"this model transforms its logits ({scaled[0]}): serve it, and give its URL")
        output = model.get_output_embeddings()
        ids = list(label_tokens(tokenizer, labels))
        self._weight = output.weight[ids].detach()
        self._bias = None if output.bias is None else output.bias[ids].detach()
        shared = output.weight is model.get_input_embeddings().weight
        self.parameters = 0 if shared else output.weight.numel()

    def scores(self, states: Any) -> Any:
        """See `ScoreHead.scores`."""
        return torch_module().nn.functional.linear(states, self._weight, self._bias).float().softmax(-1)[:, 0]


class ClassificationHead:
    """Two linear layers with a ReLU between them, `score.0` and `score.2`, as in Qwen2ForProcessRewardModel."""

    def __init__(self, path: Path, model: Any, head: Head) -> None:
        torch = torch_module()
        held = load_tensors(path, [f"score.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")])
        if held["score.2.weight"].shape[0] != head.outputs:
            found = held["score.2.weight"].shape[0]
            raise WeightsError(f"{path} has a head of {found} outputs, its template says {head.outputs}")
        parameter = next(model.parameters())
        self._held = {name: tensor.to(parameter) for name, tensor in held.items()}
        self._good = head.good
        self._linear = torch.nn.functional.linear
        self.parameters = sum(tensor.numel() for tensor in held.values())

    def scores(self, states: Any) -> Any:
        """See `ScoreHead.scores`."""
        hidden = self._linear(states, self._held["score.0.weight"], self._held["score.0.bias"]).relu()
        logits = self._linear(hidden, self._held["score.2.weight"], self._held["score.2.bias"])
        return logits.float().softmax(-1)[:, self._good]


class ValueHead:
    """Sigmoid of one linear layer, `v_head.summary`, in single precision."""

    def __init__(self, path: Path, model: Any) -> None:
        held = load_tensors(path, ["v_head.summary.weight", "v_head.summary.bias"])
        device = next(model.parameters()).device
        self._weight, self._bias = (
            held[f"v_head.summary.{part}"].float().to(device).reshape(-1) for part in ("weight", "bias")
        )
        self.parameters = self._weight.numel() + 1

    def scores(self, states: Any) -> Any:
        """See `ScoreHead.scores`."""
        return (states.float() @ self._weight + self._bias).sigmoid()


def torch_module() -> Any:
    """PyTorch; raises `UsageError` where it or transformers is not installed."""
    try:
        import torch
        import transformers  # noqa: F401 - so that its absence is reported here, in one line
    except ImportError:
        raise UsageError("a verifier in process needs transformers: pip install 'computewise[hf]'") from None
    return torch


def load_tokenizer(path: Path) -> Any:
    """The directory's tokenizer."""
    from transformers import AutoTokenizer

    _check_directory(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise WeightsError(f"cannot read the tokenizer of {path}: {_line(error)}") from None
    if not tokenizer.is_fast:
        raise WeightsError(f"the tokenizer of {path} has no token offsets: its tokenizer.json is missing")
    return tokenizer


def load_model(path: Path, *, causal: bool, device: str, dtype: str) -> Any:
    """The trunk, or the whole causal model; raises `WeightsError` for a missing weight, which would be random."""
    torch = torch_module()
    from transformers import AutoModel, AutoModelForCausalLM

    kind: Any = AutoModelForCausalLM if causal else AutoModel
    try:
        model, report = kind.from_pretrained(path, dtype=dtype, trust_remote_code=False, output_loading_info=True)
    except (OSError, ValueError, ImportError) as error:
        raise WeightsError(f"cannot read the model of {path}: {_line(error)}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(f"{path} lacks {len(missing)} weights of its model, {missing[0]} among them")
    return model.to(torch.device(pick_device(torch, device))).eval()


def load_tensors(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Tensors by name from the weights files of a directory."""
    torch = torch_module()
    from safetensors import SafetensorError, safe_open

    found: dict[str, Any] = {}
    try:
        for file in sorted(path.glob("*.safetensors")):
            with safe_open(file, framework="pt") as held:
                found |= {name: held.get_tensor(name) for name in held.keys() if name in names}  # noqa: SIM118
        if len(found) < len(names):
            for file in sorted(path.glob("*.bin")):
                held = torch.load(file, map_location="cpu", weights_only=True)
                found |= {name: held[name] for name in names if name in held}
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise WeightsError(f"cannot read the weights of {path}: {_line(error)}") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise WeightsError(f"{path} has no tensor {missing[0]}: it is another kind of model")
    return found


def pick_device(torch: Any, device: str) -> str:
    """The device of that name; for "auto" the first accelerator, else the processor."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _check_directory(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise WeightsError(f"{path} is not a directory of a model: it has no config.json")


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


BATCH_TOKENS = 16_384

"""Tokens of a batch, padding included."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One solution as token ids; `ends` are the read-outs of its new steps."""

    ids: list[int]
    ends: list[int]


class LocalReader:
    """Reads every solution from its beginning; nothing is kept between calls, so no token counts as cached."""

    def __init__(self, trunk: Any, head: ScoreHead, tokenizer: Any, layout: Layout) -> None:
        self.parameters = sum(one.numel() for one in trunk.parameters()) + head.parameters
        self._trunk = trunk
        self._head = head
        self._tokenizer = tokenizer
        self._layout = layout
        self._chat_template = _own_chat_template(tokenizer) if layout.turns else ""
        self._lock = asyncio.Lock()

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        async with self._lock:
            return await asyncio.to_thread(self._read, question, solutions)

    def _read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        rows = [self._row(question, solution) for solution in solutions]
        scores: dict[int, tuple[float, ...]] = {}
        for batch in batches(rows):
            scores.update(zip(batch, self._forward([rows[place] for place in batch]), strict=True))
        usage = Usage(verifier_tokens=sum(len(row.ids) for row in rows))
        return [scores[place] for place in range(len(rows))], usage

    def _row(self, question: str, solution: ScoredSteps) -> TokenRow:
        prompt = render_prompt(self._layout, question, solution.steps, chat_template=self._chat_template)
        ids, ends = encode_pieces(self._tokenizer, prompt, separately=self._layout.separately)
        limit = getattr(self._trunk.config, "max_position_embeddings", None) or len(ids)
        if len(ids) > limit:
            raise ModelError(f"a solution of {len(ids)} tokens is longer than the verifier's context of {limit}")
        return TokenRow(ids, ends[solution.known :])

    def _forward(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """The scores of a batch, padded on the right; a causal model needs no mask, since padding comes last."""
        torch = torch_module()
        width = max(len(row.ids) for row in rows)
        padded = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows])
        device = next(self._trunk.parameters()).device
        places = [(index, end) for index, row in enumerate(rows) for end in row.ends]
        with torch.inference_mode():
            read = self._trunk(input_ids=padded.to(device), use_cache=False)
            index, end = (torch.tensor(one, device=device) for one in zip(*places, strict=True))
            found = iter(self._head.scores(read.last_hidden_state[index, end]).tolist())
        return [tuple(next(found) for _ in row.ends) for row in rows]


def load_reader(path: Path, template: VerifierTemplate, *, device: str = "auto", dtype: str = "auto") -> LocalReader:
    """Read a model's directory; raises `WeightsError` for one of another kind, `UsageError` for wrong labels."""
    torch_module()
    if template.judge is not None:
        raise UsageError(f"{template.name} is a judge, which needs a chat server: give a base_url, not a path")
    tokenizer = load_tokenizer(path)
    model = load_model(path, causal=template.labels is not None, device=device, dtype=dtype)
    if template.labels is not None:
        return LocalReader(model.base_model, LabelHead(model, tokenizer, template.labels), tokenizer, template.layout)
    head = ClassificationHead(path, model, template.head) if template.head is not None else ValueHead(path, model)
    return LocalReader(model, head, tokenizer, template.layout)


def _own_chat_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, "" where it has none or several."""
    return tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""


def batches(rows: Sequence[TokenRow]) -> list[list[int]]:
    """Batches of row indices, rows of similar length together, the longest first.

    A padded batch of several rows has at most `BATCH_TOKENS` tokens.
    """
    found: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda place: -len(rows[place].ids)):
        if not found or (len(found[-1]) + 1) * len(rows[found[-1][0]].ids) > BATCH_TOKENS:
            found.append([])
        found[-1].append(place)
    return found
