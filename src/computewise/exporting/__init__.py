"""A run directory in the formats of others."""

from computewise.exporting.run import export_run

__all__ = ["export_run"]
