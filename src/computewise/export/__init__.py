"""A run directory in the formats of others."""

from computewise.export.runs import export_run

__all__ = ["export_run"]
