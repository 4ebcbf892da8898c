"""Recorded samples of a real model, as they are read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion. `answer_class` numbers equivalent answers of its problem alike; None where there is no answer.

    `step_scores` are a verifier's, in [0, 1], one a step. `tokens` and `logprob` (mean, a token) are None where nobody
    recorded them; searches are also known to write 0 or -1 tokens.
    """

    text: str
    step_scores: tuple[float, ...]
    answer: str | None
    answer_class: int | None
    correct: bool
    tokens: int | None = None
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class RecordedProblem:
    """One problem with its reference answer and at least one sample; `id` is the prompt where the file gives none."""

    id: str
    prompt: str
    answer: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a person should know about a file: how often it was seen, the id of one such problem, and a sentence."""

    kind: str
    count: int
    example: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """A file's problems, in its order, without what is certainly broken, and what was found in it."""

    path: Path
    problems: tuple[RecordedProblem, ...]
    findings: tuple[Finding, ...]
