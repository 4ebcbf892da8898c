"""What is exported: a shipped generator by its name, or a weights file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from computewise.errors import UsageError, WeightsError
from computewise.models.vocabulary import TOKENS
from computewise.models.weights import SHIPPED, Weights, load_weights

GENERATORS = ("small", "large", "revision", "revision_paper")
VERIFIERS = ("prm", "orm")


@dataclass(frozen=True, slots=True)
class Source:
    """A generator and the name that its export bears."""

    name: str
    weights: Weights


def find_generator(model: str | Path) -> Source:
    """The generator of that name or in that weights file; a verifier is refused, as no engine has its head."""
    name = str(model)
    if name not in GENERATORS + VERIFIERS and not Path(name).is_file():
        raise UsageError(f"no model or weights file {name}: allowed are {', '.join(GENERATORS)} or a .safetensors file")
    shipped = name in GENERATORS + VERIFIERS
    weights = load_weights(SHIPPED / f"{name}.safetensors" if shipped else Path(name))
    if weights.config.verifier_layers:
        raise UsageError(f"{name} is a verifier, which no other engine can run: allowed are {', '.join(GENERATORS)}")
    if weights.config.vocabulary != len(TOKENS):
        raise WeightsError(f"weights of {weights.config.vocabulary} tokens: this package speaks {len(TOKENS)}")
    return Source(Path(name).stem, weights)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """What cannot be written is one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from None
