"""`computewise train`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from computewise.cli._console import say
from computewise.errors import UsageError
from computewise.strategies._common import at_least_one


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
