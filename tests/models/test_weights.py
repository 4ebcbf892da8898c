"""Weights files: what was saved is loaded, and what is no weights file says so in one line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from naive import TINY, TINY_PRM, random_weights
from safetensors.numpy import save_file

from computewise.errors import WeightsError
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel
from computewise.models.embedded.network import Weights, load_weights, save_weights
from computewise.verifiers.embedded import EmbeddedPRM

METADATA = {"network": json.dumps(asdict(TINY))}


def test_what_is_saved_is_loaded_in_half_precision(tmp_path: Path) -> None:
    weights = random_weights(TINY_PRM)
    save_weights(tmp_path / "w", weights)
    loaded = load_weights(tmp_path / "w")
    assert loaded.config == TINY_PRM
    assert loaded.parameters == weights.parameters == sum(tensor.size for tensor in weights.tensors.values())
    assert loaded.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        assert loaded[name].dtype == np.float32
        assert loaded[name] == pytest.approx(tensor, rel=1e-3, abs=1e-6)


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        load_weights(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no weights file" in refused(tmp_path / "absent")


def test_a_directory(tmp_path: Path) -> None:
    assert "corrupt" in refused(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000])
def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    save_weights(tmp_path / "w", random_weights(TINY))
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:keep])
    assert "corrupt" in refused(tmp_path / "w")


def test_a_file_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"\x80\x04 this is a pickle, or says so " * 40)
    assert "corrupt" in refused(tmp_path / "w")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"network": "{"}, {"network": '{"width": 16}'}, {"network": '{"weird": 1}'}, {"network": "7"}],
)
def test_a_file_that_does_not_say_what_network_it_is(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"x": np.zeros(3, np.float16)}, tmp_path / "w", metadata)
    assert "corrupt" in refused(tmp_path / "w")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float) -> None:
    weights = random_weights(TINY)
    weights["blocks.1.qkv.weight"][3, 3] = value
    save_weights(tmp_path / "w", weights)
    assert "blocks.1.qkv.weight" in refused(tmp_path / "w")


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name != "blocks.0.down.weight"}
    save_weights(tmp_path / "w", Weights(TINY, tensors))
    with pytest.raises(WeightsError, match=r"blocks\.0\.down\.weight"):
        EmbeddedModel("tiny", EngineLoop(), path=tmp_path / "w")


def test_a_generator_is_no_verifier(tiny_path: Path) -> None:
    with pytest.raises(WeightsError, match="another kind of model"):
        EmbeddedPRM(EngineLoop(), path=tiny_path)


def test_tensors_of_another_shape_than_the_network_says(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    tensors = {name: tensor.astype(np.float16) for name, tensor in weights.tensors.items()}
    tensors["blocks.0.qkv.weight"] = np.zeros((4, 4), np.float16)
    save_file(tensors, tmp_path / "w", METADATA)
    with pytest.raises(WeightsError, match="corrupt"):
        EmbeddedModel("tiny", EngineLoop(), path=tmp_path / "w")
