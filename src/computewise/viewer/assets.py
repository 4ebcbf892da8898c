"""The viewer's files, which whoever shows a tree serves or writes into its page."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

NAMES = ("d3-hierarchy.min.js", "viewer.js", "viewer.css")
"""The scripts in the order in which they must run."""

_PARTS = ("parts", "tree", "layout", "card", "panel", "decisions", "view")
"""What `viewer.js` is put together from; it adds one name to a page."""


@cache
def read(name: str) -> str:
    """The text of one of `NAMES`; raises `KeyError` for any other."""
    if name not in NAMES:
        raise KeyError(name)
    if name == "viewer.js":
        return script(_text(f"js/{part}.js") for part in _PARTS)
    return _text(name)


def script(parts: Iterable[str]) -> str:
    """One script of several: the body of one function, so that it leaves no names behind but those it means to."""
    body = "\n".join(parts)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _text(name: str) -> str:
    return files("computewise.viewer").joinpath(name).read_text(encoding="utf-8")
