"""How many tokens a server sampled: by its own counts where these can be right, else by an estimate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

UNCOUNTED_CHARACTERS_A_TOKEN = 4

"""Charges text for which a server reports no tokens: a round number, which does not depend on the model. Recorded
solutions without token counts are measured by another ratio (`study.recorded.rows`), that of recorded mathematics."""

MOST_CHARACTERS_A_TOKEN = 10

"""More characters a token than this cannot be, on average over a text: tokenizers reach 4 to 6. Runs of one character,
which may be a single token, count once."""

LONG_WORD = 20

"""Characters of a text beyond its average: a short one may be a single long word, and so a single token."""

SPECIAL_TOKENS = 64

"""The most tokens of a continuation that are not in its text: its end, the marks around its thinking."""

MOST_TOKENS = 1 << 24

"""A larger count cannot be: no model has such a context."""

UNCOUNTED = "the server reports no token counts: one token is charged for every 4 characters"

MISCOUNTED = "a token count of the server cannot be right for its text: another count or characters / 4 is charged"

_RUN = re.compile(r"(.)\1+", re.DOTALL)


def whole_number(held: Any, least: int = 0) -> int | None:
    """A count as servers write it, such as 12, 12.0 or "12"; None for anything that cannot be a count."""
    if isinstance(held, str) and len(held) < 20:
        try:
            held = float(held)
        except ValueError:
            return None
    if isinstance(held, bool) or not isinstance(held, int | float) or not least <= held <= MOST_TOKENS:
        return None
    return int(held) if int(held) == held else None


@dataclass(frozen=True, slots=True)
class Counts:
    """A server's token counts of one request; None where it reports none that can be right.

    `completion_tokens` are those of all its continuations, thinking included, and `thinking_tokens` those of them that
    were thought.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    thinking_tokens: int = 0


def read_counts(usage: Any) -> Counts:
    """The counts of a usage; thinking that a server reports apart is added to what was sampled."""
    if not isinstance(usage, dict):
        return Counts()
    prompt, total = whole_number(usage.get("prompt_tokens"), 1), whole_number(usage.get("total_tokens"), 1)
    sampled = whole_number(usage.get("completion_tokens"), 1)
    cached = whole_number(_inside(usage, "prompt_tokens_details").get("cached_tokens"))
    thought = whole_number(_inside(usage, "completion_tokens_details").get("reasoning_tokens")) or 0
    if sampled is None and prompt is not None and total is not None and total > prompt:
        sampled = total - prompt
    elif prompt is not None and sampled is not None and thought and total == prompt + sampled + thought:
        sampled += thought
    if thought > (sampled or 0):
        sampled = (sampled or 0) + thought
    if cached is not None and prompt is not None:
        cached = min(cached, prompt)
    return Counts(prompt, sampled, cached, thought)


def _inside(held: dict[str, Any], name: str) -> dict[str, Any]:
    found = held.get(name)
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Sampled:
    """What one continuation shows of its length.

    `listed` is the number of its tokens where the server lists all of them. `hidden` says that the model's thinking is
    not shown, so that `text` may be the least part.
    """

    text: str
    listed: int | None = None
    hidden: bool = False

    def at_most(self, most: int) -> int:
        """`most`, or no bound where the text shows that the server did not keep to it."""
        return most if least_tokens(self.text) <= most else MOST_TOKENS

    def possible(self, count: int, most: int) -> bool:
        """Whether the continuation can have `count` tokens, of which `most` were allowed."""
        if count < least_tokens(self.text):
            return False
        return self.hidden or count <= min(self.at_most(most), len(self.text.encode(errors="replace")) + SPECIAL_TOKENS)


def least_tokens(text: str) -> int:
    """The fewest tokens that a text can have."""
    if len(text) <= LONG_WORD:
        return int(bool(text))
    return max(1, -(-(len(_RUN.sub(r"\1", text)) - LONG_WORD) // MOST_CHARACTERS_A_TOKEN))


def estimated_tokens(text: str) -> int:
    """An estimate from the number of characters."""
    return -(-len(text) // UNCOUNTED_CHARACTERS_A_TOKEN)


def count_tokens(found: Sequence[Sampled], counts: Counts, most: int) -> tuple[list[int], str | None]:
    """The sampled tokens of each continuation of one request, and a note where they are not the server's first count.

    The sources in their order: the tokens that are listed; the usage, divided in proportion to the texts; the usage as
    that of one continuation, which some servers report; an estimate. `most` is the request's limit for each.
    """
    listed = [one.listed for one in found if one.listed is not None and one.possible(one.listed, most)]
    total = _total(found, counts)
    thought_unlisted = counts.thinking_tokens > 0 and total is not None and sum(listed) < total
    if len(listed) == len(found) and not thought_unlisted:
        return listed, None
    wrong = any(one.listed is not None for one in found) and not thought_unlisted
    lengths = [len(one.text) for one in found]
    for each in () if total is None else (total, total * len(found)):
        shares = _shares(each, lengths, [one.at_most(most) for one in found])
        if len(found) > 1:  # then shares are rounded, and may be too small by one
            least = [least_tokens(one.text) for one in found]
            shares = [share + (share + 1 == bound) for share, bound in zip(shares, least, strict=True)]
        if all(one.possible(share, most) for one, share in zip(found, shares, strict=True)):
            return shares, MISCOUNTED if wrong or each != counts.completion_tokens else None
    estimates = [min(estimated_tokens(one.text), one.at_most(most)) for one in found]
    return estimates, UNCOUNTED if counts.completion_tokens is None and not wrong else MISCOUNTED


def _total(found: Sequence[Sampled], counts: Counts) -> int | None:
    """The usage; where it counts hidden thinking alone, the texts' estimate is added."""
    if counts.completion_tokens is None or not any(one.hidden for one in found):
        return counts.completion_tokens
    visible = counts.completion_tokens - counts.thinking_tokens
    if visible >= sum(least_tokens(one.text) for one in found):
        return counts.completion_tokens
    return counts.thinking_tokens + sum(estimated_tokens(one.text) for one in found)


def _shares(total: int, lengths: list[int], bounds: list[int]) -> list[int]:
    """`total` divided in proportion to the lengths, with at least 1 each, and within the bounds as far as it fits."""
    each = len(lengths) if total >= len(lengths) else 0
    shares = [share + (each > 0) for share in divide(total - each, lengths)]
    over = sum(max(share - bound, 0) for share, bound in zip(shares, bounds, strict=True))
    if not over or total > sum(bounds):
        return shares
    found = []
    for share, bound in zip(shares, bounds, strict=True):
        more = min(over, max(bound - share, 0))
        over -= more
        found.append(min(share, bound) + more)
    return found


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """`total` split into whole numbers in proportion to the weights; evenly where all weights are 0."""
    if not sum(weights):
        weights = [1] * len(weights)
    ends = [round(total * end / sum(weights)) for end in accumulate(weights)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def finite(held: Any) -> float | None:
    """A number in JSON as a float; None for anything else, NaN and infinities included."""
    if isinstance(held, bool) or not isinstance(held, int | float):
        return None
    try:
        value = float(held)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
