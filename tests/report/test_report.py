"""The report, on a run made of drawn records that the real analysis has summarised."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from drawn_run import HOSTILE, drawn_records, write_run
from matplotlib.figure import Figure

from computewise.errors import RunError
from computewise.intervals import Verdict, verdict
from computewise.report import write_report
from computewise.report.examples import examples
from computewise.report.figures import GENERATIONS, accuracy, bars, methods
from computewise.report.paper import sequential_against_parallel
from computewise.report.plotting import apart, inline
from computewise.report.revisions import (
    along_a_chain,
    at_the_gate,
    halves,
    heat_map,
    parallel_sampler,
    spending,
    splitting,
)
from computewise.report.study_page import headline
from computewise.report.tables import policy_table
from computewise.report.text import (
    BEAM,
    best_search,
    best_step_revisions,
    estimate,
    points,
    quantity,
    search_labels,
    unpaired,
)
from computewise.study.plan import StudyConfig

SECTIONS = (
    *("found", "controller", "compute", "difficulty", "revisions", "sizes", "paper"),
    *("policy", "verifier", "numbers", "trees", "reading"),
)


@pytest.fixture
def run(reported: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(reported, tmp_path / "run", ignore=shutil.ignore_patterns("report.html", "figures")))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made as ever, but not drawn."""

    def render(figure: Figure, name: str, folder: Path) -> str:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").touch()
        return "<svg></svg>"

    monkeypatch.setattr("computewise.report.study_page.render", render)


