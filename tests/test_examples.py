"""The examples run as programs, without a network, and keep to strict types."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "01_best_of_n.py": r"answer: -15, confidence: [\d.]+, tokens: \d+",
    "02_own_strategy.py": r"answer: -\d+, solutions: 5",
    "03_own_verifier.py": r"answer: -15, steps scored: [1-9]\d*",
    "04_controller_from_rows.py": r"budget(?s:.*)\n +8 .*(?s:.*)saved: True",
    "05_own_loop.py": r"answer: 42, confidence: [\d.]+, draws: [1-9]\d*, decision: stop",
}


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


def test_every_example_is_run() -> None:
    assert sorted(PRINTED) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_its_result(name: str) -> None:
    printed = run(str(EXAMPLES / name))
    assert re.fullmatch(PRINTED[name], printed.strip()), printed


def test_a_strategy_stops_where_two_solutions_agree() -> None:
    printed = run(str(EXAMPLES / "02_own_strategy.py"), "until_two_agree(n=8)")
    assert re.fullmatch(r"answer: -\d+, solutions: [2-8]", printed.strip()), printed


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mypy") is None, reason="needs mypy, the dependency group lint")
def test_the_examples_keep_to_strict_types_against_the_installed_package(tmp_path: Path) -> None:
    for example in EXAMPLES.glob("*.py"):
        (tmp_path / f"example_{example.name}").write_text(example.read_text("utf-8"), encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
