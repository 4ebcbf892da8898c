"""Imports go one way."""

from __future__ import annotations

import ast
from pathlib import Path

import computewise

SOURCE = Path(computewise.__file__).parent
LAYERS = (
    {"core", "errors"},
    {"registry"},
    {"metrics", "http", "grading", "cache"},
    {"selection", "costs", "samples", "flops_matched"},
    {"session"},
    {"strategies"},
    {"solver"},
    {"models", "verifiers", "tasks"},
    {"testing", "difficulty", "runs", "viewer"},
    {"export", "controller"},
    {"setups"},
    {"study"},
    {"report", "training", "serve"},
    {"cli"},
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports from."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("computewise.")}


def test_no_part_imports_a_higher_one() -> None:
    files = [
        path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem not in ("__init__", "__main__")
    ]
    upward = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in files
        for part in [path.relative_to(SOURCE).parts[0].removesuffix(".py")]
        for name in imported(path)
        if HEIGHT[name] > HEIGHT[part]
    ]
    assert not upward