class Outline(HTMLParser):
    """Whether tags nest, and every id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert [each for each in outline.ids if each in SECTIONS] == list(SECTIONS)
    assert all(target in outline.ids for target in re.findall(r'href="#([^"]+)"', page))
    assert all(target in outline.ids for target in re.findall(r"url\(#([^)]+)\)", page))
    assert len(page.encode()) < 2_000_000


def test_page_loads_nothing_from_anywhere(page: str) -> None:
    urls = set(re.findall(r"[a-z]+://[^\s\"'<>)]+", page))
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1999/xhtml"}
    assert urls <= {*names, "https://d3js.org/d3-hierarchy/"}, "the last in the first line of its code, a comment"
    assert not re.search(r"<script[^>]*\ssrc", page)
    assert "@import" not in page


def test_figures_are_files_that_repeat(reported: Path, run: Path, page: str) -> None:
    names = {path.stem for path in (reported / "figures").glob("*.png")}
    assert {"methods_generations", "choices_flops", "bins_4", "bins_16", "bins_64", "exchange"} <= names
    assert names == {path.stem for path in (reported / "figures").glob("*.svg")}
    assert write_report(run).read_text(encoding="utf-8") == page
    for name in names:
        assert (run / "figures" / f"{name}.svg").read_bytes() == (reported / "figures" / f"{name}.svg").read_bytes()
    for relative in re.findall(r'href="(figures/[^"]+)"', page):
        assert (reported / relative).is_file()


@pytest.mark.usefixtures("undrawn")
def test_run_itself_is_only_read(run: Path) -> None:
    with (run / "records.jsonl").open("ab") as file:
        file.write(b'{"purpose":"po')
    before = (run / "records.jsonl").read_bytes()
    write_report(run)
    assert (run / "records.jsonl").read_bytes() == before


def test_problem_text_is_escaped(page: str) -> None:
    assert "<b>1+2" not in page
    assert "<i>9</i>" not in page
    assert "&lt;i&gt;9&lt;/i&gt;" in page


@pytest.mark.parametrize("name", ["config.json", "summary.json", "bin_policy.json", "records.jsonl"])
def test_missing_file_is_named_in_one_line(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RunError, match=re.escape(name)) as raised:
        write_report(run)
    assert "\n" not in str(raised.value)


def _break_json(run: Path) -> None:
    (run / "summary.json").write_text("{")


def _break_shape(run: Path) -> None:
    (run / "summary.json").write_text("{}")


def _break_record(run: Path) -> None:
    (run / "records.jsonl").write_text("{}\n")


def _block_folder(run: Path) -> None:
    (run / "figures").write_text("in the way")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (_break_json, "summary.json"),
        (_break_shape, "no 'controller'"),
        (_break_record, "line 1"),
        (_block_folder, "cannot write"),
    ],
)
def test_unusable_run_is_one_line(run: Path, break_it: Callable[[Path], None], says: str) -> None:
    break_it(run)
    with pytest.raises(RunError, match=says) as raised:
        write_report(run)
    assert "\n" not in str(raised.value)


def _set(summary: dict[str, Any], policy: str, against: str, n: int, difference: float, bounds: list[float]) -> None:
    for each in summary["comparisons"]:
        if (each["policy"], each["against"], each["n"]) == (policy, against, n):
            each["difference"], each["ci95"] = difference, bounds


def test_headline_follows_the_intervals(summary: dict[str, Any]) -> None:
    beam = "beam search, M = 4, weighted", "best-of-N, weighted"
    _set(summary, *beam, 4, 0.09, [0.021, 0.154])
    _set(summary, *beam, 16, 0.011, [-0.008, 0.03])
    _set(summary, *beam, 64, -0.05, [-0.08, -0.02])
    for each in summary["comparisons"]:
        if (each["policy"], each["against"]) == beam:
            each["completion_tokens_ratio"] = 1 + each["n"] / 400
    assert headline(summary)[1].startswith(
        "With N beams, for 1.01 to 1.16 times the tokens of N samples, beam search (M = 4) is better than best-of-N "
        "weighted at N = 4 "
        "(+9.0 points [2.1, 15.4]), worse than it at N = 64 (−5.0 points [−8.0, −2.0]) and "
        "not distinguishable from it at N = 16 (+1.1 points [−0.8, 3.0]). "
    )


def test_nothing_is_claimed_where_every_interval_holds_zero(summary: dict[str, Any]) -> None:
    for each in summary["comparisons"]:
        each["difference"], each["ci95"] = 0.0, [0.0, 0.0]
    for each in summary["exchange"]:
        each["difference_ci95"] = [-0.01, 0.02]
    text = " ".join(headline(summary))
    assert "better than" not in text
    assert "worse than" not in text
    assert text.count("not distinguishable from") >= 3


@pytest.mark.usefixtures("undrawn")
def test_failed_problem_is_named(tmp_path: Path) -> None:
    config = StudyConfig(problems=12, budgets=(1, 4), difficulty_samples=8, repeats=2)
    records = drawn_records(config)
    lost = next(index for index, record in enumerate(records) if record.purpose == "pool" and record.problem != HOSTILE)
    records[lost] = msgspec.structs.replace(records[lost], error="the model <broke>", candidates=[])
    write_run(tmp_path, records, config)
    assert "the model &lt;broke&gt;" in write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
def test_run_without_searches_or_trees_still_reports(tmp_path: Path) -> None:
    config = StudyConfig(problems=20, budgets=(1, 2), difficulty_samples=8, repeats=2)
    write_run(tmp_path, drawn_records(config), config)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "No search trees were recorded" in text
    assert "1 x 2 (all sequential)" in text
    assert "too small for chains worth following" in text
    assert not (tmp_path / "figures" / "along.svg").exists()


@pytest.mark.parametrize("problems", [10, 20])
@pytest.mark.usefixtures("undrawn")
def test_budget_of_one_leaves_revisions_out(tmp_path: Path, problems: int) -> None:
    config = StudyConfig(problems=problems, budgets=(1,), difficulty_samples=8, repeats=2)
    write_run(tmp_path, drawn_records(config), config)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "sequential against parallel" not in text
    assert 'id="revisions"' not in text
    assert 'id="controller"' not in text
    assert "with the controller" not in text
    assert "<h2>4. Small model against large</h2>" in text
    assert "charged apart, in section 6." in text
    assert "revisions, best ratio" not in text


@pytest.mark.usefixtures("undrawn")
def test_few_problems_still_report(tmp_path: Path) -> None:
    config = StudyConfig(problems=10, budgets=(1, 4, 16), difficulty_samples=8, repeats=2)
    write_run(tmp_path, drawn_records(config), config)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "1 x 16 (all sequential)" in text
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower().split()


def _section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def _cell(*row: str) -> str:
    """A pattern of a table's row that starts with these cells."""
    first, *others = (re.escape(each) for each in row)
    tail = "".join(rf"<td[^>]*>{each}</td>" for each in others)
    return rf'<th scope="row">{first}</th>{tail}'


