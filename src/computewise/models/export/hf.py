"""Export as a Hugging Face model directory: what transformers, vLLM and SGLang load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from computewise.models.config import EPSILON, NetworkConfig
from computewise.models.export.chat import CHAT_TEMPLATE
from computewise.models.export.source import find_generator, writing
from computewise.models.export.tensors import llama_tensors
from computewise.models.vocabulary import END, TOKENS


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
    """Sampling from the model's own distribution: servers take their defaults from here."""
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
