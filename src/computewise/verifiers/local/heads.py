"""What turns a trunk's last states at the read-outs into scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from computewise.errors import UsageError, WeightsError
from computewise.verifiers.local.loading import load_tensors, torch_module
from computewise.verifiers.local.tokens import label_tokens
from computewise.verifiers.template import Head, Labels

_SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class ScoreHead(Protocol):
    """From states, (read-outs, width), to scores, (read-outs,), in single precision."""

    @property
    def parameters(self) -> int:
        """How many numbers it has beyond the trunk's."""
        ...

    def scores(self, states: Any) -> Any:
        """See above."""
        ...


class LabelHead:
    """Softmax over two tokens' logits: two rows of the output embedding, so no logits of the whole vocabulary."""

    def __init__(self, model: Any, tokenizer: Any, labels: Labels) -> None:
        scaled = [name for name in _SCALED if getattr(model.config, name, None)]
        if scaled:
            raise UsageError(f"this model transforms its logits ({scaled[0]}): serve it instead")
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
    """Two linear layers with a ReLU between, `score.0` and `score.2`, as Qwen2ForProcessRewardModel has them."""

    def __init__(self, path: Path, model: Any, head: Head) -> None:
        torch = torch_module()
        held = load_tensors(path, [f"score.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")])
        if held["score.2.weight"].shape[0] != head.outputs:
            raise WeightsError(f"{path} has {held['score.2.weight'].shape[0]} outputs, its template {head.outputs}")
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
