"""What an answer means to the algebra system, and whether all of it was read. Runs in a worker process.

math-verify and its parser drop what they do not understand. An equality or a form counts only where every number,
letter and sign of a text makes a difference to what was read; any other text is compared as text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import srepr

from computewise.grading.normalize import is_number, normalize
from computewise.grading.symbolic import form

_COMMAND = re.compile(r"\\[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[A-Za-z]+\}")
_ROOT = re.compile(r"\\sqrt\s*\[[^\]]*\]")
_TOKEN = re.compile(r"\\(?:begin|end)\{[A-Za-z]+\}|\\[A-Za-z]+|\d+(?:\.\d+)?|[A-Za-z]|-")
_MOST_TOKENS = 60
_BRACKETED = ("Interval", "FiniteSet", "Union", "Intersection", "Complement", "Tuple", "Matrix", "Piecewise")


@lru_cache(maxsize=8192)
def _parsed(text: str) -> Any:
    """What math-verify reads, without the units that it drops; None where it reads nothing."""
    rules = NormalizationConfig(units=False, nits=False, malformed_operators=True)
    found = parse(f"${text}$", [LatexExtractionConfig(normalization_config=rules)], parsing_timeout=None)
    return found[0] if found and not isinstance(found[0], str) else None


@lru_cache(maxsize=4096)
def _read(text: str) -> Any:
    """What a normalised text means; None where any part of it makes no difference to what is read.

    The parser drops what it does not understand. So each number, letter and minus sign is changed in its turn: where
    that changes nothing, it was not read. Runs of letters, two numbers side by side and brackets around a formula are
    no mathematics that the parser knows.
    """
    if re.search(r"[A-Za-z]{3}|(?<![_^\d])\d+ \d", _bare(text)) or "'" in text:
        return None
    found = _parsed(text)
    if found is None or ("[" in _ROOT.sub("", text) and not any(kind in _kinds(found) for kind in _BRACKETED)):
        return None
    tokens = [token for token in _TOKEN.finditer(text) if not token[0].startswith("\\")]
    if len(tokens) > _MOST_TOKENS or not all(_matters(token, text, found) for token in tokens):
        return None
    return found


def _matters(token: re.Match[str], text: str, found: Any) -> bool:
    """Whether another in its place is read as something else. Two are tried, since 5 over 2 equals 5 over 3."""
    return any(not _same(found, _parsed(_varied(text, token, by))) for by in (1, 3))


def _bare(text: str) -> str:
    """The text without commands and the names of environments."""
    return _COMMAND.sub("@", _ENVIRONMENT.sub("@", text))


def _kinds(found: Any) -> str:
    return " ".join(kind.__name__ for kind in type(found).__mro__)


def _varied(text: str, token: re.Match[str], by: int) -> str:
    """The text with one number, letter or sign changed; `by` says how."""
    old = token[0]
    if old == "-":
        new = "+"
    elif old.isalpha():
        new = [one for one in "wvukqztyhbn" if one not in text.lower()][by]
    else:
        new = f"{old[:-1]}{(int(old[-1]) + by) % 10}"
    return text[: token.start()] + new + text[token.end() :]


def _same(one: Any, other: Any) -> bool:
    return other is not None and srepr(one) == srepr(other)


def equal(reference: str, answer: str) -> bool:
    """Whether both are read as a whole and mean the same."""
    gold, other = normalize(reference), normalize(answer)
    one, two = _read(gold), _read(other)
    if one is None or two is None or _cases_differ(gold, other):
        return False
    return bool(verify(one, two, timeout_seconds=None))


def _cases_differ(one: str, other: str) -> bool:
    """Whether a letter is large in one text and small in the other: R and r are two quantities to a reader."""
    first, second = (set(re.findall("[A-Za-z]", _bare(text))) for text in (one, other))
    return any(letter.swapcase() in second for letter in first - second)


def canonical_form(text: str) -> str | None:
    """The canonical text, if it is its own canonical text; None where there is none."""
    found = _form_once(text)
    return found if found is not None and (is_number(found) or _form_once(found) == found) else None


def _form_once(text: str) -> str | None:
    parsed = _read(text)
    found = None if parsed is None else form(parsed)
    return None if found is None else _with_capitals(normalize(found), text)


def _with_capitals(found: str, text: str) -> str | None:
    """The form with the letters that are large in the text, which the parser made small; None where both are there."""
    letters = set(re.findall("[A-Za-z]", _bare(text)))
    capitals = {letter.lower(): letter for letter in letters if letter.isupper()}
    if letters & capitals.keys():
        return None
    return re.sub(r"\\[A-Za-z]+|[a-z]", lambda one: capitals.get(one[0], one[0]), found)
