"""The shape of an embedded model: what a weights file must say about itself."""

from __future__ import annotations

from dataclasses import dataclass

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
