"""`computewise merge`."""

from __future__ import annotations

from pathlib import Path

from computewise.cli.study import show_outcome
from computewise.records import read_config
from computewise.study.config import restore_config
from computewise.study.embedded import EmbeddedSource
from computewise.study.server_source import restore_source
from computewise.study.shards import merge as merge_shards
from computewise.study.study import run_study


def merge(*runs: Path, out: Path) -> None:
    """Put the shards of a study together: what `study --shard` measured in several places becomes one run, analysed.

    No model is run, and no server is asked, but for problems that failed in a shard: they are tried again.

    Parameters
    ----------
    runs:
        The run directories of all shards.
    out:
        The run directory to write.

    """
    count = merge_shards(runs, out)
    print(f"{out}: {count} records of {len(runs)} shards")
    config = read_config(out)
    source = restore_source(config) if "models" in config else EmbeddedSource(str(config["task"]))
    outcome = run_study(restore_config(config), out, source=source, resume=True, progress=lambda *_: None)
    show_outcome(outcome, out)
