"""`computewise export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from computewise.exporting import export_run
from computewise.models.export.gguf import export_gguf
from computewise.models.export.hf import export_hf

Format = Literal["hf", "gguf", "parquet", "search-and-learn"]
ENDINGS = {"hf": "-hf", "gguf": ".gguf", "parquet": ".parquet", "search-and-learn": "-search-and-learn.jsonl"}


def export(what: str, *, format: Format, out: Path | None = None) -> None:
    """Write an embedded model, or what a run recorded, in a form that other software reads.

    Parameters
    ----------
    what:
        An embedded model's name (small, large, revision) or weights file, or a run directory.
    format:
        A model as hf, a Hugging Face directory, or gguf, a file for llama.cpp (needs the extra [gguf]); a run's records
        as parquet (needs the extra [parquet]), or its pools of samples in the columns of search-and-learn.
    out:
        Where to write: by default exports/NAME-hf, exports/NAME.gguf, exports/NAME.parquet or
        exports/NAME-search-and-learn.jsonl.

    """
    out = out or Path("exports") / f"{Path(what).name.removesuffix('.safetensors')}{ENDINGS[format]}"
    if format == "hf":
        print(export_hf(what, out))
    elif format == "gguf":
        print(export_gguf(what, out))
    else:
        print(export_run(Path(what), format, out))
