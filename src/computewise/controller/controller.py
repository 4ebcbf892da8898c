"""The controller: fitted to recorded samples, it decides after every draw whether to draw again or to stop."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from computewise.controller.file import ControllerData, read_data, write_data
from computewise.errors import RunError
from computewise.runs import write_atomically


class Controller(ControllerData, frozen=True):
    """A fitted rule, and the models, the verifier and the task that it was fitted for.

    `unit` is the mean cost of one draw by the first arm, in `currency`.
    """

    @classmethod
    def load(cls, path: Path | str) -> Controller:
        """The controller in a file; raises `RunError` where it cannot be read."""
        return cls(**msgspec.structs.asdict(read_data(Path(path))))

    def to_json(self) -> str:
        """The text of the file that `load` reads."""
        return write_data(self)

    def save(self, path: Path | str) -> None:
        """Write the file that `load` reads."""
        try:
            write_atomically(Path(path), self.to_json())
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}") from None

    @property
    def models(self) -> list[str]:
        """The names of the models that its arms draw by, that of the first arm first."""
        return list(dict.fromkeys(arm.model for arm in self.arms))

    @property
    def limits(self) -> dict[str, int]:
        """The greatest number of increments of each arm, as `LiveState` takes it."""
        return {arm.name: arm.limit for arm in self.arms}

    def check_names(self, models: Collection[str], verifier: str | None, *, called: str = "the controller") -> None:
        """Raise `RunError` unless it was fitted for some of these models and for this verifier."""
        foreign = next((model for model in self.models if model not in models), None)
        if foreign is not None:
            raise RunError(f"{called} is for the model {foreign!r}, not for {', '.join(models)}: fit one for it")
        if self.verifier != verifier:
            raise RunError(f"{called} is for the verifier {self.verifier!r}, not for {verifier!r}: fit one for it")


def read_controller(path: Path, *, models: Collection[str], verifier: str | None) -> Controller:
    """The controller in a file that was fitted for these models and this verifier; raises `RunError` for any other."""
    controller = Controller.load(path)
    controller.check_names(models, verifier, called=f"the controller {path}")
    return controller
