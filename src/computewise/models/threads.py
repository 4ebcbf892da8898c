"""One BLAS thread a process: on few cores two threads were measured up to 30 times slower than one."""

from __future__ import annotations

import numpy as np  # noqa: F401 - the limit holds for what is loaded by then, and BLAS comes with NumPy
from threadpoolctl import threadpool_limits


def one_thread() -> threadpool_limits:
    """Limit BLAS to one thread, for good or as a context."""
    return threadpool_limits(1, "blas")
