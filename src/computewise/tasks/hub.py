"""The rows of a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from computewise.errors import RunError, UsageError

_PATH = re.compile(r"hf:([^/:\s]+/[^/:\s]+)(?:/([^/:\s]+))?(?::([^/:\s]+))?")


def read_hub(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with where it stands; the split is `test` where none is named."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise UsageError(f"cannot read {path}: allowed is hf:OWNER/NAME[/CONFIG][:SPLIT]")
    name, config, split = match.groups()
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise UsageError("reading from the hub needs datasets: pip install 'computewise[datasets]'") from None
    try:
        rows = load_dataset(name, config, split=split or "test")
    except (OSError, ValueError, DatasetsError) as error:
        raise RunError(f"cannot read {path}: {' '.join(str(error).split())[:300]}") from None
    for number, row in enumerate(rows, 1):
        yield f"row {number}", dict(row)