def test_revisions_section_shows_every_ratio_with_its_interval(page: str, summary: dict[str, Any]) -> None:
    section = _section(page, "revisions")
    assert "<h2>5. Revisions: sequential against parallel</h2>" in section
    for row in summary["ratios"]:
        if row["n"] == 16:
            assert estimate(row["accuracy"], row["ci95"]) in section
            assert all(estimate(*each) in section for each in zip(row["by_bin"], row["by_bin_ci95"], strict=True))
    for name in ("1 x 64 (all sequential)", "8 x 8", "64 x 1 (all parallel)"):
        assert name in section.partition("</figure>")[0], "in the heat map"
        assert re.search(_cell(name, "64"), section)
    assert section.count(">budget ") == 3


def test_heat_map_has_the_three_largest_budgets_and_frames_the_best(summary: dict[str, Any]) -> None:
    rows = [
        {**row, "n": n, "chains": 1, "chain_length": n} for row in summary["ratios"][:1] for n in (1, 2, 4, 8, 16)
    ] + [
        {**row, "n": n, "chains": n, "chain_length": 1, "accuracy": 0.9, "by_bin": [0.0] * 5}
        for row in summary["ratios"][:1]
        for n in (1, 2, 4, 8, 16)
    ]
    panels = heat_map({"ratios": rows}).axes
    assert [panel.get_title(loc="left").split()[1] for panel in panels] == ["4", "8", "16"]
    bold = {(text.get_position(), text.get_text()) for text in panels[0].texts if text.get_fontweight() == "bold"}
    assert ((0.0, 1.0), "90.0") in {((float(x), float(y)), text) for (x, y), text in bold}
    assert len(bold) == 6, "one for each column"


def test_flip_rates_are_a_table(page: str, summary: dict[str, Any]) -> None:
    section = _section(page, "revisions")
    assert [each["attempt"] for each in summary["along"]] == [1, 2, 4, 8, 16]
    for each in summary["along"]:
        rates = [each[name] for name in ("right", "mended", "broken", "gated")]
        cells = [estimate(rate["value"], rate["ci95"]) if rate else "–" for rate in rates]
        assert re.search(_cell(str(each["attempt"]), *cells), section)


def test_small_against_large_with_one_mechanism_is_shown(page: str, summary: dict[str, Any]) -> None:
    section = _section(page, "revisions")
    for name in ("sampling and search alone", "revisions alone"):
        assert f"Small model with {name} minus large model" in section
        assert f"Small, {name}" in section
    summary["exchange_halves"]["revisions"] = summary["exchange_halves"]["revisions"][:1]
    (each,) = summary["exchange_halves"]["revisions"]
    each |= {"small": 0.5, "large": 0.7, "difference_ci95": [-0.3, -0.1]}
    assert list(halves(summary))[1] == (
        "With revisions alone the small model is worse than the large model at R = 0.16 (−20.0 points [−30.0, −10.0])."
    )


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ([0.01, 0.3], "rises from 60.0 % [55.0, 70.0] at the first to 75.0 % [70.0, 80.0] at attempt 16"),
        ([-0.3, -0.01], "falls from 60.0 % [55.0, 70.0] at the first to 75.0 % [70.0, 80.0] at attempt 16"),
        ([-0.1, 0.1], "[70.0, 80.0] at attempt 16, which is not distinguishable"),
    ],
)
def test_along_a_chain_follows_the_paired_interval(summary: dict[str, Any], bounds: list[float], says: str) -> None:
    summary["along"][0]["right"] = {"value": 0.6, "ci95": [0.55, 0.7]}
    summary["along"][-1]["right"] = {"value": 0.75, "ci95": [0.7, 0.8]}
    summary["along_change"]["right"] = {"difference": sum(bounds) / 2, "ci95": bounds}
    (sentence,) = along_a_chain(summary)
    assert sentence.endswith(f"{says}: {points(sum(bounds) / 2, bounds)}, paired.")
    assert sentence in " ".join(headline(summary))


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ([0.01, 0.3], "better than its first attempt"),
        ([-0.3, -0.01], "worse than its first attempt"),
        ([-0.1, 0.1], "not distinguishable from its first attempt"),
    ],
)
def test_gated_chain_follows_the_paired_interval(summary: dict[str, Any], bounds: list[float], says: str) -> None:
    summary["along_change"]["gated"] = {"difference": sum(bounds) / 2, "ci95": bounds}
    (sentence,) = at_the_gate(summary)
    assert sentence.endswith(f"{says} ({points(sum(bounds) / 2, bounds)}).")
    assert sentence.startswith("A chain that ends at its first attempt worth 0.9 or more")


