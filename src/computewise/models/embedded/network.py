"""The embedded models: configuration, vocabulary, weights on disk, the network in NumPy, and how a token is drawn."""

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

from computewise.costs import Parameters
from computewise.errors import ProblemError, WeightsError

EPSILON = 1e-5

"""Added to the mean square in RMSNorm."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A Llama-style decoder: RMSNorm, rotary positions, SwiGLU, tied embeddings, no biases.

    `verifier_layers` > 0 makes it a process reward model: that many further blocks read the final states of the first
    `layers` (see `computewise.training.generator.PRM`). `attempts` > 0: it was trained with up to that many earlier
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
    def size(self) -> Parameters:
        """The number of parameters, with the attention of all layers, the verifier's included."""
        return Parameters(self.parameters, (self.config.layers + self.config.verifier_layers) * self.config.width)

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


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seeds: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The `counts`-th uniform in [0, 1) of each seed: splitmix64 (Steele et al. 2014)."""
    x = seeds + (counts.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    log_probabilities: NDArray[np.float32], temperatures: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.int64]:
    """One token a row by inverse transform; the likeliest where the temperature is 0."""
    greedy = temperatures == 0
    scaled = log_probabilities / np.where(greedy, 1.0, temperatures)[:, None]
    cumulative = np.cumsum(np.exp(scaled - scaled.max(-1, keepdims=True)), -1)
    drawn = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1)
    return np.where(greedy, log_probabilities.argmax(-1), drawn)


Floats = NDArray[np.float32]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Block:
    """Matrices as (in, out); the norms' gains and attention's 1/sqrt(head) are folded in."""

    qkv: Floats
    output: Floats
    gate_up: Floats
    down: Floats


class Blocks:
    """A stack of pre-norm attention and SwiGLU blocks."""

    def __init__(self, weights: Weights, prefix: str, count: int) -> None:
        config = weights.config
        self.config = config
        self.head = config.width // config.heads
        self._blocks = [_fold(weights, f"{prefix}.{index}", self.head) for index in range(count)]
        frequencies = config.rope_base ** (-np.arange(self.head // 2) / (self.head // 2))
        # A row as long as the context may be padded by as much again.
        angles = np.outer(np.arange(2 * config.context), frequencies)
        self._cos, self._sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def new_cache(self, rows: int, capacity: int) -> Floats:
        """A cache (blocks, 2, rows, heads, capacity, head) for `forward`; axis 1 is keys, values."""
        return np.zeros((len(self._blocks), 2, rows, self.config.heads, capacity, self.head), np.float32)

    def forward(self, x: Floats, cache: Floats, past: Ints) -> Floats:
        """Run `x` (rows, time, width) at positions `past` (rows,) onwards; their keys and values go into `cache`.

        Rows may be padded on the right: what stands behind a row's last real token is never attended by it.
        """
        rows, time, width = x.shape
        heads, head, half = self.config.heads, self.head, self.head // 2
        positions = past[:, None] + np.arange(time)
        seen = int(positions.max()) + 1
        hidden = np.arange(seen) > positions[..., None]
        bias = np.where(hidden, np.float32(-1e9), np.float32(0))[:, None] if hidden.any() else None
        cos, sin = self._cos[positions][:, :, None, None], self._sin[positions][:, :, None, None]
        row = np.arange(rows)[:, None]
        for block, (keys, values) in zip(self._blocks, cache, strict=True):
            qkv = _times(_unit(x), block.qkv).reshape(rows, time, 3, heads, head)
            first, second = qkv[:, :, :2, :, :half], qkv[:, :, :2, :, half:]
            query_key = np.concatenate((first * cos - second * sin, second * cos + first * sin), -1)
            keys[row, :, positions], values[row, :, positions] = query_key[:, :, 1], qkv[:, :, 2]
            attended = _attend(query_key[:, :, 0], keys[:, :, :seen], values[:, :, :seen], bias)
            x = x + _times(attended.reshape(rows, time, width), block.output)
            gate_up = _times(_unit(x), block.gate_up)
            gate = gate_up[..., : self.config.hidden]
            # silu(g) = g / 2 * (1 + tanh(g / 2)), which no g overflows
            x = x + _times(gate * (np.tanh(0.5 * gate) + 1) * gate_up[..., self.config.hidden :], block.down)
        return x


def _times(x: Floats, matrix: Floats) -> Floats:
    """`x` @ `matrix` as one product: NumPy multiplies a stack of (1, width) rows one by one, at half the speed."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def _unit(x: Floats) -> Floats:
    mean_square = np.einsum("...w,...w->...", x, x) / np.float32(x.shape[-1])
    return x / np.sqrt(mean_square + np.float32(1e-5))[..., None]


