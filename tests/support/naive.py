"""The embedded networks written down once more, as plainly as possible: double precision, no cache, no batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from computewise.models.embedded.network import END, TOKENS, NetworkConfig, Weights

Array = NDArray[np.float64]

TINY = NetworkConfig(width=16, layers=2, heads=2, hidden=24, vocabulary=len(TOKENS), context=160)
TINY_PRM = NetworkConfig(width=16, layers=2, heads=2, hidden=24, vocabulary=len(TOKENS), verifier_layers=1, context=160)
TINY_REVISION = replace(TINY, attempts=4)
TINY_ORM = replace(TINY_PRM, attempts=4)


def random_weights(config: NetworkConfig, seed: int = 0) -> Weights:
    """Untrained weights, large enough that predictions are far from uniform."""
    rng = np.random.default_rng(seed)
    width, hidden = config.width, config.hidden

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return rng.normal(0, 1.5 * columns**-0.5, (rows, columns)).astype(np.float32)

    def gain() -> NDArray[np.float32]:
        return rng.uniform(0.7, 1.3, width).astype(np.float32)

    def block(name: str) -> dict[str, NDArray[np.float32]]:
        return {
            f"{name}.norm_attention.weight": gain(),
            f"{name}.qkv.weight": matrix(3 * width, width),
            f"{name}.output.weight": matrix(width, width),
            f"{name}.norm_mlp.weight": gain(),
            f"{name}.gate_up.weight": matrix(2 * hidden, width),
            f"{name}.down.weight": matrix(width, hidden),
        }

    tensors = {"embedding.weight": matrix(config.vocabulary, width), "norm.weight": gain()}
    for index in range(config.layers):
        tensors |= block(f"blocks.{index}")
    if config.verifier_layers:
        tensors |= {"input.weight": matrix(width, 3 * width + 3), "verifier_norm.weight": gain()}
        tensors |= {"head.weight": matrix(1, width), "head.bias": np.array([0.1], np.float32)}
        for index in range(config.verifier_layers):
            tensors |= block(f"verifier_blocks.{index}")
    return Weights(config, tensors)


def _norm(x: Array, gain: Array) -> Array:
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gain)


def _rotate(x: Array, config: NetworkConfig) -> Array:
    """`x` (time, heads, head)."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * config.rope_base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return np.concatenate((x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin), -1)


def _block(weights: Weights, name: str, x: Array) -> Array:
    config = weights.config
    time, head = len(x), config.width // config.heads
    qkv = _norm(x, _get(weights, f"{name}.norm_attention")) @ _get(weights, f"{name}.qkv").T
    query, key, value = qkv.reshape(time, 3, config.heads, head).swapaxes(0, 1)
    query, key = _rotate(query, config), _rotate(key, config)
    scores = np.einsum("qhd,khd->hqk", query, key) / head**0.5
    scores[:, np.triu(np.ones((time, time), bool), 1)] = -np.inf
    attention = np.exp(log_softmax(scores))
    x = x + np.einsum("hqk,khd->qhd", attention, value).reshape(time, -1) @ _get(weights, f"{name}.output").T
    gate, up = np.split(_norm(x, _get(weights, f"{name}.norm_mlp")) @ _get(weights, f"{name}.gate_up").T, 2, -1)
    return np.asarray(x + (gate / (1 + np.exp(-gate)) * up) @ _get(weights, f"{name}.down").T)


def _get(weights: Weights, name: str) -> Array:
    return weights[f"{name}.weight"].astype(np.float64)


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def states(weights: Weights, tokens: list[int]) -> Array:
    """Normed final states (time, width)."""
    x = _get(weights, "embedding")[tokens]
    for index in range(weights.config.layers):
        x = _block(weights, f"blocks.{index}", x)
    return _norm(x, _get(weights, "norm"))


def log_probabilities(weights: Weights, tokens: list[int]) -> Array:
    """Of what follows each token: (time, vocabulary)."""
    return log_softmax(states(weights, tokens) @ _get(weights, "embedding").T)


def greedy(weights: Weights, tokens: list[int], count: int) -> list[int]:
    """The likeliest continuation, the whole text read anew for every token."""
    drawn: list[int] = []
    while len(drawn) < count and END not in drawn:
        drawn.append(int(log_probabilities(weights, tokens + drawn)[-1].argmax()))
    return drawn


def logprobs(weights: Weights, tokens: list[int], drawn: list[int]) -> Array:
    """Of each drawn token, given what stands before it."""
    predicted = log_probabilities(weights, [*tokens, *drawn])[len(tokens) - 1 : -1]
    return np.asarray(predicted[np.arange(len(drawn)), drawn])


def verifier_scores(weights: Weights, tokens: list[int]) -> Array:
    """The process reward model's score at every token."""
    here = states(weights, tokens)
    before = np.concatenate((np.zeros((1, weights.config.width)), here[:-1]))
    expected = log_softmax(before @ _get(weights, "embedding").T)
    came = expected[np.arange(len(tokens)), tokens]
    surprise = np.stack((came, expected.max(-1), -(np.exp(expected) * expected).sum(-1)), -1).clip(min=-20)
    surprise[0] = 0
    embedded = _get(weights, "embedding")[tokens]
    x = np.concatenate((before, here, embedded, surprise), -1) @ _get(weights, "input").T
    for index in range(weights.config.verifier_layers):
        x = _block(weights, f"verifier_blocks.{index}", x)
    logits = _norm(x, _get(weights, "verifier_norm")) @ _get(weights, "head")[0] + weights["head.bias"][0]
    return np.asarray(1 / (1 + np.exp(-logits)))
