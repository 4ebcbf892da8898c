"""The embedded verifiers: a process and an outcome reward model on one engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from computewise.core import Candidate, Problem, Usage
from computewise.errors import WeightsError
from computewise.models.embedded.engine import EngineLoop, PrefixStore, Tokens
from computewise.models.embedded.model import fitting_context, prompt_tokens
from computewise.models.embedded.network import (
    END,
    WEIGHTS_DIRECTORY,
    Floats,
    Ints,
    Trunk,
    VerifierHead,
    encode,
    load_weights,
    log_softmax,
)
from computewise.session import gather

_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class _Read:
    """What is kept of a text: both caches without their axis of rows, the trunk's last state, and all scores."""

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
    """The stage of the engine loop that runs the verifier."""

    def __init__(self, trunk: Trunk, head: VerifierHead, loop: EngineLoop, *, prefix_bytes: int = 128 << 20) -> None:
        self._trunk = trunk
        self._head = head
        self._loop = loop
        self._store: PrefixStore[_Read] = PrefixStore(prefix_bytes)
        self._waiting: list[_Request] = []
        self._new_tokens = 0
        loop.add(self)

    async def read(self, tokens: Tokens, prefix: Tokens, *, keep: bool) -> Floats:
        """The score at every position. `prefix` may have been read before; `keep` is true for a text to be extended."""
        future: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(tokens, prefix, keep, future))
        self._new_tokens += len(tokens) - len(prefix)
        self._loop.wake()
        return await future

    def read_alone(self, tokens: Tokens) -> float:
        """The score at the end of one text, computed at once, without the queue."""
        return float(self._read_all({tokens: None}, keep=())[0][tokens][-1])

    @property
    def busy(self) -> bool:
        """Whether any text waits."""
        return bool(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether enough tokens wait to fill a batch."""
        return self._new_tokens >= _BATCH_TOKENS

    def fail(self, error: BaseException) -> None:
        """Fail every queued request with `error`."""
        for request in self._waiting:
            if not request.future.done():
                request.future.set_exception(error)
        self._clear()

    def _clear(self) -> None:
        self._waiting.clear()
        self._new_tokens = 0

    def advance(self) -> None:
        """Read every waiting text: first the prefixes that are not kept, then the texts that extend them."""
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
        """The scores of each text, given what is kept of its prefix, and the reads of the texts to keep."""
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
        """(rows, time, 3): log-probability of the actual token and of the likeliest one, entropy; 0 at the start."""
        log_probabilities = log_softmax(self._trunk.logits(expected))
        came = np.take_along_axis(log_probabilities, tokens[..., None], -1)[..., 0]
        entropy = -(np.exp(log_probabilities) * log_probabilities).sum(-1)
        surprise = np.stack((came, log_probabilities.max(-1), entropy), -1)
        surprise[past == 0, 0] = 0
        return np.asarray(np.maximum(surprise, -20), np.float32)


def _chunks(texts: list[Tokens], new: Mapping[Tokens, int]) -> list[list[Tokens]]:
    """Texts, sorted by their number of new tokens, in padded batches of at most `_BATCH_TOKENS` tokens."""
    chunks: list[list[Tokens]] = []
    for tokens in texts:
        if not chunks or (len(chunks[-1]) + 1) * new[tokens] > _BATCH_TOKENS:
            chunks.append([])
        chunks[-1].append(tokens)
    return chunks


class EmbeddedPRM:
    """Scores a step by the probability that `small`, continuing from it, reaches the right answer.

    The score of a step is read at its delimiter, that of the last step of a finished solution at the end token. The
    value of a solution is its last step's score.
    """

    holds_prompt = True
    """A call reads the prompt once for all candidates; a session charges it once for all calls."""

    def __init__(self, loop: EngineLoop, *, name: str = "prm", path: Path | None = None) -> None:
        weights = load_weights(path or WEIGHTS_DIRECTORY / f"{name}.safetensors")
        self.name = name
        self.parameters = weights.size
        self.context = weights.config.context
        self._scorer = Scorer(Trunk(weights), VerifierHead(weights), loop)
        if path is None:
            self._check()

    def _check(self) -> None:
        """Refuse a weights file that does not rank a right solution above a wrong one, as damaged weights do."""
        question = prompt_tokens("3*(4+5)-6")
        right, wrong = (
            self._scorer.read_alone((*question, *encode(f"3*9-6\n27-6\n{answer}"), END)) for answer in ("21", "24")
        )
        if not right > wrong:
            raise WeightsError(f"the verifier {self.name} scores a right solution {right:.3f}, a wrong one {wrong:.3f}")

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; steps that already have a score are not read again.

        Each candidate is charged its new tokens; a call charges the prompt once for all candidates that start from it.
        """
        contexts = [self._context(problem, candidate) for candidate in candidates]
        scored = await gather(map(self._score_one, contexts, candidates))
        usage = sum((usage for _, usage in scored), Usage())
        fresh = Counter(context for context, c in zip(contexts, candidates, strict=True) if not self._known(c))
        again = sum(len(context) * (count - 1) for context, count in fresh.items())
        return [scores for scores, _ in scored], usage + Usage(cached_verifier_tokens=again)

    def _context(self, problem: Problem, candidate: Candidate) -> tuple[int, ...]:
        """The tokens that precede the candidate's own."""
        return prompt_tokens(problem.prompt)

    def _shared(self, candidate: Candidate, context: tuple[int, ...]) -> tuple[int, ...]:
        """The part of the context that is kept for other candidates."""
        return context

    def _known(self, candidate: Candidate) -> int:
        """How many steps need not be read again."""
        return len(candidate.scores)

    async def _score_one(self, prompt: tuple[int, ...], candidate: Candidate) -> tuple[tuple[float, ...], Usage]:
        known = self._known(candidate)
        if known == len(candidate.steps):
            return candidate.scores, Usage()
        pieces = [encode(step.text) for step in candidate.steps]
        if candidate.end == "stop":
            pieces[-1].append(END)
        ends = [len(prompt) + length for length in accumulate(map(len, pieces))]
        tokens = prompt + tuple(token for piece in pieces for token in piece)
        prefix = tokens[: ends[known - 1]] if known else self._shared(candidate, prompt)
        positions = await self._scorer.read(tokens, prefix, keep=not candidate.finished)
        scores = (*candidate.scores[:known], *(float(positions[end - 1]) for end in ends[known:]))
        # A finished attempt is not in the prefix store, so its steps are read again and charged.
        cached = len(prefix) if known and not candidate.revises else 0
        usage = Usage(verifier_tokens=len(tokens), cached_verifier_tokens=cached)
        return scores, usage

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score (Snell et al. 2024, appendix E); 0 without one."""
        return scores[-1] if scores else 0.0


class EmbeddedORM(EmbeddedPRM):
    """Scores an attempt by the probability that it is right, given its history (Snell et al. 2024, appendix I).

    It was trained on the outcomes of whole attempts; the score of an earlier step is its prediction at that point. The
    value of an attempt is its last step's score.
    """

    def __init__(self, loop: EngineLoop, *, path: Path | None = None) -> None:
        super().__init__(loop, name="orm", path=path)

    def _context(self, problem: Problem, candidate: Candidate) -> tuple[int, ...]:
        length = sum(len(step.text) for step in candidate.steps) + 1
        return fitting_context(problem.prompt, [one.text for one in candidate.history], self.context - length)

    def _shared(self, candidate: Candidate, context: tuple[int, ...]) -> tuple[int, ...]:
        """The context where there is no history: few candidates share a history, and keeping it takes megabytes."""
        return () if candidate.history else context

    def _known(self, candidate: Candidate) -> int:
        """How many steps need not be read again: none of a revision, since its scores belong to another history."""
        return 0 if candidate.revises else len(candidate.scores)
