"""Figures to files, and to SVG that takes the colours of the page around it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from computewise.report.style import INK, PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_HEAD = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>", re.DOTALL)
_ID = re.compile(r' id="([^"]+)"')
_USE = re.compile(r'(?:url\(|href=")#([^)"]+)')
_FONT = re.compile(r"(font: [^;\"]*?px) [^;\"]*")


def render(figure: Figure, name: str, folder: Path) -> str:
    """Write `name`.png and `name`.svg; the same SVG to stand inside a page. Equal runs give equal files."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.png", dpi=160)
        held = io.StringIO()
        figure.savefig(held, format="svg", metadata=_NO_METADATA)
    (folder / f"{name}.svg").write_text(held.getvalue(), encoding="utf-8")
    return inline(held.getvalue(), name)


def inline(svg: str, name: str) -> str:
    """No prolog, ids that cannot meet another figure's, the page's ink, font and background for the figure's own."""
    svg = _HEAD.sub("", svg)
    used = set(_USE.findall(svg))
    svg = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", svg)
    svg = _FONT.sub(r"\1 var(--font)", svg)
    return svg.replace(PAPER, "none").replace(INK, "currentColor")
