"""Imports go one way."""

from __future__ import annotations

import ast
from pathlib import Path

import computewise

SOURCE = Path(computewise.__file__).parent
LAYERS = (
    {"core", "errors"},
    {"registry"},
    {"intervals", "metrics", "http", "grading", "cache"},
    {"selection", "costs", "runs", "samples", "flops_matched"},
    {"session"},
    {"strategies"},
    {"solver"},
    {"models", "verifiers", "tasks"},
    {"simulated", "testing", "difficulty", "viewer"},
    {"export", "controller"},
    {"setups"},
    {"study"},
    {"report", "training", "serve", "connection"},
    {"inputs"},
    {"api"},
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


def closure(*modules: str) -> set[str]:
    """Every module that these import, themselves or through others, wherever the import stands in the file."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = SOURCE.parent.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        # The package itself imports its public names lazily, when they are used.
        if name in found or name == "computewise" or not file.exists():
            continue
        found.add(name)
        waiting.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def test_serving_and_solving_load_nothing_of_studies() -> None:
    serve = [f"computewise.serve.{path.stem}" for path in (SOURCE / "serve").glob("*.py")]
    loaded = closure(*serve, "computewise.cli.serve", "computewise.cli.solve", "computewise.cli.check")
    assert {"computewise.setups.server", "computewise.controller.solve"} <= loaded
    assert not [name for name in loaded if name.startswith(("computewise.study", "computewise.report"))]


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
