"""The engine of the embedded models: continuous batching over a store of shared prefixes."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from computewise.models.embedded.network import END, Floats, Trunk, draw, log_softmax, uniforms


def one_thread() -> threadpool_limits:
    """Limit BLAS to one thread, for good or as a context."""
    return threadpool_limits(1, "blas")


Tokens = tuple[int, ...]


class Sized(Protocol):
    """An object that knows the size of its memory."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...


T = TypeVar("T", bound=Sized)


class PrefixStore(Generic[T]):
    """A cache of at most `limit` bytes; the least recently used entry is dropped first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._entries: OrderedDict[Tokens, T] = OrderedDict()

    def get(self, tokens: Tokens) -> T | None:
        """What is stored for exactly these tokens."""
        entry = self._entries.get(tokens)
        if entry is not None:
            self._entries.move_to_end(tokens)
        return entry

    def put(self, tokens: Tokens, entry: T) -> None:
        """Store the entry, and drop the oldest ones beyond the limit."""
        if tokens in self._entries:
            return
        self._entries[tokens] = entry
        self._held += entry.nbytes
        while self._held > self._limit and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._held -= oldest.nbytes


_FIRST_CAPACITY = 128

_PREFILL_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Continuation:
    """What one row drew: token ids, the end or delimiter token included, and their log-probabilities."""

    tokens: list[int]
    logprobs: list[float]


@dataclass(eq=False, slots=True)
class _Request:
    tokens: Tokens
    stop: int | None
    max_tokens: int
    temperature: float
    future: asyncio.Future[list[Continuation]]
    drawn: list[Continuation | None]
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.drawn)


class Decoder:
    """Rows 0 to `_high` of the cache are in use, but for holes that the next admissions fill.

    A row's cache holds every token but its last: feeding that one yields the next.
    """

    def __init__(self, trunk: Trunk, loop: EngineLoop, *, rows: int = 128, prefix_bytes: int = 256 << 20) -> None:
        self._trunk = trunk
        self._loop = loop
        self._prefixes: PrefixStore[Floats] = PrefixStore(prefix_bytes)
        self._waiting: list[tuple[int, int, _Request, int, int]] = []
        self._arrival = count()
        self._cancelled = False
        self._owners: list[tuple[_Request, int] | None] = [None] * rows
        self._high = 0
        self._cache = trunk.blocks.new_cache(rows, min(_FIRST_CAPACITY, trunk.config.context))
        self._length = np.zeros(rows, np.int64)
        self._last = np.zeros(rows, np.int64)
        self._count = np.zeros(rows, np.int64)
        self._limit = np.zeros(rows, np.int64)
        self._stop = np.zeros(rows, np.int64)
        self._temperature = np.zeros(rows)
        self._seed = np.zeros(rows, np.uint64)
        self._tokens = np.zeros((rows, trunk.config.context), np.int64)
        self._logprobs = np.zeros((rows, trunk.config.context), np.float32)
        loop.add(self)

    async def sample(
        self, tokens: Tokens, seeds: list[int], *, stop: int | None, max_tokens: int, temperature: float
    ) -> list[Continuation]:
        """Continue `tokens` once a seed, each until `stop`, the end token or `max_tokens` (the context at most)."""
        future: asyncio.Future[list[Continuation]] = asyncio.get_running_loop().create_future()
        future.add_done_callback(self._note_cancelled)
        room = min(max_tokens, self._trunk.config.context - len(tokens))
        request = _Request(tokens, stop, room, temperature, future, [None] * len(seeds))
        for index, seed in enumerate(seeds):
            # Longest first: rows of similar length attend together, and no long row is left alone at the end.
            heapq.heappush(self._waiting, (-len(tokens), next(self._arrival), request, index, seed))
        self._loop.wake()
        return await future

    @property
    def busy(self) -> bool:
        """Whether a row is decoding or waiting."""
        return bool(self._waiting) or self._high > 0

    ready = busy

    def fail(self, error: BaseException) -> None:
        """Drop all rows."""
        futures = [request.future for _, _, request, _, _ in self._waiting]
        futures += [owner[0].future for owner in self._owners if owner is not None]
        for future in futures:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
        self._owners = [None] * len(self._owners)
        self._high = 0

    def advance(self) -> None:
        """Admit rows that fit, draw one token for every row, and return the rows that ended."""
        self._drop_cancelled()
        self._admit()
        self._compact()
        if self._high == 0:
            return
        live = np.s_[: self._high]
        self._make_room(int(self._length[live].max()) + 1)
        states = self._trunk.states(self._last[live, None], self._cache[:, :, live], self._length[live])
        log_probabilities = log_softmax(self._trunk.logits(states[:, 0]))
        uniform = uniforms(self._seed[live], self._count[live])
        drawn = draw(log_probabilities, self._temperature[live], uniform)
        rows = np.arange(self._high)
        self._tokens[rows, self._count[live]] = drawn
        self._logprobs[rows, self._count[live]] = log_probabilities[rows, drawn]
        self._last[live] = drawn
        self._length[live] += 1
        self._count[live] += 1
        ended = (drawn == END) | (drawn == self._stop[live]) | (self._count[live] >= self._limit[live])
        for row in np.flatnonzero(ended):
            self._finish(int(row))

    def _finish(self, row: int) -> None:
        owner = self._owners[row]
        if owner is None:
            self._park(row)
            return
        request, index = owner
        count = int(self._count[row])
        tokens = self._tokens[row, :count].tolist()
        if request.stop is not None and tokens[-1] == request.stop:
            self._prefixes.put((*request.tokens, *tokens), self._cache[:, :, row, :, : self._length[row]].copy())
        request.drawn[index] = Continuation(tokens, self._logprobs[row, :count].tolist())
        request.left -= 1
        self._owners[row] = None
        self._park(row)
        if request.left == 0 and not request.future.done():
            request.future.set_result([drawn for drawn in request.drawn if drawn is not None])

    def _park(self, row: int) -> None:
        """Reset a hole to length 0, where it costs least."""
        self._length[row] = self._count[row] = 0
        self._limit[row] = self._tokens.shape[1]

    def _note_cancelled(self, future: asyncio.Future[list[Continuation]]) -> None:
        self._cancelled |= future.cancelled()

    def _drop_cancelled(self) -> None:
        if not self._cancelled:
            return
        self._cancelled = False
        self._waiting = [entry for entry in self._waiting if not entry[2].future.done()]
        heapq.heapify(self._waiting)
        for row in range(self._high):
            owner = self._owners[row]
            if owner is not None and owner[0].future.done():
                self._owners[row] = None
                self._park(row)

    def _admit(self) -> None:
        free = [row for row in range(self._high) if self._owners[row] is None]
        free += range(self._high, min(len(self._owners), self._high + len(self._waiting) - len(free)))
        admitted = [(row, *heapq.heappop(self._waiting)[2:]) for row in free[: len(self._waiting)]]
        if not admitted:
            return
        for row, request, index, _ in admitted:
            self._owners[row] = (request, index)
        prefixes = self._prefill({request.tokens for _, request, _, _ in admitted})
        for row, request, _, seed in admitted:
            prefix = prefixes[request.tokens]
            length = prefix.shape[3]
            self._make_room(length + 1)
            self._cache[:, :, row, :, :length] = prefix
            self._length[row], self._count[row], self._limit[row] = length, 0, request.max_tokens
            self._last[row], self._temperature[row] = request.tokens[-1], request.temperature
            self._stop[row] = END if request.stop is None else request.stop
            self._seed[row] = seed
            self._high = max(self._high, row + 1)

    def _prefill(self, prefixes: set[Tokens]) -> dict[Tokens, Floats]:
        """The cache of every prefix, all but its last token; those not in the store are read in padded batches."""
        stored = {tokens: self._prefixes.get(tokens) for tokens in prefixes}
        found = {tokens: cache for tokens, cache in stored.items() if cache is not None}
        missing = sorted(prefixes - found.keys(), key=lambda tokens: (len(tokens), tokens))
        while missing:
            # The longest first, and with it as many as fit: attention takes memory as rows times length squared.
            count = max(_PREFILL_TOKENS // len(missing[-1]), 1)
            found |= self._read(missing[-count:])
            del missing[-count:]
        return found

    def _read(self, missing: list[Tokens]) -> dict[Tokens, Floats]:
        """One padded batch of `_prefill`."""
        found = {}
        time = max(len(tokens) for tokens in missing) - 1
        padded = np.full((len(missing), max(time, 1)), END, np.int64)
        for row, tokens in enumerate(missing):
            padded[row, : len(tokens) - 1] = tokens[:-1]
        cache = self._trunk.blocks.new_cache(len(missing), padded.shape[1])
        self._trunk.states(padded, cache, np.zeros(len(missing), np.int64))
        for row, tokens in enumerate(missing):
            found[tokens] = cache[:, :, row, :, : len(tokens) - 1].copy()
            self._prefixes.put(tokens, found[tokens])
        return found

    def _make_room(self, capacity: int) -> None:
        """Double the cache's length until `capacity` tokens fit a row."""
        held = self._cache.shape[4]
        if capacity <= held:
            return
        grown = self._trunk.blocks.new_cache(
            len(self._owners), min(max(2 * held, capacity), self._trunk.config.context)
        )
        grown[:, :, : self._high, :, :held] = self._cache[:, :, : self._high]
        self._cache = grown

    def _compact(self) -> None:
        """Move the last rows into holes once an eighth of the batch is holes; fewer cost less than copying."""
        owners = self._owners
        while self._high and owners[self._high - 1] is None:
            self._high -= 1
        holes = [row for row in range(self._high) if owners[row] is None]
        if len(holes) * 8 <= self._high:
            return
        for hole in holes:
            while self._high and owners[self._high - 1] is None:
                self._high -= 1
            last = self._high - 1
            if hole >= last:
                break
            length = int(self._length[last])
            self._cache[:, :, hole, :, :length] = self._cache[:, :, last, :, :length]
            columns = (self._length, self._last, self._count, self._limit, self._stop, self._temperature, self._seed)
            for column in (*columns, self._tokens, self._logprobs):
                column[hole] = column[last]
            owners[hole], owners[last] = owners[last], None


class Stage(Protocol):
    """A component that computes a queue of work in batches."""

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        ...

    @property
    def ready(self) -> bool:
        """Whether enough work for a batch is queued; where no stage is ready, a busy one is advanced all the same."""
        ...

    def advance(self) -> None:
        """Compute one batch and resolve what it completes."""
        ...

    def fail(self, error: BaseException) -> None:
        """Drop all queued work."""
        ...


class EngineLoop:
    """Advances the stages while there is work, and ends with it, so that no task outlives the requests."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, stage: Stage) -> None:
        """Register; an earlier stage goes first where several are ready."""
        self._stages.append(stage)

    def wake(self) -> None:
        """Call after queueing work."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        while True:
            # A result travels up through solve's coroutines and comes back as the next request within a few turns.
            for _ in range(4):
                await asyncio.sleep(0)
            busy = [stage for stage in self._stages if stage.busy]
            if not busy:
                return
            next((stage for stage in busy if stage.ready), busy[0]).advance()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            for stage in self._stages:
                stage.fail(error)
