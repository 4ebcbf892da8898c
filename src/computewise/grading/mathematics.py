"""What an answer means to the algebra system, and whether all of it was read. Runs in a worker process.

math-verify and its parser drop what they do not understand. An equality or a form counts only where every number,
letter and sign of a text makes a difference to what was read; any other text is compared as text.

The canonical text of a constant is a sum of rational multiples of roots, powers of pi and i where possible; this form
is unique, because these are independent over the rationals. Other constants are written as their value to fifteen
digits. An expression with variables is brought to one fraction, cancelled and expanded; this is unique for rational
functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Basic, Expr, Interval, MatrixBase, S, srepr
from sympy.core.relational import Relational

from computewise.grading.normalize import is_number, normalize

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


DIGITS = 15
_LARGEST = 10**30
"""The largest number that is written out, and the inverse of the smallest; 9^{9^9} has no form."""
_MOST_OPERATIONS = 200
_LONGEST = 200
"""Characters; a longer constant is written as its value."""


def form(parsed: Any) -> str | None:
    """LaTeX that parses to an equal object; None where there is no canonical form."""
    if isinstance(parsed, MatrixBase):
        return _matrix(parsed)
    if isinstance(parsed, Relational):
        return _relation(parsed)
    if isinstance(parsed, sympy.Set):
        return _set(parsed)
    if isinstance(parsed, sympy.Tuple):
        return _enclosed("(", parsed.args, ")")
    return _expression(parsed) if isinstance(parsed, Expr) else None


def _expression(parsed: Expr) -> str | None:
    if parsed.count_ops() > _MOST_OPERATIONS:
        return None
    if parsed.free_symbols:
        return _latex(_one_fraction(parsed.doit()))
    return _constant(parsed)


def _one_fraction(expression: Expr) -> Expr:
    exact = sympy.nsimplify(expression, rational=True)
    return sympy.cancel(sympy.together(sympy.expand(exact)))


def _constant(parsed: Expr) -> str | None:
    value = parsed.evalf(DIGITS + 5)
    if value in (S.Infinity, S.NegativeInfinity):
        return _latex(value)
    real, imaginary = value.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in (real, imaginary)):
        return None
    if not all(part == 0 or 1 / _LARGEST < abs(part) < _LARGEST for part in (real, imaginary)):
        return None
    exact = sympy.nsimplify(parsed.doit(), rational=True)
    if exact.is_Rational and exact.q < _LARGEST:
        return _quotient(exact)
    plain = sympy.sqrtdenest(sympy.radsimp(sympy.expand(exact)))
    if all(map(_independent, sympy.Add.make_args(plain))) and len(_latex(plain)) <= _LONGEST:
        return _latex(plain)
    return _decimal(real) if not imaginary else f"{_decimal(real)}+{_decimal(imaginary)}i"


def _latex(expression: Expr) -> str:
    return str(sympy.latex(expression, inv_trig_style="full"))


def _independent(term: Expr) -> bool:
    """Whether a term is a rational number times roots of integers, powers of pi, and i."""
    return all(
        factor.is_Rational
        or factor in (sympy.pi, sympy.I)
        or (factor.is_Pow and factor.base is sympy.pi and factor.exp.is_Integer)
        or (factor.is_Pow and factor.base.is_Integer and factor.exp.is_Rational and 0 < factor.exp < 1)
        for factor in sympy.Mul.make_args(term)
    )


def _decimal(value: Expr) -> str:
    return _quotient(sympy.Rational(str(value.n(DIGITS))))


def _quotient(value: Expr) -> str:
    return f"{value.p}/{value.q}" if value.q != 1 else str(value.p)


def _relation(parsed: Relational) -> str | None:
    if isinstance(parsed, (sympy.StrictGreaterThan, sympy.GreaterThan)):
        parsed = parsed.reversed
    if not isinstance(parsed.lhs, Expr) or not isinstance(parsed.rhs, Expr):
        return None
    if isinstance(parsed, (sympy.Eq, sympy.Ne)):
        return _equation(parsed)
    left, right = form(parsed.lhs), form(parsed.rhs)
    sign = "<" if isinstance(parsed, sympy.StrictLessThan) else r"\le "
    return None if left is None or right is None else left + sign + right


def _equation(parsed: Relational) -> str | None:
    """The equation with 0 on its right side, without constant factors and with a positive leading coefficient."""
    above = sympy.fraction(_one_fraction((parsed.lhs - parsed.rhs).doit()))[0]
    if not above.is_polynomial() or not above.free_symbols:
        return None
    terms = sympy.Poly(above, *sorted(above.free_symbols, key=str)).primitive()[1]
    if terms.LC().is_negative:
        terms = -terms
    sign = "=" if isinstance(parsed, sympy.Eq) else r"\ne "
    return f"{_latex(terms.as_expr())}{sign}0"


def _set(parsed: sympy.Set) -> str | None:
    if isinstance(parsed, Interval):
        opening = "(" if parsed.left_open else "["
        return _enclosed(opening, parsed.args[:2], ")" if parsed.right_open else "]")
    if isinstance(parsed, sympy.Union):
        parts = sorted(map(str, map(form, parsed.args)))
        return None if "None" in parts else r"\cup ".join(parts)
    # math-verify has a class of sets of its own, whose elements may repeat.
    return _enclosed(r"\{", parsed.args, r"\}") if "FiniteSet" in type(parsed).__name__ else None


def _enclosed(opening: str, elements: Iterable[Basic], closing: str) -> str | None:
    forms = [form(element) for element in elements]
    if None in forms:
        return None
    listed = sorted(set(map(str, forms))) if opening == r"\{" else map(str, forms)
    return opening + ",".join(listed) + closing


def _matrix(parsed: MatrixBase) -> str | None:
    rows = [[form(entry) for entry in row] for row in parsed.tolist()]
    if any(entry is None for row in rows for entry in row):
        return None
    return r"\begin{pmatrix}" + r"\\".join("&".join(map(str, row)) for row in rows) + r"\end{pmatrix}"
