"""A study, a search and a controller through the command line on a real llama.cpp server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from llama import llama_server
from shell import RealShell

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow


def test_a_study_on_a_real_server(tmp_path: Path) -> None:
    from computewise.export.weights import export_gguf

    file = export_gguf("small", tmp_path / "small.gguf")
    shell = RealShell(tmp_path)
    with llama_server(file) as server:
        place = ("--base-url", f"{server.url}/v1", "--verifier", "prm", "--task", "expressions", "--max-tokens", "120")
        said = shell("study", *place, "--problems", "10", "--budgets", "1", "4", "--difficulty-samples", "4")
        assert said.code == 0, said
        again = shell(
            "study", *place, "--problems", "10", "--budgets", "1", "4", "--difficulty-samples", "4", "--resume"
        )
        assert again.code == 0, again
        assert re.search(r"answer: -?\d", shell("solve", "3*(4+5)-6", *place, "--strategy", "beam_search(n=8)").out)
        solved = shell("solve", "3*(4+5)-6", *place, "--policy", "runs/study/controller.json", "--price", "0.001")
        assert "answer: " in solved.out, solved
    summary = json.loads((tmp_path / "runs" / "study" / "summary.json").read_text("utf-8"))
    assert summary["failed"] == []
    assert summary["best_fixed"][-1]["accuracy"] > 0.2
