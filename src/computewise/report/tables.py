"""The tables of the page as text, one function for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from computewise.core import VERIFIER
from computewise.intervals import Verdict, verdict
from computewise.report.text import (
    CEILING_LABEL,
    FIXED_LABEL,
    NONE,
    POLICY_LABELS,
    Entry,
    Names,
    budgets,
    capitalize,
    count,
    estimate,
    interval,
    method,
    model_name,
    number,
    percent,
    quantity,
    signed,
)

KIND_NAMES = {"oracle": "oracle (answers known)", "predicted": "predicted (by the verifier)"}
OWN_PROBABILITY = "model's own mean log-probability"

UNBROKEN_EQUALS = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first `texts` columns hold words, aligned left, the others numbers."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    texts: int = 1

    @property
    def named(self) -> bool:
        """Whether the rows have long names and many numbers."""
        return self.texts == 1 and len(self.head) > 3 and any(len(row[0]) > 20 for row in self.rows)


def bins_table(summary: Entry) -> Table:
    """Every curve by bin."""
    rows = []
    for name, n, row in named_rows(summary):
        if "by_bin" in row:
            cells = [estimate(share, ci) for share, ci in zip(row["by_bin"], row["by_bin_ci95"], strict=True)]
            rows.append([name, str(n), *cells])
    bins = len(summary["bins"]["oracle"])
    head = ["Strategy, selection", "Budget", *(f"Bin {place}" for place in range(1, bins + 1))]
    return Table("Accuracy by bin of oracle difficulty, 1 the easiest, with 95 % intervals.", head, rows)


def bin_sizes_table(summary: Entry) -> Table:
    """The ease of each bin."""
    bins = summary["bins"]
    rows = [[KIND_NAMES[kind], *map(percent, bins[kind])] for kind in bins]
    head = ["Bins", *(f"Bin {place}" for place in range(1, len(rows[0])))]
    return Table("Mean share of right single samples in each bin, from samples used for nothing else.", head, rows)


def exchange_table(entries: list[Entry], names: Names, spends: str = "its policy") -> Table:
    """The small model against the large one, overall and in each bin; `spends` names the rule that spends compute."""
    small, large = names.short("model"), names.short("large")
    rows = []
    for entry in entries:
        sides = [("all", entry), *((str(place), side) for place, side in enumerate(entry["by_bin"], 1))]
        for name, side in sides:
            rows.append(
                [
                    f"R = {entry['R']:g}",
                    number(entry["k"], 1) + (" (held: more than measured)" if entry["beyond_measured"] else ""),
                    name,
                    _judgement(side["difference_ci95"], side["problems"], f"{small} better", f"{large} better"),
                    percent(side["small"]),
                    percent(side["large"]),
                    signed(side["small"] - side["large"]),
                    interval(side["difference_ci95"]),
                ]
            )
    head = [
        "R",
        f"{capitalize(small)} may spend, in greedy answers",
        "Bin",
        "Says",
        f"{capitalize(small)}, {spends.removeprefix('its ')}",
        f"{capitalize(large)}, greedy",
        "Difference",
        "95 % interval",
    ]
    caption = (
        f"{capitalize(names.model('model'))} with {spends} minus {names.model('large')}, in percentage points, "
        "at equal total FLOPs."
    )
    return Table(caption, head, rows, 4)


def policy_table(policy: Entry) -> Table:
    """The policy file, one row for each budget."""
    rows = [
        [str(each["generations"]), *(_action(held, policy["model"]) for held in each["bins"])]
        for each in policy["budgets"]
    ]
    edges = policy["difficulty"]["least_ease_of_bins_1_to_4"]
    heads = [f"Bin {place} (ease ≥ {number(edge)})" for place, edge in enumerate(edges, 1)]
    head = ["Budget", *heads, f"Bin {len(edges) + 1} (below)"]
    return Table(
        "What to run, and how to select the answer, by budget in generations and predicted difficulty.", head, rows, 9
    )


def _action(held: Entry, usual: str) -> str:
    """The strategy and the selection; the model is named where it is not the usual one."""
    model = "" if held["model"] == usual else f"{model_name(held['model'])}: "
    name = method(held["strategy"]).replace(" = ", UNBROKEN_EQUALS)
    return f"{model}{name}; {held['selection']}"


def policy_worth_table(summary: Entry) -> Table:
    """The policy's accuracy on problems it was not chosen on, with and without the cost of difficulty samples."""
    rows = []
    for kind in ("predicted", "oracle"):
        probe = summary["difficulty"]["flops"][kind]
        for choice in summary["policy"][kind]:
            spent = choice["usage"]["flops"]
            rows.append(
                [
                    POLICY_LABELS[kind],
                    str(choice["n"]),
                    estimate(choice["accuracy"], choice["ci95"]),
                    quantity(spent),
                    quantity(spent + probe),
                    f"{number((spent + probe) / spent, 1)} ×",
                ]
            )
    for choice in summary["best_fixed"]:
        spent = quantity(choice["usage"]["flops"])
        name = f"{FIXED_LABEL} (on all problems: {choice['actions'][0]})"
        rows.append([name, str(choice["n"]), estimate(choice["accuracy"], choice["ci95"]), spent, spent, "1 ×"])
    head = ["Rule", "Budget", "Accuracy, cross-validated", "FLOPs a problem", "with the difficulty samples", "ratio"]
    return Table("What choosing is worth, and what it costs once the difficulty samples are charged.", head, rows)


