"""Export run directories and embedded models to formats of other software."""

from computewise.export.runs import export_run

__all__ = ["export_run"]
