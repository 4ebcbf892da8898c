"""Batched scoring by the process reward model: prefixes already read are not read again, equal texts are read once."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np

from computewise.models.loop import EngineLoop
from computewise.models.network import Floats, Ints, Trunk, VerifierHead, log_softmax
from computewise.models.prefixes import PrefixStore, Tokens
from computewise.models.vocabulary import END

_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class _Read:
    """What is kept of a text: both caches without their rows axis, the trunk's last state, every position's score."""

    trunk: Floats
    head: Floats
    state: Floats
    scores: Floats

    @property
    def nbytes(self) -> int:
        return self.trunk.nbytes + self.head.nbytes + self.state.nbytes + self.scores.nbytes


@dataclass(eq=False, slots=True)
class _Request:
    tokens: Tokens
    prefix: Tokens
    keep: bool
    future: asyncio.Future[Floats]


class Scorer:
    """The stage of the engine loop that reads for the verifier."""

    def __init__(self, trunk: Trunk, head: VerifierHead, loop: EngineLoop, *, prefix_bytes: int = 128 << 20) -> None:
        self._trunk = trunk
        self._head = head
        self._loop = loop
        self._store: PrefixStore[_Read] = PrefixStore(prefix_bytes)
        self._waiting: list[_Request] = []
        self._new_tokens = 0
        loop.add(self)

    async def read(self, tokens: Tokens, prefix: Tokens, *, keep: bool) -> Floats:
        """The score at every position; `prefix` is what may have been read before, `keep` what may be gone on from."""
        future: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(tokens, prefix, keep, future))
        self._new_tokens += len(tokens) - len(prefix)
        self._loop.wake()
        return await future

    def read_alone(self, tokens: Tokens) -> float:
        """The score at the end of one text, at once, beside the queue."""
        return float(self._read_all({tokens: None}, keep=())[0][tokens][-1])

    @property
    def busy(self) -> bool:
        """Whether anything waits to be read."""
        return bool(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether enough waits to fill a batch."""
        return self._new_tokens >= _BATCH_TOKENS

    def fail(self, error: BaseException) -> None:
        """Give up everything queued."""
        for request in self._waiting:
            if not request.future.done():
                request.future.set_exception(error)
        self._clear()

    def _clear(self) -> None:
        self._waiting.clear()
        self._new_tokens = 0

    def advance(self) -> None:
        """Read everything that waits: first the prefixes that nobody has read, then what extends them."""
        requests = [request for request in self._waiting if not request.future.done()]
        held = {request.prefix: self._store.get(request.prefix) for request in requests}
        unread: dict[Tokens, _Read | None] = {p: None for p, read in held.items() if p and read is None}
        held |= self._read_all(unread, keep=unread.keys())[1]
        kept = {request.tokens for request in requests if request.keep}
        scores, reads = self._read_all({request.tokens: held[request.prefix] for request in requests}, keep=kept)
        for tokens, read in (*held.items(), *reads.items()):
            if read is not None:
                self._store.put(tokens, read)
        self._clear()
        for request in requests:
            request.future.set_result(scores[request.tokens])

    def _read_all(
        self, wanted: Mapping[Tokens, _Read | None], *, keep: Container[Tokens]
    ) -> tuple[dict[Tokens, Floats], dict[Tokens, _Read]]:
        """The scores of each text, given what is held of its prefix, and the reads of those to keep."""
        new = {tokens: len(tokens) - (0 if held is None else len(held.scores)) for tokens, held in wanted.items()}
        scores: dict[Tokens, Floats] = {}
        reads: dict[Tokens, _Read] = {}
        for chunk in _chunks(sorted(wanted, key=lambda tokens: (new[tokens], len(tokens))), new):
            self._forward(chunk, [wanted[tokens] for tokens in chunk], keep, scores, reads)
        return scores, reads

    def _forward(
        self,
        texts: list[Tokens],
        prefixes: list[_Read | None],
        keep: Container[Tokens],
        all_scores: dict[Tokens, Floats],
        reads: dict[Tokens, _Read],
    ) -> None:
        """Read one padded batch into `all_scores` and `reads`."""
        past: Ints = np.array([0 if prefix is None else len(prefix.scores) for prefix in prefixes])
        lengths = np.array([len(tokens) for tokens in texts])
        new = lengths - past
        padded = np.full((len(texts), int(new.max())), END, np.int64)
        capacity = int(past.max() + new.max())
        trunk_cache = self._trunk.blocks.new_cache(len(texts), capacity)
        head_cache = self._head.blocks.new_cache(len(texts), capacity)
        before = np.zeros((len(texts), 1, self._trunk.config.width), np.float32)
        for row, (tokens, prefix) in enumerate(zip(texts, prefixes, strict=True)):
            padded[row, : new[row]] = tokens[past[row] :]
            if prefix is not None:
                trunk_cache[:, :, row, :, : past[row]] = prefix.trunk
                head_cache[:, :, row, :, : past[row]] = prefix.head
                before[row, 0] = prefix.state
        states = self._trunk.states(padded, trunk_cache, past)
        expected = np.concatenate((before, states[:, :-1]), 1)
        surprise = self._surprise(expected, padded, past)
        scores = self._head.scores(expected, states, self._trunk.embedding[padded], surprise, head_cache, past)
        for row, (tokens, prefix) in enumerate(zip(texts, prefixes, strict=True)):
            fresh = scores[row, : new[row]]
            all_scores[tokens] = fresh if prefix is None else np.concatenate((prefix.scores, fresh))
            if tokens in keep:
                length = lengths[row]
                caches = trunk_cache[:, :, row, :, :length].copy(), head_cache[:, :, row, :, :length].copy()
                reads[tokens] = _Read(*caches, states[row, new[row] - 1].copy(), all_scores[tokens])

    def _surprise(self, expected: Floats, tokens: Ints, past: Ints) -> Floats:
        """(rows, time, 3): log-probability of the token that came, of the likeliest, the entropy; 0 at the start."""
        log_probabilities = log_softmax(self._trunk.logits(expected))
        came = np.take_along_axis(log_probabilities, tokens[..., None], -1)[..., 0]
        entropy = -(np.exp(log_probabilities) * log_probabilities).sum(-1)
        surprise = np.stack((came, log_probabilities.max(-1), entropy), -1)
        surprise[past == 0, 0] = 0
        return np.asarray(np.maximum(surprise, -20), np.float32)


def _chunks(texts: list[Tokens], new: Mapping[Tokens, int]) -> list[list[Tokens]]:
    """Cut texts, sorted by how many tokens of them are new, so that no padded batch exceeds `_BATCH_TOKENS`."""
    chunks: list[list[Tokens]] = []
    for tokens in texts:
        if not chunks or (len(chunks[-1]) + 1) * new[tokens] > _BATCH_TOKENS:
            chunks.append([])
        chunks[-1].append(tokens)
    return chunks
