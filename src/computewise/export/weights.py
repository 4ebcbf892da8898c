"""Embedded models as GGUF and Hugging Face directories."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from computewise.errors import UsageError, WeightsError
from computewise.models.embedded.network import (
    END,
    EPSILON,
    TOKENS,
    WEIGHTS_DIRECTORY,
    NetworkConfig,
    Weights,
    load_weights,
)

Floats = NDArray[np.float32]


def llama_tensors(weights: Weights) -> dict[str, Floats]:
    """Single precision: half would hold the weights exactly, but the engines would then compute in half as well."""
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


GENERATORS = ("small", "large", "revision", "revision_paper")

VERIFIERS = ("prm", "orm")


@dataclass(frozen=True, slots=True)
class EmbeddedWeights:
    """A generator and the name of its export."""

    name: str
    weights: Weights


def find_generator(model: str | Path) -> EmbeddedWeights:
    """The generator of that name or file; raises `UsageError` for a verifier, which no other engine can run."""
    name = str(model)
    if name not in GENERATORS + VERIFIERS and not Path(name).is_file():
        raise UsageError(f"no model or weights file {name}: allowed are {', '.join(GENERATORS)} or a .safetensors file")
    shipped = name in GENERATORS + VERIFIERS
    weights = load_weights(WEIGHTS_DIRECTORY / f"{name}.safetensors" if shipped else Path(name))
    if weights.config.verifier_layers:
        raise UsageError(f"{name} is a verifier, which no other engine can run: allowed are {', '.join(GENERATORS)}")
    if weights.config.vocabulary != len(TOKENS):
        raise WeightsError(f"weights of {weights.config.vocabulary} tokens: this package uses {len(TOKENS)}")
    return EmbeddedWeights(Path(name).stem, weights)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn an error in writing into one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from None


CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{{- message.content + '\n' -}}"
    "{%- elif message.role == 'assistant' -%}{{- message.content + eos_token -}}"
    "{%- else -%}{{- raise_exception('allowed roles are user and assistant') -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
)

"""Renders the text of `computewise.models.embedded.model.context_tokens`."""


def export_gguf(model: str | Path, out: Path) -> Path:
    """Write `model` (a name or a weights file) to the file `out`, in single precision.

    With half precision, llama.cpp also rounds what it multiplies by the weights: 3 of 600 greedy solutions of `small`
    then differ from those of the in-process engine, with single precision none.
    """
    try:
        import gguf
    except ImportError:
        raise UsageError("writing GGUF needs gguf: pip install 'computewise[gguf]'") from None
    source = find_generator(model)
    config = source.weights.config
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(out, "llama")
        writer.add_name(f"computewise-{source.name}")
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        _add_network(writer, config)
        _add_tokenizer(writer, gguf.TokenType)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.layers)
        for name, tensor in llama_tensors(source.weights).items():
            rotated = "q_proj" in name or "k_proj" in name
            theirs = f"{names[name.removesuffix('.weight')]}.weight"
            writer.add_tensor(theirs, _pairs(tensor, config.heads) if rotated else tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return out


def _pairs(tensor: Floats, heads: int) -> Floats:
    """Reorder the rows of each head from halves that are rotated against each other to llama.cpp's adjacent pairs."""
    rows, width = tensor.shape
    halves = tensor.reshape(heads, 2, rows // heads // 2, width)
    return halves.swapaxes(1, 2).reshape(rows, width)


def _add_network(writer: Any, config: NetworkConfig) -> None:
    writer.add_vocab_size(config.vocabulary)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.heads)
    writer.add_rope_dimension_count(config.width // config.heads)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(EPSILON)


def _add_tokenizer(writer: Any, kind: Any) -> None:
    """Words are user-defined tokens, the longest first; the rest of a text is read character by character."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    # SentencePiece's name for a blank; a user-defined token is matched literally.
    writer.add_token_list(["\u2581" if token == " " else token for token in TOKENS])
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([kind.CONTROL, *(kind.NORMAL if len(t) == 1 else kind.USER_DEFINED for t in TOKENS[1:])])
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def export_hf(model: str | Path, out: Path) -> Path:
    """Write config, weights, tokenizer and generation defaults of `model` (a name or a weights file) into `out`."""
    source = find_generator(model)
    config = source.weights.config
    files = {
        "config.json": _config(config),
        "generation_config.json": _generation(),
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": _tokenizer_config(config),
    }
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        save_file(llama_tensors(source.weights), out / "model.safetensors", metadata={"format": "pt"})
        (out / "model.safetensors").chmod(0o644)
    return out


def _config(config: NetworkConfig) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "head_dim": config.width // config.heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": EPSILON,
        "rope_theta": config.rope_base,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": END,
        "eos_token_id": END,
        "torch_dtype": "float32",
    }


def _generation() -> dict[str, Any]:
    """Samples from the model's own distribution: servers take their defaults from this file."""
    return {
        "bos_token_id": END,
        "eos_token_id": END,
        "pad_token_id": END,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
    }


def _tokenizer() -> dict[str, Any]:
    """Split at the longest tokens from the left, then look up: a piece that is no token is an error, as in `encode`."""
    end = TOKENS[END]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": END,
                "content": end,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "|".join(map(re.escape, sorted(TOKENS[1:], key=len, reverse=True)))},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": end, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {end: {"id": end, "ids": [END], "tokens": [end]}},
        },
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {token: index for index, token in enumerate(TOKENS)},
            "unk_token": "<unknown>",
        },
    }


def _tokenizer_config(config: NetworkConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": TOKENS[END],
        "eos_token": TOKENS[END],
        "pad_token": TOKENS[END],
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