def test_sequential_against_parallel_follows_the_paired_intervals(summary: dict[str, Any]) -> None:
    for row in summary["ratios"]:
        if (row["n"], row["chains"], row["selection"], row["gated"]) == (64, 1, "hierarchical", False):
            row["minus_parallel"]["ci95"] = [-0.1, 0.1]
            row["minus_parallel"]["by_bin_ci95"][0] = [0.1, 0.2]
            row["minus_parallel"]["by_bin_ci95"][-1] = [-0.2, -0.1]
    summary["problems"], summary["bin_sizes"] = 150, [30] * 5
    (sentence,) = splitting(summary)
    overall, easiest, hardest = sentence.partition(": ")[2].split("; ")
    assert overall.startswith("over all problems ")
    assert overall.endswith("[−10.0, 10.0], not distinguishable")
    assert easiest.startswith("on the easiest fifth ")
    assert easiest.endswith("[10.0, 20.0], sequential is better")
    assert hardest.endswith("[−20.0, −10.0], parallel is better.")
    summary["bin_sizes"] = [29, 30, 30, 30, 31]
    (sentence,) = splitting(summary)
    assert "[10.0, 20.0], too few problems to tell" in sentence
    assert next(parallel_sampler(summary)).startswith("64 x 1 is the revision model as a plain parallel sampler")


def test_one_attempt_is_no_chain(summary: dict[str, Any]) -> None:
    lone = {**summary, "along": summary["along"][:1], "ratios": [row for row in summary["ratios"] if row["n"] == 1]}
    assert list(along_a_chain(lone)) == list(at_the_gate(lone)) == list(splitting(lone)) == []
    assert list(parallel_sampler(lone)) == []


def test_main_figure_draws_one_curve_of_each_kind(summary: dict[str, Any]) -> None:
    drawn = methods(summary)
    names = [each.name for each in drawn]
    step = (best_step_revisions(summary) or "").removesuffix(", hierarchical")
    assert step.startswith("step revisions, C = ")
    assert names == [
        *("best-of-N weighted", "majority", "beam search, M = 4"),
        *(step, "revisions, best ratio", "pass@N (coverage)"),
    ]
    for row in drawn[4].rows:
        rivals = [other for other in summary["curves"] if other["strategy"] == "revisions" and other["n"] == row["n"]]
        assert row["accuracy"] == max(other["accuracy"] for other in rivals)


def test_curves_stand_at_what_was_spent_and_the_page_says_so(page: str, summary: dict[str, Any]) -> None:
    drawn = methods(summary)
    axes = accuracy(summary, drawn, GENERATIONS).axes[0]
    spent = [row["usage"]["generations"] for row in drawn[3].rows]
    assert np.asarray(axes.lines[3].get_xdata()).tolist() == spent
    assert max(spent) < 40
    sentence, end = spending(summary, 64)
    assert f"{sentence} {end}" in page
    frugal = min(row["usage"]["generations"] for row in summary["curves"] if row["n"] == 64)
    assert f"spent from {frugal:.1f} (" in sentence
    for row in summary["curves"]:
        row["usage"]["generations"] = row["n"]
    assert list(spending(summary, 64)) == []


