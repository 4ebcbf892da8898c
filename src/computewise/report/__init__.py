"""A self-contained HTML page and its figures from a run directory; reports only read runs."""

from __future__ import annotations

from computewise.report.study_page import write_report

__all__ = ["write_report"]
