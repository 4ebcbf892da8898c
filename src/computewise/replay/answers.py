"""What a completion answers, and one form for what is plainly the same answer."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_BRACES = re.compile(r"\\boxed\s*\{|\\[\\{}]|[{}]")


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...} whose braces are balanced; None without one, or where it is blank."""
    opened: list[int] = []
    boxes: set[int] = set()
    start, end = -1, -1
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "}":
            if opened and (closed := opened.pop()) in boxes and closed > start:
                start, end = closed, match.start()
        elif token == "{":
            opened.append(match.end())
        elif token.endswith("{") and token != r"\{":
            opened.append(match.end())
            boxes.add(match.end())
    return text[start:end].strip() or None


_WORDS = r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])", ""),
        (r"(?<=[\d}])\s*" + _WORDS + r"(?:\^\{?\d\}?)?\s*\.?$", ""),  # a unit
        (_WORDS, r"\1"),
        (r"\\[!,;: ]|\\q?quad(?![A-Za-z])|~|\s", ""),
        (r"\\?\$|\\\(|\\\)|\\\[|\\\]|\\?%|\^\{?\\circ\}?|\\?degrees?$", ""),
        (r"\\frac(\d)(?=[\d{])", r"\\frac{\1}"),
        (r"\\frac(\{\d+\})(\d)", r"\\frac\1{\2}"),
        (r"(?<!\w)(\d+)/(\d+)(?!\w)", r"\\frac{\1}{\2}"),
        (r"\\sqrt(\d)", r"\\sqrt{\1}"),
        (r"([\^_])\{(\w)\}", r"\1\2"),
        (r"^[a-zA-Z]\w?=(?=[^=]+$)", ""),
        (r"^\(([A-Z])\)$", r"\1"),
        (r"\.$", ""),
    )
]
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?")
_QUOTIENT = re.compile(r"([+-]?)\\frac\{(\d+)\}\{(\d+)\}")

_LONGEST_NUMBER = 200
"""Characters; Python refuses to read integers of thousands of digits, as a sample that loops may hold them."""


@lru_cache(maxsize=4096)
def canonical(answer: str) -> str:
    """The answer without LaTeX's ways to write the same: spaces, delimiters, units, and numbers as fractions."""
    for pattern, replacement in _REWRITES:
        answer = pattern.sub(replacement, answer)
    return _as_fraction(answer) or answer


def _as_fraction(text: str) -> str | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    if match := _QUOTIENT.fullmatch(text):
        sign, above, below = match.groups()
        return str(Fraction(int(sign + above), int(below))) if int(below) else None
    if (match := _NUMBER.fullmatch(text)) and any(match.groups()[1:]):
        return str(Fraction(text.replace(",", "")))
    return None
