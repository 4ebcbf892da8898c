"""`computewise report`."""

from __future__ import annotations

from pathlib import Path

from computewise.report import write_report


def report(run: Path = Path("runs/study")) -> None:
    """Write the report of a finished run again.

    Parameters
    ----------
    run:
        The run directory of a study.

    """
    print(write_report(run))
