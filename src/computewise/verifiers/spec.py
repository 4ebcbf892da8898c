"""Which verifier, in plain data: it goes into configurations, to other processes and into records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from computewise.errors import UsageError
from computewise.verifiers.aggregation import AGGREGATIONS

SERVERS = ("auto", "vllm", "vllm-scoring", "sglang", "llama", "openai")
LOGPROB = "logprob"
WITHOUT_MODEL = ("none", LOGPROB)


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """A verifier by its template and where it is: a served model, or one in a directory.

    `template` is none (a majority vote), logprob (the generator's own opinion), a known template's name or a path to a
    .toml file. `model` is what the server calls it, the template's name if None. `path` is a directory in the form of
    the Hugging Face hub. `aggregation` and `samples` are the template's if None. `parameters` is what FLOPs are counted
    from; 0 counts those of a model in process. Keys are no part of it.
    """

    template: str
    model: str | None = None
    base_url: str | None = None
    path: str | None = None
    server: str = "auto"
    aggregation: str | None = None
    parameters: int = 0
    samples: int | None = None
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.server not in SERVERS:
            raise UsageError(f"unknown server {self.server!r}: allowed are {', '.join(SERVERS)}")
        if self.aggregation is not None and self.aggregation not in AGGREGATIONS:
            raise UsageError(f"unknown aggregation {self.aggregation!r}: allowed are {', '.join(AGGREGATIONS)}")
        if self.parameters < 0:
            raise UsageError(f"parameters = {self.parameters} is not allowed: at least 0")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"samples = {self.samples} is not allowed: at least 1")
        if self.template not in WITHOUT_MODEL and (self.base_url is None) == (self.path is None):
            raise UsageError(f"the verifier {self.template} needs a base_url or a path, and not both")

    def plain(self) -> dict[str, Any]:
        """As keyword arguments that build it again."""
        return asdict(self)