def _attend(query: Floats, keys: Floats, values: Floats, bias: Floats | None) -> Floats:
    """Attention of `query` (rows, time, heads, head) over (rows, heads, seen, head); `bias` (rows, 1, time, seen)."""
    if query.shape[1] == 1:
        scores = np.matvec(keys, query[:, 0])
        _softmax(scores, bias[:, :, 0] if bias is not None else None)
        attended: Floats = np.vecmat(scores, values)[:, None]
        return attended
    scores = np.matmul(query.swapaxes(1, 2), keys.swapaxes(2, 3))
    _softmax(scores, bias)
    return np.matmul(scores, values).swapaxes(1, 2)


def _softmax(scores: Floats, bias: Floats | None) -> None:
    if bias is not None:
        scores += bias
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)


def _fold(weights: Weights, name: str, head: int) -> _Block:
    config = weights.config
    attention_gain, mlp_gain = weights[f"{name}.norm_attention.weight"], weights[f"{name}.norm_mlp.weight"]
    qkv = weights[f"{name}.qkv.weight"].T * attention_gain[:, None]
    qkv[:, : config.width] *= np.float32(head**-0.5)
    return _Block(
        qkv=np.ascontiguousarray(qkv),
        output=np.ascontiguousarray(weights[f"{name}.output.weight"].T),
        gate_up=np.ascontiguousarray(weights[f"{name}.gate_up.weight"].T * mlp_gain[:, None]),
        down=np.ascontiguousarray(weights[f"{name}.down.weight"].T * np.float32(0.5)),
    )


class Trunk:
    """The generator: embedding, blocks, logits by the tied embedding."""

    def __init__(self, weights: Weights) -> None:
        self.config = weights.config
        self.blocks = Blocks(weights, "blocks", weights.config.layers)
        self.embedding = weights["embedding.weight"]
        self.gain = weights["norm.weight"]

    def states(self, tokens: Ints, cache: Floats, past: Ints) -> Floats:
        """Normed final states (rows, time, width) of `tokens` (rows, time)."""
        return _unit(self.blocks.forward(self.embedding[tokens], cache, past)) * self.gain

    def logits(self, states: Floats) -> Floats:
        """Next-token logits of normed states."""
        return _times(states, self.embedding.T)


class VerifierHead:
    """The process reward model's own part: blocks that read what the generator predicted and which token followed.

    At each position they read the trunk's state one position back (which predicted the token that stands here), its
    state here, the token's embedding, and three numbers: the token's log-probability, the best token's, and the
    entropy of the prediction.
    """

    def __init__(self, weights: Weights) -> None:
        self.blocks = Blocks(weights, "verifier_blocks", weights.config.verifier_layers)
        self._input = np.ascontiguousarray(weights["input.weight"].T)
        self._gain = weights["verifier_norm.weight"]
        self._head, self._bias = weights["head.weight"][0], weights["head.bias"]

    def scores(
        self, before: Floats, here: Floats, embedded: Floats, surprise: Floats, cache: Floats, past: Ints
    ) -> Floats:
        """Probabilities (rows, time) that a solution with this beginning will end right."""
        x = _times(np.concatenate((before, here, embedded, surprise), -1), self._input)
        x = _unit(self.blocks.forward(x, cache, past)) * self._gain
        logits = x @ self._head + self._bias
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def log_softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), np.float32)
