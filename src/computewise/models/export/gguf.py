"""Export as a GGUF file: what llama.cpp and what is built on it load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from computewise.errors import UsageError
from computewise.models.config import EPSILON, NetworkConfig
from computewise.models.export.chat import CHAT_TEMPLATE
from computewise.models.export.source import find_generator, writing
from computewise.models.export.tensors import Floats, llama_tensors
from computewise.models.vocabulary import END, TOKENS


def export_gguf(model: str | Path, out: Path) -> Path:
    """Write `model` (a name or a weights file) to the file `out`, in single precision.

    With half, llama.cpp rounds what it multiplies by the weights too: 3 of 600 greedy solutions of `small` then differ
    from the in-process engine's, with single none.
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
    """Rows of each head reordered from halves, which are rotated against each other, to llama.cpp's adjacent pairs."""
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
    """Words are user-defined tokens, cut out of the text longest first; what is left is read character by character."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    # SentencePiece's name of a blank; a user-defined token is matched as it stands.
    writer.add_token_list(["\u2581" if token == " " else token for token in TOKENS])
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([kind.CONTROL, *(kind.NORMAL if len(t) == 1 else kind.USER_DEFINED for t in TOKENS[1:])])
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
