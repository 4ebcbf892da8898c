"""Solve a problem with eight samples that a verifier weighs, on a server of yours or on an embedded model.

python examples/01_best_of_n.py                                  # the embedded model `small`, arithmetic
python examples/01_best_of_n.py http://localhost:8000/v1         # your server; the model judges its own solutions
python examples/01_best_of_n.py http://localhost:8000/v1 none "What is 6*7?"    # no verifier, a problem of yours
"""

from __future__ import annotations

import sys

import computewise as cw


def on_a_server(
    base_url: str,
    verifier: str = "judge",
    problem: str = "How many primes are below 60?",
    task: str = "question",
) -> cw.Result:
    """Best-of-8 on a model behind an OpenAI-compatible URL, with the same model as the judge, or by votes."""
    with cw.connect(base_url) as model:
        judge = None if verifier == "none" else cw.load_verifier(verifier, model=model)
        return cw.solve(problem, cw.BestOfN(8), model=model, verifier=judge, task=task)


def embedded() -> cw.Result:
    """The same on the model and the process reward model that ship with the package."""
    model, verifier = cw.load_model("small"), cw.load_verifier("prm")
    return cw.solve("3*(4+5)-6*7", cw.BestOfN(8), model=model, verifier=verifier, task="expressions")


if __name__ == "__main__":
    result = on_a_server(*sys.argv[1:]) if len(sys.argv) > 1 else embedded()
    confidence = "unknown" if result.confidence is None else f"{result.confidence:.2f}"
    print(f"answer: {result.answer}, confidence: {confidence}, tokens: {result.usage.completion_tokens}")
