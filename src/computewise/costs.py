"""What compute costs: FLOPs, bytes moved, dollars, seconds."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import ClassVar, Protocol, Self

from computewise.core import Usage
from computewise.errors import UsageError

MILLION = 1e6


def _not_negative(settings: FlopsCost | Shape | Prices | Speeds) -> None:
    """Raise `UsageError` for a field that is negative, infinite or NaN."""
    for field, value in zip(fields(settings), astuple(settings), strict=True):
        if not 0 <= value < math.inf:
            raise UsageError(f"{field.name} = {value} is not allowed: at least 0, and finite")


class Parameters(int):
    """A number of parameters that knows the model's attention: `attention` is layers times width, 0 where unknown."""

    attention: int

    def __new__(cls, count: int, attention: int = 0) -> Self:
        """`width` is the attention's: heads times head size."""
        self = super().__new__(cls, count)
        self.attention = attention
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[int, int]]:
        return type(self), (int(self), self.attention)


class CostModel(Protocol):
    """A measure of cost."""

    @property
    def name(self) -> str:
        """The name of the measure."""
        ...

    @property
    def unit(self) -> str:
        """The unit of the numbers."""
        ...

    def cost(self, usage: Usage, sequential: int) -> float:
        """The cost of `usage`.

        `sequential` is how many of its sampled tokens had to wait for one another: the longest path through the search
        tree. A usage does not hold it; where nothing ran in parallel it is the number of completion tokens.
        """
        ...


@dataclass(frozen=True, slots=True)
class FlopsCost:
    """Operations with prefix caching, by `computewise.costs.flops`, whatever time and memory they take."""

    model_parameters: int
    verifier_parameters: int

    name: ClassVar[str] = "flops"
    unit: ClassVar[str] = "FLOP"

    def __post_init__(self) -> None:
        _not_negative(self)

    def cost(self, usage: Usage, sequential: int) -> float:
        """See `CostModel.cost`; `sequential` is not used."""
        return flops(usage, self.model_parameters, self.verifier_parameters).total


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder that decide its memory traffic.

    `parameters` are those that one token reads: the active ones of a mixture of experts. `kv_width` is key-value heads
    times head size. `bytes_per_number` is the same for weights and cache, 0.5 for four bits.
    """

    parameters: int
    layers: int
    kv_width: int
    bytes_per_number: float

    def __post_init__(self) -> None:
        _not_negative(self)

    @property
    def weights(self) -> float:
        """Bytes of one pass over the weights."""
        return self.parameters * self.bytes_per_number

    @property
    def position(self) -> float:
        """Bytes that one token of context holds in the cache: a key and a value a layer."""
        return 2 * self.layers * self.kv_width * self.bytes_per_number


NO_VERIFIER = Shape(0, 0, 0, 0)

"""A verifier that reads nothing: the model's own log-probabilities, or a majority vote."""


@dataclass(frozen=True, slots=True)
class MemoryCost:
    """Memory traffic, with prefix caching. `batch` rows, of whatever problems, share one pass over the weights.

    * Decoding: a pass over the weights for every `batch` tokens. A sample of c tokens after p others reads, for its
      j-th token, a cache of p + j positions: c p + c (c + 1) / 2 in all, and writes c. A usage holds only sums, so
      every sample is given the mean lengths; that leaves out cov(c, p) + var(c) / 2 positions a sample. So sum the
      costs of usages rather than cost their sum.
    * Prompts: a pass for every `batch` samples whose prompt is read. Their number is the samples times the uncached
      share of the prompt tokens: right where each prompt is cached whole or not at all. What is read is written.
    * Verifier: a pass for every `batch` samples, each scored once, where anything was read. What is new to it is
      written to its cache, what is cached is read, once.

    Which of weights and cache counts depends on the shape: a token of 8 billion parameters (32 layers, keys and values
    of 1,024 numbers, two bytes each) in a solution of 8,192 moves 1,004 MB of weights at batch 16, 251 at 64 and 63 at
    256, and 537 MB of cache at each. Conclusions from the embedded models, whose weights are 3 MB, do not carry over.

    Left out: activations and logits, the attention of what is read in one pass to itself, copies made by a fork.
    """

    model: Shape
    verifier: Shape
    batch: int = 1

    name: ClassVar[str] = "memory"
    unit: ClassVar[str] = "bytes"

    def __post_init__(self) -> None:
        if not 1 <= self.batch < math.inf:
            raise UsageError(f"batch = {self.batch} is not allowed: at least 1")

    def cost(self, usage: Usage, sequential: int) -> float:
        """See `CostModel.cost`; `sequential` is not used, as rows of other problems may fill the batch."""
        return self._decoding(usage) + self._prompts(usage) + self._verifier(usage)

    def _decoding(self, usage: Usage) -> float:
        completion, samples = usage.completion_tokens, max(usage.samples, 1)
        context = usage.prompt_tokens / samples + (completion / samples + 1) / 2
        return completion * (self.model.weights / self.batch + self.model.position * (context + 1))

    def _prompts(self, usage: Usage) -> float:
        fresh = usage.prompt_tokens - usage.cached_prompt_tokens
        passes = usage.samples * fresh / max(usage.prompt_tokens, 1) / self.batch
        return passes * self.model.weights + fresh * self.model.position

    def _verifier(self, usage: Usage) -> float:
        passes = usage.samples / self.batch if usage.verifier_tokens else 0
        return passes * self.verifier.weights + usage.verifier_tokens * self.verifier.position


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a million tokens, as services list them."""

    input: float
    cached_input: float
    output: float
    verifier: float

    def __post_init__(self) -> None:
        _not_negative(self)


@dataclass(frozen=True, slots=True)
class PriceCost:
    """What a service bills. A verifier has one price, paid for every token put before it, cached or not."""

    prices: Prices

    name: ClassVar[str] = "price"
    unit: ClassVar[str] = "$"

    def cost(self, usage: Usage, sequential: int) -> float:
        """See `CostModel.cost`; `sequential` is not used."""
        fresh = usage.prompt_tokens - usage.cached_prompt_tokens
        bill = (
            fresh * self.prices.input
            + usage.cached_prompt_tokens * self.prices.cached_input
            + usage.completion_tokens * self.prices.output
            + usage.verifier_tokens * self.prices.verifier
        )
        return bill / MILLION


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds a token: decoded, one after another; read by the model in a prompt; read by the verifier."""

    decoded: float
    read: float
    verified: float

    def __post_init__(self) -> None:
        _not_negative(self)


