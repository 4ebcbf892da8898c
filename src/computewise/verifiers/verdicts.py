"""A judge's answer as a score in [0, 1]; None where the answer holds no verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

YES, NO = "yes", "no"
THOUGHT = "</think>"
_DECORATION = " \n\t\r*_`\"'.:,#()[]{}$\\!\u2581\u0120\u010a"
_GRADE = re.compile(r"[^\w-]*(?:(?:grade|score|rating)\b[^\w-]*)?(\d+(?:\.\d+)?)\s*(?:/\s*10\b)?[^\w]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of an answer, with the log-probabilities of the likeliest tokens at its place."""

    text: str
    likely: Mapping[str, float]


def yes_share(tokens: Sequence[TokenLogprobs], after: str) -> float | None:
    """P(yes) / (P(yes) + P(no)) at the first word after the last `after`, or after the thinking where that is "".

    Spellings of a word are summed. A word that is not listed gets the most it can have: the least of the listed
    probabilities, or what all of them leave of 1, whichever is smaller.
    """
    said = "".join(token.text for token in tokens)
    place = _behind(said, after)
    if place is None:
        return None
    begin = 0
    for token in tokens:
        if _word(token.text[max(place - begin, 0) :]):
            return _share(token)
        begin += len(token.text)
    return None


def yes_or_no(text: str, after: str) -> float | None:
    """1 for a yes and 0 for a no, from the text alone."""
    place = _behind(text, after)
    found = re.match(r"\W*(yes|no)\b", text[place:], re.IGNORECASE) if place is not None else None
    return None if found is None else float(found[1].lower() == YES)


def grade(text: str, after: str) -> float | None:
    """A tenth of a number from 0 to 10 that stands alone, after a word such as "grade", or before "/10"."""
    place = _behind(text, after)
    found = _GRADE.fullmatch(text[place:].strip()) if place is not None else None
    value = float(found[1]) if found else math.inf
    return value / 10 if value <= 10 else None


def _share(token: TokenLogprobs) -> float | None:
    shares = {text: math.exp(min(logprob, 0.0)) for text, logprob in token.likely.items()}
    found = {word: [p for text, p in shares.items() if _word(text) == word] for word in (YES, NO)}
    if not any(found.values()):
        return None
    at_most = min(min(shares.values()), max(0.0, 1 - math.fsum(shares.values())))
    yes, no = (math.fsum(found[word]) if found[word] else at_most for word in (YES, NO))
    return yes / (yes + no) if yes + no > 0 else None


def _behind(text: str, after: str) -> int | None:
    """Where the verdict begins."""
    thought = text.rfind(THOUGHT)
    begun = thought + len(THOUGHT) if thought >= 0 else 0
    if not after:
        return begun
    place = text.lower().rfind(after.lower())
    return None if place < 0 else place + len(after)


def _word(text: str) -> str:
    return text.strip(_DECORATION).lower()
