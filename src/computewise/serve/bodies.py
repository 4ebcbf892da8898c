"""What a body may say, as types: the fields this server acts on. Everything else goes upstream or is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1, le=2**53)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class StreamOptions(Struct, frozen=True):
    """OpenAI's."""

    include_usage: bool | None = None


class Wishes(Struct, frozen=True, forbid_unknown_fields=True):
    """The object `computewise`: how the compute of this request is to be spent, where the policy is not to decide."""

    strategy: str | None = None
    """A strategy's name, also as NAME@N; "policy"; "none" to pass through."""
    n: Count | None = None
    width: Count | None = None
    k: Count | None = None
    chains: Count | None = None
    chain_length: Count | None = None
    trust: Share | None = None
    balance_temperature: Annotated[float, Meta(gt=0, le=100)] | None = None
    select: str | None = None
    price: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    mean_cost: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    accuracy: Share | None = None
    abstain_under: Share | None = None
    max_total_tokens: Count | None = None
    """Sampled tokens that may be spent, discarded ones included."""
    timeout: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """Seconds, after which the best answer so far is given."""
    progress: Literal["comments", "reasoning"] | None = None
    """How a stream tells of the search before its answer."""


class Common(Struct, frozen=True):
    """Of both endpoints."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    seed: Seed | None = None
    n: Count | None = None
    best_of: Count | None = None
    stop: str | list[str] | None = None
    max_tokens: Count | None = None
    user: str | None = None
    computewise: Wishes | None = None


class ChatBody(Common, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    reasoning_effort: Effort | None = None


class CompletionBody(Common, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: Any
