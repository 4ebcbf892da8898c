"""A canonical text of a parsed mathematical object. Runs in a worker process, since SymPy can hang.

A constant is written as a sum of rational multiples of roots, powers of pi and i where possible; this form is unique,
because these are independent over the rationals. Other constants are written as their value to fifteen digits. An
expression with variables is brought to one fraction, cancelled and expanded; this is unique for rational functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy
from sympy import Basic, Expr, Interval, MatrixBase, S
from sympy.core.relational import Relational

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