def test_page_says_what_spent_more_than_its_budget(summary: dict[str, Any]) -> None:
    for row in summary["curves"]:
        row["usage"]["generations"] = row["n"] * (1.25 if row["label"] == "beam search, M = 4, weighted" else 1.05)
    sentence, _ = spending(summary, 16)
    assert "1 of them spent 20.0 (beam search, M = 4) generations" in sentence
    assert "do not choose" in sentence


def test_bars_name_what_they_show(summary: dict[str, Any], page: str) -> None:
    shown = bars(summary, 64)
    assert len(shown) == 7
    assert len({each.look.colour for each in shown}) == 7
    assert all(each.rows[0]["n"] in (1, 64) for each in shown)
    step = next(each for each in shown if each.name.startswith("step revisions"))
    assert f"{step.name} (spent {step.rows[0]['usage']['generations']:.1f})" in page


def test_searches_over_steps_hold_no_revisions(summary: dict[str, Any]) -> None:
    labels = search_labels(summary)
    assert {"REBASE, weighted", "particle filter, weighted", "DVTS, M = 4, weighted"} <= set(labels)
    assert not [label for label in labels if "revisions" in label or label.startswith("best-of-N")]


def test_step_revisions_enter_the_headline_as_they_compare(summary: dict[str, Any]) -> None:
    assert "Revisions inside the search" in " ".join(headline(summary))
    step = best_step_revisions(summary)
    summary["comparisons"] = [each for each in summary["comparisons"] if each["policy"] != step]
    assert "Revisions inside the search" not in " ".join(headline(summary))
    beam = next(each for each in summary["comparisons"] if each["policy"].startswith("beam") and each["n"] == 64)
    against = {"against": "best-of-N, weighted", "difference": 0.05, "ci95": [0.02, 0.08]}
    summary["comparisons"].append({**beam, "policy": step, **against})
    name = (step or "").removesuffix(", hierarchical")
    assert (
        f"Revisions inside the search ({name}, of 3 kinds the one these accuracies favour) are "
        "better than best-of-N weighted at N = 64 (+5.0 points [2.0, 8.0])."
    ) in headline(summary)[1]


def test_policy_names_a_model_that_is_not_the_small_one(reported: Path) -> None:
    policy = json.loads((reported / "bin_policy.json").read_text())
    strategy = {"name": "revisions", "chain_length": 16, "chains": 4}
    held = {"bin": 1, "model": "revision", "strategy": strategy, "selection": "hierarchical"}
    policy["budgets"] = [{"generations": 64, "bins": [held, {**held, "model": "small"}]}]
    ((_, first, second),) = policy_table(policy).rows
    assert first.replace("\N{NO-BREAK SPACE}", " ") == "revision model: revisions, L = 16, C = 4; hierarchical"
    assert first == f"revision model: {second}"


def test_long_tables_are_folded(page: str) -> None:
    for caption in ("All curves; tokens", "Accuracy by bin of", "Accuracy by ratio and bin of"):
        before = page.partition(f"<caption>{caption}")[0]
        assert before.count("<details") > before.count("</details>"), caption


def test_examples_show_what_they_say() -> None:
    found = {each.why: each for each in examples(drawn_records(), 16)}
    assert len(found) >= 3
    easy = found["An easy problem"]
    assert easy.right
    assert easy.bin == 1
    for why, each in found.items():
        if "majority is wrong" in why:
            assert each.right
            assert not each.vote_right
    assert len({each.problem for each in found.values()}) == len(found)


def test_trees_are_there_with_and_without_scripts(page: str) -> None:
    """A script's end in a text would end the script: the texts of the run hold "<i>"."""
    section = _section(page, "trees")
    found = re.findall(r'<script type="application/json">(.*?)</script>', section, flags=re.DOTALL)
    assert len(found) == section.count("<article") >= 3
    for text in found:
        assert "<" not in text
        drawing = json.loads(text)["drawing"]
        assert {node["state"] for node in drawing["nodes"]} == {"chosen", "kept", "pruned"}
    assert section.count("<strong>the answer</strong>") == len(found)
    assert page.count("computewiseViewer.draw(") == 1


