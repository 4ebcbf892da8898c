"""The report, on a run made of drawn records that the real analysis has summarised."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from computewise.core import Usage
from computewise.errors import RunError
from computewise.records import Node, Outcome, Record
from computewise.report import write_report
from computewise.report.examples import examples
from computewise.report.families import best_search
from computewise.report.figures import apart
from computewise.report.headline import headline
from computewise.report.svg import inline
from computewise.report.trees import grow
from computewise.report.words import Verdict, estimate, points, quantity, verdict
from computewise.strategies import describe
from computewise.study.analysis import analyse
from computewise.study.config import StudyConfig
from computewise.study.plan import TREE_OF, Run, plan
from computewise.study.summary import policy_file, summarise
from computewise.study.tables import Sizes

CONFIG = StudyConfig(problems=40, budgets=(1, 4, 16, 64), difficulty_samples=16, repeats=5)
HOSTILE = "<b>1+2</b>&*3"
SECTIONS = ("found", "compute", "difficulty", "sizes", "policy", "verifier", "numbers", "trees", "reading")


def drawn_records(config: StudyConfig = CONFIG) -> list[Record]:
    """A record for everything planned: problems fall from easy to impossible, the PRM ranks well."""
    rng = random.Random(1)
    ids = [f"{number}*({number + 7}-4)+{number % 9}" for number in range(config.problems - 1)]
    ids.insert(0, HOSTILE)
    records = []
    for run in plan(config):
        for place, problem in enumerate(ids):
            skill = max(0.0, 1.05 - 1.1 * place / len(ids))
            records.append(_drawn(rng, run, problem, skill + 0.12 * (run.model == "large")))
    return records


def _drawn(rng: random.Random, run: Run, problem: str, skill: float) -> Record:
    n = int(run.strategy.get("n", 1))
    searching = run.purpose not in ("pool", "difficulty", "greedy")
    outcomes = [_outcome(rng, skill * (1.1 if searching else 1)) for _ in range(n)]
    usage = Usage(n, 90 * n, 60 * n, 33 * max(n, run.budget), 50 * n, 30 * n)
    tree = _tree(rng, outcomes) if run.strategy == describe(TREE_OF) else None
    return Record(run.purpose, run.model, run.strategy, run.seed, problem, usage, outcomes, tree)


def _outcome(rng: random.Random, skill: float) -> Outcome:
    correct = rng.random() < skill
    value = min(max(rng.gauss(0.7 if correct else 0.35, 0.2), 0.0), 1.0)
    return Outcome("42" if correct else str(rng.randint(1, 6)), value, rng.uniform(0.3, 0.9), 33, correct)


def _tree(rng: random.Random, outcomes: list[Outcome]) -> list[Node]:
    """Sixteen first steps, a quarter of which go on to the final candidates; some discarded at each level."""
    nodes = [Node(str(i), None, rng.choice(["7*4+1", "28+1", "<i>9</i>"]), rng.random(), None, None) for i in range(16)]
    for index, outcome in enumerate(outcomes):
        parent = str(index % 4)
        step = outcome.answer or ""
        nodes.append(Node(f"{parent}.{index}", parent, step, outcome.value, "stop", outcome.answer))
        if index % 2:
            nodes.append(Node(f"{parent}.{index + 50}", parent, f"{index}+1", rng.random() / 3, None, None))
    return nodes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study's directory, not to be changed."""
    directory = tmp_path_factory.mktemp("study")
    write_run(directory, drawn_records())
    return directory


def write_run(directory: Path, records: list[Record]) -> None:
    analysis = analyse(CONFIG, records, Sizes(760_000, 10_600_000, 1_160_000))
    (directory / "config.json").write_text(json.dumps(CONFIG.plain()))
    (directory / "summary.json").write_text(json.dumps(summarise(CONFIG, analysis)))
    (directory / "policy.json").write_text(json.dumps(policy_file(CONFIG, analysis)))
    (directory / "records.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("report.html", "figures")))


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return write_report(finished).read_text(encoding="utf-8")


@pytest.fixture
def summary(finished: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((finished / "summary.json").read_text())
    return held


class Outline(HTMLParser):
    """Whether tags nest, and every id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in ("meta", "br"):
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
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1999/xhtml"}
    assert "<script" not in page
    assert "@import" not in page


def test_figures_are_files_that_repeat(finished: Path, page: str) -> None:
    names = {path.stem for path in (finished / "figures").glob("*.png")}
    assert {"methods_generations", "choices_flops", "bins_4", "bins_16", "bins_64", "exchange"} <= names
    assert names == {path.stem for path in (finished / "figures").glob("*.svg")}
    before = (finished / "figures" / "exchange.svg").read_bytes()
    assert write_report(finished).read_text(encoding="utf-8") == page
    assert (finished / "figures" / "exchange.svg").read_bytes() == before
    for relative in re.findall(r'href="(figures/[^"]+)"', page):
        assert (finished / relative).is_file()


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


@pytest.mark.parametrize("name", ["config.json", "summary.json", "policy.json", "records.jsonl"])
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
        (_break_shape, "no 'curves'"),
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
    assert headline(summary)[0].startswith(
        "Given N generations, beam search (M = 4) is better than best-of-N weighted at N = 4 "
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


def test_failed_problem_is_named(tmp_path: Path) -> None:
    records = drawn_records()
    lost = next(index for index, record in enumerate(records) if record.purpose == "pool" and record.problem != HOSTILE)
    records[lost] = msgspec.structs.replace(records[lost], error="the model <broke>", candidates=[])
    write_run(tmp_path, records)
    assert "the model &lt;broke&gt;" in write_report(tmp_path).read_text(encoding="utf-8")


def test_run_without_searches_or_trees_still_reports(tmp_path: Path) -> None:
    config = StudyConfig(problems=20, budgets=(1, 2), difficulty_samples=8, repeats=2)
    records = drawn_records(config)
    analysis = analyse(config, records, Sizes(760_000, 10_600_000, 1_160_000))
    (tmp_path / "config.json").write_text(json.dumps(config.plain()))
    (tmp_path / "summary.json").write_text(json.dumps(summarise(config, analysis)))
    (tmp_path / "policy.json").write_text(json.dumps(policy_file(config, analysis)))
    (tmp_path / "records.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    assert "No search trees were recorded" in write_report(tmp_path).read_text(encoding="utf-8")


def test_examples_show_what_they_say() -> None:
    found = {each.why: each for each in examples(drawn_records())}
    assert len(found) >= 3
    easy = found["An easy problem"]
    assert easy.right
    assert easy.bin == 1
    for why, each in found.items():
        if "majority is wrong" in why:
            assert each.right
            assert not each.vote_right
    assert len({each.problem for each in found.values()}) == len(found)


def test_equal_siblings_are_merged() -> None:
    nodes = [
        Node("0", None, "3*9", 0.8, None, None),
        Node("1", None, "3*9", 0.8, None, None),
        Node("2", None, "3*8", 0.1, None, None),
        Node("0.0", "0", "27", 0.9, "stop", "27"),
        Node("1.0", "1", "27", 0.9, "stop", "27"),
        Node("1.1", "1", "26", 0.2, "stop", "26"),
    ]
    kept, dropped = grow(nodes, [Outcome("27", 0.9, 0.5, 4, True)])
    assert (kept.step, kept.count, kept.kept, kept.end) == ("3*9", 2, True, None)
    assert [(node.step, node.count, node.ends_kept) for node in kept.children] == [("27", 2, True), ("26", 1, False)]
    assert (dropped.step, dropped.kept) == ("3*8", False)


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
    assert verdict(bounds) is says


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
