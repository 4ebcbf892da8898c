"""Whether a question looks as if it had an answer that can be compared: what has none is not worth searching."""

from __future__ import annotations

import re

_QUANTITY = re.compile(
    r"\d|\\[a-z]+\b|\$|\b(?:how (?:many|much|often|long|far|old|tall|large)|calculate|compute|evaluate|solve|simplify|"
    r"factor|differentiate|integrate|integral|derivative|probability|percent|equation|sum|product|ratio|root|area|"
    r"volume|number of|what is the (?:value|number|total|least|greatest|smallest|largest|remainder))\b",
    re.IGNORECASE,
)
_FIRST, _SECOND = (re.compile(rf"(?:^|\s)\(?{letter}[).:]\s") for letter in "AB")

_LOOKED_AT = 4000
"""Characters at both ends."""


def looks_answerable(prompt: str, grader: str) -> bool:
    """By the prompt alone, for the graders that know what answers look like; whoever has an own one knows better.

    A rule of thumb: where it errs, a client names a strategy, or a search ends after its first samples.
    """
    if len(prompt) > 2 * _LOOKED_AT:  # all of a long one would take seconds, in which nobody else's turn comes
        prompt = f"{prompt[:_LOOKED_AT]}\n{prompt[-_LOOKED_AT:]}"
    match grader:
        case "math":
            return _QUANTITY.search(prompt) is not None
        case "choice":
            first = _FIRST.search(prompt)
            return first is not None and _SECOND.search(prompt, first.end()) is not None
        case _:
            return True
