"""The tensors under the names of Hugging Face's Llama, whose rotary halves and gate order are ours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from computewise.models.weights import Weights

Floats = NDArray[np.float32]


def llama_tensors(weights: Weights) -> dict[str, Floats]:
    """Single precision: half of it already holds the weights, but the engines would compute in half as well."""
    tensors = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    for index in range(weights.config.layers):
        ours, theirs = f"blocks.{index}", f"model.layers.{index}"
        query, key, value = np.split(weights[f"{ours}.qkv.weight"], 3)
        gate, up = np.split(weights[f"{ours}.gate_up.weight"], 2)
        tensors |= {
            f"{theirs}.input_layernorm.weight": weights[f"{ours}.norm_attention.weight"],
            f"{theirs}.self_attn.q_proj.weight": query,
            f"{theirs}.self_attn.k_proj.weight": key,
            f"{theirs}.self_attn.v_proj.weight": value,
            f"{theirs}.self_attn.o_proj.weight": weights[f"{ours}.output.weight"],
            f"{theirs}.post_attention_layernorm.weight": weights[f"{ours}.norm_mlp.weight"],
            f"{theirs}.mlp.gate_proj.weight": gate,
            f"{theirs}.mlp.up_proj.weight": up,
            f"{theirs}.mlp.down_proj.weight": weights[f"{ours}.down.weight"],
        }
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
