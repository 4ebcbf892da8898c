"""A model directory in the form of the Hugging Face hub, read without running any code it holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from computewise.errors import UsageError, WeightsError


def torch_module() -> Any:
    """PyTorch, with transformers beside it."""
    try:
        import torch
        import transformers  # noqa: F401 - to refuse here, in one line
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
        raise WeightsError(f"the tokenizer of {path} does not tell where in the text a token stands: no tokenizer.json")
    return tokenizer


def load_model(path: Path, *, causal: bool, device: str, dtype: str) -> Any:
    """The trunk, or the whole causal model; raises `WeightsError` where a weight is missing, not left random."""
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
    """Tensors by name out of whatever weights files a directory has."""
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
        raise WeightsError(f"{path} has no {missing[0]}: it is another kind of model")
    return found


def pick_device(torch: Any, device: str) -> str:
    """The first accelerator for "auto", else what was asked for."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _check_directory(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise WeightsError(f"{path} is no directory of a model: it has no config.json")


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
