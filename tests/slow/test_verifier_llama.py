"""A real llama.cpp server reads labels as the same weights do in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from llama import LlamaServer, llama_server
from verifier_doubles import candidate

from computewise.core import Problem
from computewise.export.weights import export_gguf, export_hf
from computewise.http.client import HttpClient
from computewise.verifiers.base import StepVerifier, VerifierSpec
from computewise.verifiers.labels import server_kind
from computewise.verifiers.load import open_verifier
from computewise.verifiers.local import load_reader
from computewise.verifiers.templates import find_template

for module in ("gguf", "xllamacpp", "torch", "transformers"):
    pytest.importorskip(module, reason=f"this test needs {module}")
pytestmark = pytest.mark.slow

PROBLEM = Problem("p", "3*(4+5)-6")
SOLUTIONS = [candidate("3*9-6\n", "27-6\n", "21"), candidate("3*8-6\n", "24-6"), candidate("17\n", "\n", scores=(0.5,))]
TEMPLATE = """
name = "digits"
family = "label"
[layout]
head = "{question}\\n"
marker = "\\n"
[labels]
good = "2"
bad = "1"
[check]
question = "3*(4+5)-6"
right = ["3*9-6", "27-6"]
wrong = ["3*9-6", "18-6"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Of `small`."""
    with llama_server(export_gguf("small", tmp_path_factory.mktemp("exported") / "small.gguf")) as server:
        yield server


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template whose scores the arithmetic decides: does the next line begin with a 2 or with a 1."""
    path = tmp_path_factory.mktemp("template") / "digits.toml"
    path.write_text(TEMPLATE)
    return path


@pytest.mark.parametrize("kind", ["auto", "openai"])
async def test_labels_are_read_as_in_process(kind: str, server: LlamaServer, digits: Path, tmp_path: Path) -> None:
    reader = load_reader(export_hf("small", tmp_path / "small"), find_template(str(digits)), device="cpu")
    local = StepVerifier(reader, name="local", parameters=0, aggregation="last")
    spec = VerifierSpec(str(digits), model="small", base_url=f"{server.url}/v1", server=kind)
    async with HttpClient(f"{server.url}/v1") as client:
        assert await server_kind(client) == "llama"
        remote = await open_verifier(spec, client)
        assert remote is not None
        scores, usage = await remote.score(PROBLEM, SOLUTIONS)
        again, cached = await remote.score(PROBLEM, SOLUTIONS)
    expected, once = await local.score(PROBLEM, SOLUTIONS)
    assert scores == [pytest.approx(one, abs=2e-3) for one in expected]  # half-precision weights
    assert again == [pytest.approx(one, abs=2e-3) for one in scores]
    assert 0.6 < expected[0][1] < 1
    lengths = [len("3*(4+5)-6\n") + 1 + end for end in (6, 11, 14, 6, 11)]  # and the token at the beginning
    assert usage.verifier_tokens == cached.verifier_tokens == sum(lengths)
    assert 0 < cached.cached_verifier_tokens < sum(lengths)
    assert once.verifier_tokens == lengths[2] + lengths[4]
