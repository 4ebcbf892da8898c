"""A process reward model in this process, by transformers: solutions in padded batches, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError, UsageError
from computewise.verifiers.layout import Solution, lay_out
from computewise.verifiers.local.heads import ClassificationHead, LabelHead, ScoreHead, ValueHead
from computewise.verifiers.local.loading import load_model, load_tokenizer, torch_module
from computewise.verifiers.local.tokens import encode_pieces
from computewise.verifiers.template import Layout, Template

BATCH_TOKENS = 16_384
"""Tokens of a batch, padding included."""


@dataclass(frozen=True, slots=True)
class Row:
    """One solution as ids; `ends` are the read-outs of its new steps."""

    ids: list[int]
    ends: list[int]


class LocalReader:
    """Reads every solution from its beginning, once: nothing is kept between calls, so nothing counts as cached."""

    def __init__(self, trunk: Any, head: ScoreHead, tokenizer: Any, layout: Layout) -> None:
        self.parameters = sum(one.numel() for one in trunk.parameters()) + head.parameters
        self._trunk = trunk
        self._head = head
        self._tokenizer = tokenizer
        self._layout = layout
        self._chat_template = _own_chat_template(tokenizer) if layout.turns else ""
        self._lock = asyncio.Lock()

    async def read(self, question: str, solutions: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.stepwise.Reader.read`."""
        async with self._lock:
            return await asyncio.to_thread(self._read, question, solutions)

    def _read(self, question: str, solutions: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        rows = [self._row(question, solution) for solution in solutions]
        scores: dict[int, tuple[float, ...]] = {}
        for batch in batches(rows):
            scores.update(zip(batch, self._forward([rows[place] for place in batch]), strict=True))
        usage = Usage(verifier_tokens=sum(len(row.ids) for row in rows))
        return [scores[place] for place in range(len(rows))], usage

    def _row(self, question: str, solution: Solution) -> Row:
        laid = lay_out(self._layout, question, solution.steps, chat_template=self._chat_template)
        ids, ends = encode_pieces(self._tokenizer, laid, separately=self._layout.separately)
        limit = getattr(self._trunk.config, "max_position_embeddings", None) or len(ids)
        if len(ids) > limit:
            raise ModelError(f"a solution of {len(ids)} tokens is longer than the verifier's context of {limit}")
        return Row(ids, ends[solution.known :])

    def _forward(self, rows: Sequence[Row]) -> list[tuple[float, ...]]:
        """Padded on the right, without a mask: in a causal model, what comes later changes nothing."""
        torch = torch_module()
        width = max(len(row.ids) for row in rows)
        padded = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows])
        device = next(self._trunk.parameters()).device
        places = [(index, end) for index, row in enumerate(rows) for end in row.ends]
        with torch.inference_mode():
            read = self._trunk(input_ids=padded.to(device), use_cache=False)
            index, end = (torch.tensor(one, device=device) for one in zip(*places, strict=True))
            found = iter(self._head.scores(read.last_hidden_state[index, end]).tolist())
        return [tuple(next(found) for _ in row.ends) for row in rows]


def load_reader(path: Path, template: Template, *, device: str = "auto", dtype: str = "auto") -> LocalReader:
    """Read a model's directory; raises `WeightsError` for one of another kind, `UsageError` for wrong labels."""
    torch_module()
    if template.judge is not None:
        raise UsageError(f"{template.name} is a judge and answers by chat: give a base_url, not a path")
    tokenizer = load_tokenizer(path)
    model = load_model(path, causal=template.labels is not None, device=device, dtype=dtype)
    if template.labels is not None:
        return LocalReader(model.base_model, LabelHead(model, tokenizer, template.labels), tokenizer, template.layout)
    head = ClassificationHead(path, model, template.head) if template.head is not None else ValueHead(path, model)
    return LocalReader(model, head, tokenizer, template.layout)


def _own_chat_template(tokenizer: Any) -> str:
    """The tokenizer's, "" where it has none or several."""
    return tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""


def batches(rows: Sequence[Row]) -> list[list[int]]:
    """Places of rows of like length, the longest first; no padded batch of several exceeds `BATCH_TOKENS`."""
    found: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda place: -len(rows[place].ids)):
        if not found or (len(found[-1]) + 1) * len(rows[found[-1][0]].ids) > BATCH_TOKENS:
            found.append([])
        found[-1].append(place)
    return found
