"""What a page says of a summary: its rows by the names that readers see, and numbers, intervals and names as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from computewise.core import LARGE, MODEL, REVISER, VERIFIER
from computewise.intervals import Verdict, verdict
from computewise.study.analysis.analyse import OVERSPENT
from computewise.study.analysis.controller import SHIPPED_SCOPE, widest_alone

Entry = dict[str, Any]

POLICY_LABELS = {"oracle": "compute-optimal, oracle bins", "predicted": "compute-optimal, predicted bins"}
CEILING_LABEL = "per-problem oracle"
FIXED_LABEL = "best fixed strategy"
BEAM = "beam search, M = 4, weighted"
BEST_OF_N = "best-of-N, weighted"

_SELECTIONS = (", weighted", ", hierarchical")
"""The selection of a search's answer in the figures: the weighted vote, hierarchical for chains."""
MOST_SPLITS = 3
"""Number of budgets whose ratios of sequential to parallel are drawn."""


def budgets(summary: Entry) -> list[int]:
    """The measured budgets in generations, rising."""
    return [point["n"] for point in summary["coverage"]]


def find(entries: list[Entry], label: str, n: int) -> Entry | None:
    """The row of that label at that budget."""
    return next((row for row in entries if row["label"] == label and row["n"] == n), None)


def curve(summary: Entry, label: str) -> list[Entry]:
    """The rows of that label by rising budget. Curves of best-of-N begin at the single sample."""
    rows = [row for row in summary["curves"] if row["label"] == label]
    if label.startswith("best-of-N"):
        rows += [row for row in summary["curves"] if row["label"] == "single sample"]
    return sorted(rows, key=lambda row: int(row["n"]))


def family(label: str) -> str:
    """The label without the selection that the figures take for granted."""
    return label.removesuffix(_SELECTIONS[0]).removesuffix(_SELECTIONS[1])


def search_labels(summary: Entry) -> list[str]:
    """Every search over steps that was run, by the selection the paper uses, in the order of the summary."""
    labels = dict.fromkeys(row["label"] for row in summary["curves"] if row["selection"] == "weighted")
    return [label for label in labels if not label.startswith("best-of-N")]


def step_revision_labels(summary: Entry) -> list[str]:
    """The kinds of revisions inside the search that were run."""
    labels = dict.fromkeys(row["label"] for row in summary["curves"] if row["strategy"] == "step_revisions")
    return list(labels)


def best_search(summary: Entry) -> str | None:
    """The leading search over steps other than beam search with M = 4, which is always drawn; None if there is none."""
    return leader(summary, [label for label in search_labels(summary) if label != BEAM])


def best_step_revisions(summary: Entry) -> str | None:
    """The leading kind of step revisions; None where none was run."""
    return leader(summary, step_revision_labels(summary))


def leader(summary: Entry, labels: Sequence[str]) -> str | None:
    """The label that leads the others at the most budgets; of equals, the earlier."""
    leads = dict.fromkeys(labels, 0)
    for n in budgets(summary):
        rows = [row for label in labels if (row := find(summary["curves"], label, n))]
        if rows:
            leads[max(rows, key=lambda row: float(row["accuracy"]))["label"]] += 1
    return max(leads, key=leads.__getitem__, default=None)


def ratios(summary: Entry, n: int, selection: str = "hierarchical", *, gated: bool = False) -> list[Entry]:
    """The ways to split that budget into chains, the most sequential first."""
    rows = [row for row in summary["ratios"] if (row["n"], row["selection"], row["gated"]) == (n, selection, gated)]
    return sorted(rows, key=lambda row: int(row["chains"]))


def best_ratio(summary: Entry, n: int) -> Entry | None:
    """The most accurate ratio by verifier; of equals, the more sequential."""
    return max(ratios(summary, n), key=lambda row: float(row["accuracy"]), default=None)


def ratio_name(row: Entry) -> str:
    """Chains times length: `1 x 16 (all sequential)`."""
    extreme = " (all parallel)" if row["chain_length"] == 1 else " (all sequential)" if row["chains"] == 1 else ""
    return f"{row['chains']} x {row['chain_length']}{extreme}"


def split_budgets(summary: Entry) -> list[int]:
    """The budgets at which there is a choice of ratio."""
    return sorted({row["n"] for row in summary["ratios"] if row["chain_length"] > 1})


def rival(at: Entry, *, escalating: bool) -> Entry:
    """A controller's rival at a budget: the best fixed strategy, with or without answers of the large model."""
    scopes = at["best_fixed"]
    found: Entry = scopes["with escalation" if escalating and "with escalation" in scopes else widest_alone(scopes)]
    return found


def compared(held: Entry) -> bool:
    """Whether any controller could spend what its rival spent: a greedy answer may cost less than a first draw."""
    return any(held["mean_minus_best_fixed"].values())


def scope_name(scope: str) -> str:
    """The name of a scope, short enough to stand beside a curve."""
    return "shipped policy" if scope == SHIPPED_SCOPE else scope


def overspent(summary: Entry, n: int) -> list[Entry]:
    """The rows that spent more of that budget than a rule may choose, the least excess first."""
    rows = [row for row in summary["curves"] if row["n"] == n and row["usage"]["generations"] > OVERSPENT * n]
    return sorted(rows, key=lambda row: float(row["usage"]["generations"]))


def underspent(summary: Entry, n: int) -> list[Entry]:
    """The rows that left at least a tenth of that budget unspent, the largest rest first."""
    rows = [row for row in summary["curves"] if row["n"] == n and row["usage"]["generations"] < 0.9 * n]
    return sorted(rows, key=lambda row: float(row["usage"]["generations"]))


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