def verifier_table(summary: Entry) -> Table:
    """How well each score ranks right solutions above wrong ones."""
    rows = [
        [
            Names.of(summary).verifier_row if name == VERIFIER else OWN_PROBABILITY,
            number(held["auroc_within_problem"], 3),
            _plain(held["ci95"]),
            count(held["problems"]),
        ]
        for name, held in summary["verifiers"].items()
    ]
    head = ["Score", "AUROC within problem", "95 % interval", "Problems with right and wrong samples"]
    return Table(
        "Chance that a right solution scores above a wrong one of the same problem; 0.5 is guessing.", head, rows
    )


def difficulty_table(estimates: Sequence[Entry], caption: str) -> Table:
    """How well each estimate of difficulty predicts it."""
    rows = [
        [
            one["estimate"],
            _spread(one["spearman"], 1),
            _spread(one["exact"], 100),
            _spread(one["within_one"], 100),
            _spread(one["brier"], 1),
            NONE if one["calibration_error"] is None else number(one["calibration_error"], 3),
            number(one["draws"], 1),
            count(one["tokens"]),
        ]
        for one in estimates
    ]
    head = [
        "Estimate",
        "Spearman",
        "Exact bin, %",
        "Within one bin, %",
        "Brier score",
        "Calibration error",
        "Samples it takes",
        "Tokens it takes",
    ]
    return Table(caption, head, rows)


def _spread(found: Entry, scale: int) -> str:
    """A number with its interval; too few problems leave no number, or no bounds."""
    if found["value"] is None:
        return NONE
    digits = 1 if scale > 1 else 2
    text = number(scale * found["value"], digits)
    bounds: list[float | None] | None = found["ci95"]
    if not bounds or None in bounds:
        return text
    return f"{text} [{', '.join(number(scale * bound, digits) for bound in bounds if bound is not None)}]"


def curves_table(summary: Entry) -> Table:
    """Everything that was measured, with its cost."""
    rows = []
    for name, n, row in named_rows(summary):
        use = row.get("usage")
        spent = (
            [
                number(use["generations"], 1),
                count(use["completion_tokens"]),
                count(use["prompt_tokens"]),
                count(use["verifier_tokens"]),
                quantity(use["flops"]),
                quantity(use["flops_uncached"]),
            ]
            if use
            else [NONE] * 6
        )
        rows.append([name, str(n), percent(row["accuracy"]), interval(row["ci95"]), *spent])
    head = [
        "Strategy, selection",
        "Budget",
        "Accuracy",
        "95 % interval",
        "Generations",
        "Sampled tokens",
        "Prompt tokens",
        "Verifier tokens",
        "FLOPs, prefix cache",
        "FLOPs, no cache",
    ]
    return Table(
        "All curves; tokens and FLOPs are means a problem, prompt and verifier tokens with those read again.",
        head,
        rows,
    )


def comparisons_table(summary: Entry) -> Table:
    """Paired differences, with their verdicts in words."""
    rows = [
        [
            str(each["n"]),
            each["policy"],
            each["against"],
            _judgement(each["ci95"], summary["problems"], "better", "worse"),
            signed(each["difference"]),
            interval(each["ci95"]),
            number(each["completion_tokens_ratio"]),
            number(each["flops_ratio"]),
        ]
        for each in summary["comparisons"]
    ]
    head = ["Budget", "This", "Against", "Says", "Difference", "95 % interval", "Sampled tokens, ratio", "FLOPs, ratio"]
    return Table("Paired differences in percentage points, problem by problem.", head, rows, 4)


def config_table(config: Entry) -> Table:
    """The settings of the run, without the version of its files."""
    rows = [
        [name, value if isinstance(value, str) else json.dumps(value)]
        for name, value in config.items()
        if name != "format"
    ]
    return Table("Settings of the run.", ["Setting", "Value"], rows, 2)


def failed_table(summary: Entry) -> Table | None:
    """The problems that were left out everywhere, and the reason."""
    rows = [[held["problem"], held["error"] or ""] for held in summary["failed"]]
    return Table("Left out of every number.", ["Problem", "Error"], rows, 2) if rows else None


def named_rows(summary: Entry) -> list[tuple[str, int, Entry]]:
    """Name, budget and row of every curve, by rising budget."""
    names = Names.of(summary)
    plain = {"greedy": f"greedy ({names.model('model')})"}
    found = [(plain.get(row["label"], row["label"]), row["n"], row) for row in summary["curves"]]
    for kind, label in POLICY_LABELS.items():
        found += [(label, row["n"], row) for row in summary["policy"][kind]]
    found += [(FIXED_LABEL, row["n"], row) for row in summary["best_fixed"]]
    found += [(f"{CEILING_LABEL} (ceiling, luck included)", row["n"], row) for row in summary["oracle_per_problem"]]
    found += [("pass@N, coverage (ceiling of sampling)", point["n"], point) for point in summary["coverage"]]
    order = {n: index for index, n in enumerate(budgets(summary))}
    found.sort(key=lambda held: order.get(held[1], len(order)))
    larger = [(f"{row['label']} ({names.model('large')})", row["n"], row) for row in summary["large_samples"]]
    if summary["large"]:
        larger.insert(0, (f"greedy ({names.model('large')})", 1, summary["large"]))
    return larger + found


def _judgement(bounds: Any, problems: int, better: str, worse: str) -> str:
    says = verdict(bounds, problems)
    return {Verdict.BETTER: better, Verdict.WORSE: worse, Verdict.OPEN: "holds zero"}.get(says, says.value)


def _plain(bounds: Any) -> str:
    return f"[{number(bounds[0], 3)}, {number(bounds[1], 3)}]"
