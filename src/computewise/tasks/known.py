"""The published data sets that have a name here, and what their columns are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Where a data set is found, and names its columns may have, the first that is there first."""

    path: str | None
    prompt: tuple[str, ...]
    answer: tuple[str, ...]
    id: tuple[str, ...]


KNOWN = {
    "math500": Known("hf:HuggingFaceH4/MATH-500:test", ("problem",), ("answer",), ("unique_id",)),
    "gsm8k": Known("hf:openai/gsm8k/main:test", ("question",), ("answer",), ("id",)),
    "aime": Known(
        "hf:HuggingFaceH4/aime_2024:train",
        ("problem", "question", "Problem", "Question"),
        ("answer", "Answer", "target"),
        ("id", "ID", "problem_id"),
    ),
}
OTHER = Known(
    None, ("prompt", "problem", "question"), ("answer", "reference", "target", "tests"), ("id", "unique_id", "task_id")
)
