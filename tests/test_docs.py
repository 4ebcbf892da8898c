"""What the README shows is what there is: its Python runs, its strategy is the source, its files exist."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from computewise.strategies import BeamSearch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOLVE = re.findall(r"^\.venv/bin/computewise (solve .*)$", README, re.MULTILINE)
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


@pytest.mark.parametrize(
    ("block", "shown"), [found for page in PAGES for found in BLOCK.findall(page.read_text("utf-8"))]
)
def test_python_blocks_run_and_print_what_is_shown(block: str, shown: str) -> None:
    printed = subprocess.run([sys.executable, "-c", block], check=True, capture_output=True, text=True).stdout
    assert not shown or printed == shown


def test_a_tree_and_a_chain_are_shown_to_be_solved() -> None:
    assert any("beam_search" in command for command in SOLVE)
    assert any("revisions" in command for command in SOLVE)


@pytest.mark.parametrize("command", SOLVE)
def test_the_solve_commands_run(command: str) -> None:
    words = shlex.split(command)
    shown = subprocess.run([sys.executable, "-m", "computewise", *words], check=True, capture_output=True, text=True)
    assert "answer: " in shown.stdout


def test_the_shown_strategy_is_the_source() -> None:
    shown = [line.strip() for line in re.findall(r"^    (.*)$", README, re.MULTILINE)]
    source = inspect.getsource(BeamSearch.__call__)
    body = [line.strip() for line in source[source.index("beams = ") :].splitlines()]
    assert "\n".join(body) in "\n".join(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_test_command_is_the_one_that_is_checked() -> None:
    command = next(block for block in re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL) if "pytest" in block)
    assert command in (ROOT / "scripts/check").read_text()


def test_the_group_of_test_dependencies_is_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["dependency-groups"]["test"] == project["project"]["optional-dependencies"]["test"]


def test_commit_hooks_run_what_is_checked() -> None:
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    lines = (ROOT / "scripts/check").read_text("utf-8").splitlines()
    assert hooks
    assert set(hooks) <= set(lines)


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {project['version']}\n" in citation
    assert f"license: {project['license']}\n" in citation
