"""Colours, lines and markers of the figures: one look a curve on every figure.

Okabe and Ito's colours, darkened where needed so that each has a contrast of at least 3 with white and with the page's
dark background; curves differ by marker and dash as well.
"""

from __future__ import annotations

from typing import NamedTuple

INK = "#1b1f23"
PAPER = "#fefffe"
GREY = "#808488"


class Look(NamedTuple):
    """How a curve is drawn."""

    colour: str
    marker: str
    dash: str


BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#c0659a", "#b47a00", "#2f93cc"
VIOLET = "#8070e0"
LOOKS = {
    "single sample": Look(GREY, ".", "-"),
    "best-of-N": Look(BLUE, "o", "-"),
    "majority": Look(ORANGE, "s", "-"),
    "beam search, M = 4": Look(VERMILION, "^", "-"),
    "search": Look(SKY, "v", "-."),
    "step revisions": Look(GREEN, "D", "-"),
    "revisions": Look(PURPLE, "P", "-"),
    "predicted": Look(VERMILION, "^", "-"),
    "oracle": Look(GREEN, "D", "-"),
    "fixed": Look(PURPLE, "s", "-"),
    "ceiling": Look(GREY, "", "--"),
    "coverage": Look(GREY, "", ":"),
    "how much": Look(ORANGE, "v", "-"),
    "which and how much": Look(INK, "o", "-"),
    "with escalation": Look(SKY, "P", "-"),
    "with escalation, the shipped policy": Look(VIOLET, "X", "-"),
    "greedy": Look(INK, "", "-."),
}
