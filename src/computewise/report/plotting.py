"""Axes, style and SVG of the figures, and how each cost metric is written."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from collections.abc import Callable

from computewise.report.text import Entry, Names, count, number, quantity

INK = "#1b1f23"

PAPER = "#fefffe"

GREY = "#808488"


class Look(NamedTuple):
    """The colour, marker and dash of a curve."""

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


WIDE = (6.3, 4.1)

"""Size in inches; one point of type in a figure is then about one point on the page."""


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure without axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, facecolor=PAPER, layout="constrained")


def new_axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure with one plot."""
    figure = new_figure(size)
    axes = figure.add_subplot()
    dress(axes)
    return figure, axes


def dress(axes: Axes) -> None:
    """Give one plot the page's colours."""
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, which="both", color=GREY)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def bin_names(bins: int) -> list[str]:
    """The names of the difficulty bins on an axis."""
    return ["1 easiest", *map(str, range(2, bins)), f"{bins} hardest"]


def percent_axis(axes: Axes) -> None:
    """Make the y axis one of accuracies in %."""
    axes.set_ylabel("accuracy, %")


def decimal_ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high, as few for each decade as leave at least three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks: list[float] = []
    for digits in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)):
        if len(ticks) < 3:
            ticks = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
    return ticks


def name_ends(axes: Axes, ends: list[tuple[float, float, str, Look]]) -> None:
    """Write names in a column on the right in the order of the curves' ends, moved apart, with a line to each end."""
    bottom, top = axes.get_ylim()
    least = 0.062 * (top - bottom)
    ends = sorted(ends, key=lambda end: end[1])
    places = apart([end[1] for end in ends], least)
    shift = min(0.0, top - places[-1])
    for (x, y, name, look), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.06, place + shift),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": look.colour,
                "linewidth": 1,
                "shrinkA": 2,
                "shrinkB": 3,
            },
        )
    axes.set_ylim(bottom, top)


def apart(wanted: list[float], least: float) -> list[float]:
    """The rising places nearest to `wanted` that are at least `least` apart (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for index, place in enumerate(wanted):
        blocks.append([place - index * least])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    means = [sum(block) / len(block) for block in blocks for _ in block]
    return [mean + index * least for index, mean in enumerate(means)]


_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}

_HEAD = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>", re.DOTALL)

_ID = re.compile(r' id="([^"]+)"')

_USE = re.compile(r'(?:url\(|href=")#([^)"]+)')

_FONT = re.compile(r"(font: [^;\"]*?px) [^;\"]*")


def render(figure: Figure, name: str, folder: Path) -> str:
    """Write `name`.png and `name`.svg; returns the SVG for the page. Equal runs give equal files."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.png", dpi=160)
        held = io.StringIO()
        figure.savefig(held, format="svg", metadata=_NO_METADATA)
    (folder / f"{name}.svg").write_text(held.getvalue(), encoding="utf-8")
    return inline(held.getvalue(), name)


def inline(svg: str, name: str) -> str:
    """An SVG for a page: without a prolog, with ids of its own, and with the page's ink, font and background."""
    svg = _HEAD.sub("", svg)
    used = set(_USE.findall(svg))
    svg = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", svg)
    svg = _FONT.sub(r"\1 var(--font)", svg)
    return svg.replace(PAPER, "none").replace(INK, "currentColor")


MILLION = 1_000_000


class CostDisplay(NamedTuple):
    """How one cost metric is written: the label of an axis, its ticks, a cost, and the assumptions."""

    axis: str
    tick: Callable[[float], str]
    cost: Callable[[float], str]
    assumed: Callable[[Entry], str]


def _dollars(cost: float) -> str:
    return f"${quantity(MILLION * cost)} per million problems"


def _seconds(cost: float) -> str:
    return f"{number(cost, 3)} s"


def _operations(summary: Entry) -> str:
    return (
        "2 FLOPs for every parameter and token, of the models and of the verifier, what a prefix cache holds left out; "
        "attention is not counted."
    )


def _traffic(summary: Entry) -> str:
    held, names = summary["assumed"], Names.of(summary)
    most = f", for {names.the('large')} most" if summary["large"] else ""
    return (
        f"{_begun(summary, '')}{held['bytes_per_number']:g} bytes a number, {held['batch']} rows, of whatever "
        f"problems, to one pass over the weights. Small batches make every token dearer{most}."
    )


def _prices(summary: Entry) -> str:
    names = Names.of(summary)
    each = [
        f"{names.the(role)} {held['input']:g} for what it reads ({held['cached_input']:g} from a cache) and "
        f"{held['output']:g} for what it writes, its verifier {held['verifier']:g}"
        for role, held in summary["assumed"]["prices"].items()
    ]
    nobody = " Nobody hosts these models." if summary["assumed"]["nominal"] else ""
    return f"{_begun(summary, 'in dollars a million tokens')}{'; '.join(each)}.{nobody}"


def _speeds(summary: Entry) -> str:
    names = Names.of(summary)
    each = [
        f"{names.the(role)} writes {1 / held['decoded']:.0f} and reads {count(1 / held['read'])}, its verifier reads "
        f"{count(1 / held['verified'])}"
        for role, held in summary["assumed"]["speeds"].items()
    ]
    return (
        f"{_begun(summary, 'in tokens a second')}{'; '.join(each)}. What is sampled side by side takes as long as "
        "the longest of it. The controller draws one after another and looks in between, so it waits for everything it "
        "draws; the samples of best-of-N wait for none but the longest."
    )


def _begun(summary: Entry, unit: str) -> str:
    """The beginning of a list of assumptions."""
    start = ", ".join(part for part in ("Nominal" if summary["assumed"]["nominal"] else "", unit) if part)
    return f"{start[:1].upper()}{start[1:]}: " if start else ""


SHOWN = {
    "flops": CostDisplay("FLOPs a problem (log scale)", quantity, lambda cost: quantity(cost, "FLOPs"), _operations),
    "bytes": CostDisplay("bytes moved a problem (log scale)", quantity, lambda cost: quantity(cost, "B"), _traffic),
    "dollars": CostDisplay(
        "dollars for a million problems (log scale)", lambda tick: f"{MILLION * tick:g}", _dollars, _prices
    ),
    "seconds": CostDisplay("seconds until the answer (log scale)", lambda tick: f"{tick:g}", _seconds, _speeds),
}
"""By the column of the cost metric; see `study.analysis.tables.cost_metrics`."""
