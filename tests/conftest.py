"""What all tests share: SIGINT, the profiles of Hypothesis, a report, and networks of a few thousand random numbers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_run import drawn_records, write_run
from hypothesis import settings
from naive import TINY, TINY_PRM, random_weights
from shared import shared_directory

from computewise.models.embedded.engine import one_thread
from computewise.models.embedded.network import Weights, load_weights, save_weights
from computewise.report import write_report

one_thread()
# On a busy machine an example may take long. `ci` tries as many as Hypothesis does by default.
settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """SIGINT interrupts the tests and the processes that they start, also where it is ignored: under `nohup`, say."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator's weights file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, random_weights(TINY))
    return path


@pytest.fixture(scope="session")
def tiny_prm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A process reward model's weights file."""
    path = tmp_path_factory.mktemp("weights") / "tiny_prm.safetensors"
    save_weights(path, random_weights(TINY_PRM, seed=1))
    return path


@pytest.fixture
def tiny(tiny_path: Path) -> Weights:
    """What the file at `tiny_path` holds, rounded to half precision as it is."""
    return load_weights(tiny_path)


@pytest.fixture
def tiny_prm(tiny_prm_path: Path) -> Weights:
    """What the file at `tiny_prm_path` holds."""
    return load_weights(tiny_prm_path)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a study and its report, not to be changed."""

    def fill(directory: Path) -> None:
        write_run(directory, drawn_records())
        write_report(directory)

    return shared_directory(tmp_path_factory, "reported", fill)


@pytest.fixture
def page(reported: Path) -> str:
    """Its report."""
    return (reported / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def summary(reported: Path) -> dict[str, Any]:
    """Its summary, to be changed."""
    held: dict[str, Any] = json.loads((reported / "summary.json").read_text())
    return held