@dataclass(frozen=True, slots=True)
class LatencyCost:
    """Seconds until the answer, on a machine that does nothing else.

    Rows decoded together take the time of the longest, as decoding is bound by memory, so only `sequential` tokens
    count. Reading is bound by arithmetic: all uncached tokens count, whichever row they are of, at the rate of a full
    prefill. Left out: queues, the network, and what a batch too large for the machine waits.
    """

    speeds: Speeds

    name: ClassVar[str] = "latency"
    unit: ClassVar[str] = "seconds"

    def cost(self, usage: Usage, sequential: int) -> float:
        """See `CostModel.cost`; raises `UsageError` for more sequential tokens than sampled ones."""
        if not 0 <= sequential <= usage.completion_tokens:
            raise UsageError(
                f"sequential = {sequential} is not allowed: 0 to the {usage.completion_tokens} tokens that were sampled"
            )
        return (
            sequential * self.speeds.decoded
            + (usage.prompt_tokens - usage.cached_prompt_tokens) * self.speeds.read
            + (usage.verifier_tokens - usage.cached_verifier_tokens) * self.speeds.verified
        )


@dataclass(frozen=True, slots=True)
class Flops:
    """Operations by their purpose. `cached` is what a prefix cache saves, and what is spent without one."""

    prompt: float
    completion: float
    verifier: float
    cached: float

    @property
    def total(self) -> float:
        """With prefix caching, as the embedded engine has it."""
        return self.prompt + self.completion + self.verifier

    @property
    def uncached_total(self) -> float:
        """Without prefix caching, where every call reads its whole prompt again."""
        return self.total + self.cached


def flops(usage: Usage, model_parameters: int, verifier_parameters: int) -> Flops:
    """The operations of a usage; tokens that the verifier reads again are cached, like the generator's.

    A token takes 2 operations a parameter and, for each of the T tokens that it attends to, 4 a layer and unit of width
    (Kaplan et al. 2020, table 1: 2 for its products with keys and 2 for those with values), where `Parameters` say how
    many those are. A usage holds only sums, so every sample is given the mean lengths, and the verifier reads one text
    for each sample. That is exact for one sample whose prompt is cached whole or not at all; so sum the operations of
    usages rather than those of their sum.
    """
    samples = max(usage.samples, 1)
    before, sampled = usage.prompt_tokens / samples, usage.completion_tokens / samples
    read, held = usage.verifier_tokens / samples, usage.cached_verifier_tokens / samples
    fresh, again = usage.prompt_tokens - usage.cached_prompt_tokens, usage.cached_prompt_tokens
    new = usage.verifier_tokens - usage.cached_verifier_tokens

    def each(tokens: float, context: float, parameters: int) -> float:
        return tokens * (2.0 * parameters + 4.0 * getattr(parameters, "attention", 0) * context)

    return Flops(
        prompt=each(fresh, (before + 1) / 2, model_parameters),
        completion=each(usage.completion_tokens, before + (sampled + 1) / 2, model_parameters),
        verifier=each(new, (read + held + 1) / 2, verifier_parameters),
        cached=each(again, (before + 1) / 2, model_parameters)
        + each(usage.cached_verifier_tokens, (held + 1) / 2, verifier_parameters),
    )


def known_flops(usage: Usage, model_parameters: int | None, verifier_parameters: int | None) -> Flops | None:
    """As `flops`; None if `usage` has tokens of a model whose size is unknown."""
    if verifier_parameters is None and not usage.verifier_tokens:
        verifier_parameters = 0
    if model_parameters is None or verifier_parameters is None:
        return None
    return flops(usage, model_parameters, verifier_parameters)
