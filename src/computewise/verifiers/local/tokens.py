"""Laid-out text as token ids, and where in them each step is read."""

from __future__ import annotations

from typing import Any

from computewise.errors import ModelError, UsageError
from computewise.verifiers.layout import Laid
from computewise.verifiers.template import Labels


def encode_pieces(tokenizer: Any, laid: Laid, *, separately: bool) -> tuple[list[int], list[int]]:
    """Token ids and the index of each step's read-out: that of the last token before it."""
    if separately:
        lengths, ids = [0], []
        for piece in laid.pieces:
            ids += tokenizer.encode(piece, add_special_tokens=False)
            lengths.append(len(ids))
        return ids, [lengths[end] - 1 for end in laid.ends]
    encoded = tokenizer(laid.text, return_offsets_mapping=True)
    last = {end: index for index, (start, end) in enumerate(encoded["offset_mapping"]) if end > start}
    wanted = [len(laid.prefix(step)) for step in range(len(laid.ends))]
    missing = [step for step, end in enumerate(wanted, 1) if end not in last]
    if missing:
        raise ModelError(f"the tokenizer joins the marker of step {missing[0]} with what follows: wrong marker?")
    return list(encoded["input_ids"]), [last[end] for end in wanted]


def label_tokens(tokenizer: Any, labels: Labels) -> tuple[int, int]:
    """The good and the bad label's id; raises `UsageError` for a label that is not a single token."""
    given = (labels.good, labels.good_id), (labels.bad, labels.bad_id)
    good, bad = [_single(tokenizer, text) if id is None else id for text, id in given]
    if good == bad:
        raise UsageError(f"the labels {labels.good!r} and {labels.bad!r} are the same token, {good}")
    if max(good, bad) >= len(tokenizer):
        raise UsageError(f"the labels' ids {good} and {bad} are beyond the vocabulary's {len(tokenizer)}")
    return good, bad


def _single(tokenizer: Any, text: str) -> int:
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise UsageError(f"the label {text!r} is {len(ids)} tokens: a label must be a single token")
    return int(ids[0])
