"""computewise: compute-optimal test-time scaling, measured and served."""

from importlib.metadata import version

__version__ = version("computewise")
