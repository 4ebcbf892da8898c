"""`merge`, `export` and `report`, commands on finished runs, and `train`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from computewise.cli import say
from computewise.cli.study import show_outcome
from computewise.errors import UsageError, at_least_one
from computewise.export import export_run
from computewise.export.weights import export_gguf, export_hf
from computewise.report import write_report
from computewise.runs import read_config
from computewise.setups.embedded import EmbeddedSpec
from computewise.setups.server import spec_from_config
from computewise.study.plan import restore_config
from computewise.study.run import run_study
from computewise.study.shards import merge as merge_shards


def merge(*runs: Path, out: Path) -> None:
    """Join the shards that `study --shard` measured into one run, and analyse it.

    Only problems that failed in a shard are run again; nothing else needs a model or a server.

    Parameters
    ----------
    runs:
        The run directories of all shards.
    out:
        The run directory to write.

    """
    count = merge_shards(runs, out)
    say(f"{out}: {count} records of {len(runs)} shards")
    config = read_config(out)
    source = spec_from_config(config) if "models" in config else EmbeddedSpec(str(config["task"]))
    outcome = run_study(restore_config(config), out, source=source, resume=True, progress=lambda *_: None)
    show_outcome(outcome, out)


Format = Literal["hf", "gguf", "parquet", "search-and-learn"]

ENDINGS = {"hf": "-hf", "gguf": ".gguf", "parquet": ".parquet", "search-and-learn": "-search-and-learn.jsonl"}


def export(what: str, *, format: Format, out: Path | None = None) -> None:
    """Write an embedded model, or a run's records, in a format that other software reads.

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
        say(str(export_hf(what, out)))
    elif format == "gguf":
        say(str(export_gguf(what, out)))
    else:
        say(str(export_run(Path(what), format, out)))


def report(run: Path = Path("runs/study")) -> None:
    """Write the report of a finished run again.

    Parameters
    ----------
    run:
        The run directory of a study.

    """
    say(str(write_report(run)))


def train(
    name: Literal["small", "large", "prm", "revision", "revision_paper", "orm"],
    *,
    out: Path = Path("training-runs"),
    threads: int = 1,
    workers: int = 2,
) -> None:
    """Train an embedded model by its recipe, or continue from its last checkpoint; write its weights and its card.

    Parameters
    ----------
    name:
        small, large; prm: the process reward model of the shipped small; revision, revision_paper: small trained to
        revise its attempts, by our recipe and the paper's; orm: the outcome verifier of the shipped revision.
    out:
        Checkpoints, log, weights and card go into a directory of that name inside.
    threads:
        The threads of PyTorch.
    workers:
        Processes that sample and label.

    """
    at_least_one(threads=threads, workers=workers)
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("rapidfuzz") is None:
        raise UsageError("training needs PyTorch and rapidfuzz: pip install 'computewise[train]'")
    from computewise.training.session import train_by_name

    directory = out / name
    card = train_by_name(name, directory, threads=threads, workers=workers, log=lambda line: say(line, stderr=True))
    say(str(card))
