"""One self-contained HTML page, and its figures as files, from a run directory; runs are read, never hooked into."""

from __future__ import annotations

from computewise.report.study_page import write_report

__all__ = ["write_report"]
