"""Reading a file of recorded samples."""

from __future__ import annotations

from pathlib import Path

from computewise.errors import RunError, UsageError
from computewise.grading.equality import PATIENCE, Equality
from computewise.replay.checks import check, without_duplicates
from computewise.replay.rows import Finding, RecordedProblem, Recording
from computewise.replay.schemas import read_row, schema_of
from computewise.tasks.formats import read_rows


def read_recording(path: Path) -> Recording:
    """The problems of a .jsonl, .jsonl.gz or .parquet file, and what is to be known about them.

    Samples that a problem holds twice are dropped, and that is a finding; nothing else is. Raises `UsageError` for a
    file of another kind or with other columns, `RunError` for one that is unreadable or malformed, with the line.
    """
    problems: list[RecordedProblem] = []
    schema = None
    with Equality() as equal:
        for where, row in read_rows(path):
            try:
                schema = schema or schema_of(list(row))
            except UsageError as error:
                raise UsageError(f"{path}: {error}") from None
            problems.append(read_row(row, schema, f"{path}, {where}", equal))
    if not problems:
        raise RunError(f"{path} holds no problems")
    return Recording(path, tuple(map(without_duplicates, problems)), (*_grading(equal), *check(problems)))


def _grading(equal: Equality) -> list[Finding]:
    findings = []
    if equal.asked and not equal.by_mathematics:
        findings.append(
            Finding(
                "grading",
                equal.asked,
                None,
                "Answers were compared as normalised text, so equal ones that are written differently count as "
                "different: pip install 'computewise[math]'.",
            )
        )
    if equal.given_up:
        findings.append(
            Finding(
                "grading",
                equal.given_up,
                None,
                f"{equal.given_up} answers were not understood within {PATIENCE:g} s and count as equal to none.",
            )
        )
    return findings
