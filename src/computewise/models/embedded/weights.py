"""The embedded models' configuration, vocabulary and weights on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from computewise.errors import ProblemError, WeightsError

EPSILON = 1e-5

"""Added to the mean square in RMSNorm."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A Llama-style decoder: RMSNorm, rotary positions, SwiGLU, tied embeddings, no biases.

    `verifier_layers` > 0 makes it a process reward model: that many further blocks read the final states of the first
    `layers` (see `computewise.training.network.PRM`). `attempts` > 0: it was trained with up to that many earlier
    attempts between prompt and solution, with `verdicts` each up to and with the step that the verifier doubts most.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int
    verifier_layers: int = 0
    rope_base: float = 10_000.0
    context: int = 256
    attempts: int = 0
    verdicts: bool = False


END = 0

"""The token before a prompt and after a solution."""


_CHARACTERS = "\n0123456789+-*().? "

_NAMES = ("Ann", "Ben", "Cora", "Dan", "Eve", "Finn", "Then", "How many")

_WORDS = (
    *("has", "buys", "finds", "wins", "loses", "sells", "drops", "gives", "bags of", "friends", "each"),
    *("times as many", "apples", "books", "coins", "pens", "shells", "stamps"),
)

TOKENS: tuple[str, ...] = ("<end>", *_CHARACTERS, *_NAMES, *(f" {word}" for word in (*_NAMES, *_WORDS)))

_IDS = {token: index for index, token in enumerate(TOKENS)}

_PATTERN = re.compile("|".join(sorted(map(re.escape, TOKENS[1:]), key=len, reverse=True)))


def encode(text: str) -> list[int]:
    """Token ids of `text`; raises `ProblemError` at a character that no token holds."""
    pieces = _PATTERN.findall(text)
    if sum(map(len, pieces)) != len(text):
        unread = _PATTERN.sub(lambda match: " " * len(match.group()), text).lstrip(" ")
        position = len(text) - len(unread)
        raise ProblemError(f"the embedded models cannot read {text[position]!r} (position {position + 1})")
    return [_IDS[piece] for piece in pieces]


def decode(tokens: list[int]) -> str:
    """The text of token ids; the end token is empty."""
    return "".join(TOKENS[token] for token in tokens if token != END)


WEIGHTS_DIRECTORY = Path(__file__).parents[2] / "weights"


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors by name, in single precision, and the shape they make."""

    config: NetworkConfig
    tensors: Mapping[str, NDArray[np.float32]]

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        try:
            return self.tensors[name]
        except KeyError:
            raise WeightsError(
                f"the weights hold no tensor {name!r}: is this the file of another kind of model?"
            ) from None

    @property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(tensor.size for tensor in self.tensors.values())


def load_weights(path: Path) -> Weights:
    """Read a weights file; raises `WeightsError` where it is missing, corrupt or not finite."""
    try:
        with safe_open(path, framework="np") as file:
            config = NetworkConfig(**json.loads((file.metadata() or {})["network"]))
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(f"no weights file {path}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise WeightsError(f"corrupt weights file {path}: {error}") from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise WeightsError(f"corrupt weights file {path}: {name} holds numbers that are not finite")
        if tensor.shape != _shape(config, name):
            raise WeightsError(f"corrupt weights file {path}: {name} is {tensor.shape}, not {_shape(config, name)}")
    return Weights(config, tensors)


def _shape(config: NetworkConfig, name: str) -> tuple[int, ...] | None:
    width, hidden = config.width, config.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocabulary, width),
        "qkv.weight": (3 * width, width),
        "output.weight": (width, width),
        "gate_up.weight": (2 * hidden, width),
        "down.weight": (width, hidden),
        "input.weight": (width, 3 * width + 3),
        "head.weight": (1, width),
        "head.bias": (1,),
    }
    kind = ".".join(name.split(".")[-2:])
    return (width,) if "norm" in kind else shapes.get(kind)


def save_weights(path: Path, weights: Weights) -> None:
    """Write a weights file in half precision."""
    half = {name: np.ascontiguousarray(tensor.astype(np.float16)) for name, tensor in weights.tensors.items()}
    save_file(half, path, metadata={"network": json.dumps(asdict(weights.config))})
    path.chmod(0o644)