def test_best_search_is_one_that_was_run(summary: dict[str, Any]) -> None:
    assert best_search(summary) in {row["label"] for row in summary["curves"]}
    assert best_search({**summary, "curves": []}) is None


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ((0.01, 0.2), Verdict.BETTER),
        ((-0.2, -0.01), Verdict.WORSE),
        ((0.0, 0.2), Verdict.OPEN),
        ((-0.1, 0.1), Verdict.OPEN),
        ((float("nan"), float("nan")), Verdict.OPEN),
    ],
)
def test_verdict(bounds: tuple[float, float], says: Verdict) -> None:
    assert verdict(bounds, 30) is says


def test_unpaired_intervals_decide_only_where_they_do_not_meet() -> None:
    assert unpaired((0.5, 0.6), (0.3, 0.4), 30) is Verdict.BETTER
    assert unpaired((0.3, 0.4), (0.5, 0.6), 30) is Verdict.WORSE
    assert unpaired((0.3, 0.5), (0.5, 0.6), 30) is Verdict.OPEN
    assert unpaired((1.0, 1.0), (1.0, 1.0), 30) is Verdict.OPEN


def test_numbers_as_read() -> None:
    assert estimate(0.712, (0.68, 0.741)) == "71.2 % [68.0, 74.1]"
    assert points(-0.011, (-0.03, 0.0004)) == "−1.1 points [−3.0, 0.04]"
    assert estimate(float("nan"), (float("nan"), float("nan"))) == "– [–, –]"
    assert [quantity(value) for value in (1_160_000, 999_999, 12, 0.5)] == ["1.16 M", "1.00 M", "12", "0.50"]


def test_names_are_moved_apart_no_further_than_needed() -> None:
    assert apart([0.0, 1.0, 1.0, 9.0], 2.0) == pytest.approx([-4 / 3, 2 / 3, 8 / 3, 9.0])


def test_inline_svg_keeps_to_its_own_ids() -> None:
    svg = '<?xml?><svg><g id="used"/><g id="spare"/><use xlink:href="#used"/><g clip-path="url(#used)"/></svg>'
    assert inline(svg, "a") == (
        '<svg><g id="a-used"/><g/><use xlink:href="#a-used"/><g clip-path="url(#a-used)"/></svg>'
    )


def test_papers_figures_are_drawn_with_their_tables(page: str, summary: dict[str, Any]) -> None:
    section = _section(page, "paper")
    for name in (
        "mechanism_search",
        "mechanism_revisions",
        "sequential_parallel",
        "exchange_search",
        "verifier_quality",
    ):
        assert f'href="figures/{name}.' in section
    for each in summary["verifier_quality"]:
        assert f"{each['auroc_within_problem']:.3f}" in section
    (beam,) = [each for each in summary["samples_saved"] if each["label"] == BEAM and each["n"] == 16]
    needed = f"{beam['samples']:.1f}" if beam["samples"] else "over 64"
    assert re.search(rf"{needed} \[[^]]*\] at N = 16", section)
    assert "product of the steps" not in section, "the drawn records have no scores of steps"


def test_one_chain_stands_beside_as_many_parallel_attempts(summary: dict[str, Any]) -> None:
    series = {each.name: each.rows for each in sequential_against_parallel(summary)}
    assert [row["n"] for row in series["sequential, by verifier"]] == [1, 4, 16, 64]
    assert {row["chains"] for row in series["sequential, by majority"]} == {1}
    assert {row["chain_length"] for row in series["parallel, by majority"]} == {1}
    assert {row["selection"] for row in series["parallel, by majority"]} == {"majority"}


@pytest.mark.usefixtures("undrawn")
def test_without_a_verifier_or_revisions_the_papers_section_is_short(run: Path) -> None:
    held = json.loads((run / "summary.json").read_text())
    held |= {"ratios": [], "along": [], "verifier_quality": [], "samples_saved": [], "exchange_halves": {}}
    (run / "summary.json").write_text(json.dumps(held))
    section = _section(write_report(run).read_text(encoding="utf-8"), "paper")
    assert "mechanism_search" in section
    assert not any(title in section for title in ("A worse verifier", "How many samples", "by difficulty</h3>"))
