"""Numbers, intervals and names as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from computewise.core import LARGE, MODEL, REVISER, VERIFIER
from computewise.intervals import Verdict, verdict
from computewise.report.lookup import Entry

MINUS = "\N{MINUS SIGN}"

NONE = "\N{EN DASH}"

_METHODS = {
    "single": "single sample",
    "greedy": "greedy",
    "best_of_n": "best-of-N",
    "beam_search": "beam search",
    "lookahead": "lookahead",
    "dvts": "DVTS",
    "rebase": "REBASE",
    "particle_filter": "particle filter",
    "revisions": "revisions",
    "gated_revisions": "gated revisions",
    "step_revisions": "step revisions",
    "adaptive_branching": "adaptive branching",
}

_SETTINGS = {"n": "N", "width": "M", "k": "k", "balance_temperature": "T", "chains": "C", "chain_length": "L"}

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


_PHRASES = {
    Verdict.BETTER: "better than {rival}",
    Verdict.WORSE: "worse than {rival}",
    Verdict.OPEN: "not distinguishable from {rival}",
    Verdict.TOO_FEW: f"of {Verdict.TOO_FEW.value} against {{rival}}",
}


def unpaired(interval: Sequence[float], other: Sequence[float], problems: int) -> Verdict:
    """For two estimates that are not paired: decided only where their intervals do not overlap."""
    return verdict((interval[0] - other[1], interval[1] - other[0]), problems)


def percent(share: float) -> str:
    """A share in [0, 1]: `71.2 %`."""
    return NONE if math.isnan(share) else f"{100 * share:.1f} %"


def interval(bounds: Sequence[float]) -> str:
    """The 95 % interval of a share: `[68.0, 74.1]`."""
    return f"[{_hundredfold(bounds[0])}, {_hundredfold(bounds[1])}]"


def estimate(share: float, bounds: Sequence[float]) -> str:
    """A share with its interval: `71.2 % [68.0, 74.1]`."""
    return f"{percent(share)} {interval(bounds)}"


def points(difference: float, bounds: Sequence[float]) -> str:
    """A difference of shares with its interval, in percentage points."""
    return f"{signed(difference)} points {interval(bounds)}"


def judged_difference(difference: float, bounds: Sequence[float], problems: int) -> str:
    """For a table: `+2.1 [0.3, 4.0] better`, without a word where the interval decides nothing."""
    says = verdict(bounds, problems)
    word = f" {says.value}" if says in (Verdict.BETTER, Verdict.WORSE) else ""
    return f"{signed(difference)} {interval(bounds)}{word}"


def times(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval: `1.9 [1.4, 2.4]`."""
    return f"{number(ratio, 1)} [{number(low, 1)}, {number(high, 1)}]"


def signed(difference: float) -> str:
    """A difference of shares in percentage points, sign shown."""
    text = _hundredfold(difference)
    return text if difference < 0 or math.isnan(difference) or float(text) == 0 else f"+{text}"


def judged(differences: Sequence[tuple[str, float, Sequence[float]]], rival: str, problems: int) -> str:
    """Every (place, difference, interval) under its verdict: "better than X at ... and worse at ..."."""
    groups = {kind: [each for each in differences if verdict(each[2], problems) is kind] for kind in Verdict}
    parts: list[str] = []
    for kind, members in groups.items():
        if members:
            at = listed([f"{where} ({points(difference, bounds)})" for where, difference, bounds in members])
            parts.append(f"{_PHRASES[kind].format(rival='it' if parts else rival)} at {at}")
    return listed(parts)


def _hundredfold(share: float) -> str:
    """One decimal, or two where one decimal would show a bound as zero that is not zero."""
    if math.isnan(share):
        return NONE
    value = 100 * share
    text = f"{value:.2f}" if 0 < abs(value) < 0.05 else f"{value:.1f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", MINUS)


def quantity(value: float, unit: str = "") -> str:
    """Three digits and a prefix: `1.53 G`; whole numbers below 1000 as they are."""
    if math.isnan(value):
        return NONE
    for size, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * size:
            return f"{_three_digits(value / size)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}".rstrip()


def _three_digits(value: float) -> str:
    if value == round(value) and abs(value) < 1000:
        return f"{value:.0f}"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}"


def number(value: float, digits: int = 2) -> str:
    """A plain number: `0.89`."""
    return NONE if math.isnan(value) else f"{value:.{digits}f}".replace("-", MINUS)


def count(value: float) -> str:
    """A count with groups of three: `12 345`, with spaces that do not break."""
    return NONE if math.isnan(value) else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def method(settings: Mapping[str, int | float | str]) -> str:
    """A strategy in readable form: `beam search, N = 16, M = 4`."""
    name = str(settings["name"])
    numbers = [f"{_SETTINGS.get(key, key)} = {value}" for key, value in settings.items() if key != "name"]
    return ", ".join([_METHODS.get(name, name), *numbers])


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


PLAIN_NAMES = ("small", "large", "revision")
"""Names that say what kind of a model it is; a sentence puts an article and a noun around them."""


def model_name(label: str) -> str:
    """Without an article: `small model`, or the name itself."""
    return f"{label} model" if label in PLAIN_NAMES else label


@dataclass(frozen=True, slots=True)
class Names:
    """Labels by role."""

    labels: dict[str, str]

    @classmethod
    def of(cls, summary: Entry) -> Names:
        """Those of a run."""
        return cls({role: held["label"] for role, held in summary["models"].items()})

    def short(self, role: str) -> str:
        """For the head of a column: `small`."""
        return self.labels[role]

    def model(self, role: str) -> str:
        """For a label: `small model`."""
        return model_name(self.labels[role])

    def the(self, role: str) -> str:
        """For a sentence: `the small model`."""
        label = self.labels[role]
        return f"the {model_name(label)}" if label in PLAIN_NAMES else label

    @property
    def verifier(self) -> str:
        """For a sentence: `the PRM`."""
        label = self.labels[VERIFIER]
        return "the PRM" if label == "prm" else label

    @property
    def verifier_row(self) -> str:
        """For a table, beside the model's own probabilities."""
        label = self.labels[VERIFIER]
        return "PRM (learned verifier)" if label == "prm" else f"{label} (verifier)"


PLAIN = Names({MODEL: "small", LARGE: "large", REVISER: "revision", VERIFIER: "prm"})

"""The names where a summary names no models."""


def capitalize(text: str) -> str:
    """The text with a capital, unless it begins with a model's own name."""
    first = text.split(" ")[0]
    return f"{first.capitalize()}{text[len(first) :]}" if first in (*PLAIN_NAMES, "the") else text
