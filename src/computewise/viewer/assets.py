"""The viewer's files, for servers and pages that show a tree."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

NAMES = ("d3-hierarchy.min.js", "viewer.js", "viewer.css")
"""The scripts in the order in which they must run."""

_PARTS = ("parts", "tree", "layout", "card", "panel", "decisions", "view")
"""The parts of `viewer.js`, which adds one name to a page."""


@cache
def read(name: str) -> str:
    """The text of one of `NAMES`; raises `KeyError` for any other."""
    if name not in NAMES:
        raise KeyError(name)
    if name == "viewer.js":
        return script(_text(f"js/{part}.js") for part in _PARTS)
    return _text(name)


def script(parts: Iterable[str]) -> str:
    """Join scripts into the body of one function, so that they define only the names that they mean to."""
    body = "\n".join(parts)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _text(name: str) -> str:
    return files("computewise.viewer").joinpath(name).read_text(encoding="utf-8")
