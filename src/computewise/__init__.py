"""computewise: spend a language model's test-time compute where it helps, and measure that it does.

``import computewise as cw`` gives `solve` and `asolve`, `connect`, `load_verifier`, `load_task`, `Controller`, the
strategies, and what an extension needs. Each name is imported when it is first used.
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from computewise.api import aload_verifier, asolve, connect, load_model, load_task, load_verifier, run_study, solve
    from computewise.connection import Connection
    from computewise.controller.controller import Controller, Episode
    from computewise.controller.frontier import Frontier
    from computewise.core import Action, Candidate, Completion, Model, Problem, Result, Step, Task, Usage, Verifier
    from computewise.errors import (
        ComputewiseError,
        ModelError,
        ProblemError,
        RunError,
        ServerError,
        SpendLimitError,
        UsageError,
        WeightsError,
    )
    from computewise.grading.graders import Grader, grader
    from computewise.registry import register
    from computewise.session import Limits, Session, Strategy
    from computewise.setups.base import SetupSpec
    from computewise.setups.embedded import EmbeddedSpec
    from computewise.setups.server import ServerSpec
    from computewise.strategies import (
        DVTS,
        AdaptiveBranching,
        BeamSearch,
        BestOfN,
        GatedRevisions,
        Greedy,
        Lookahead,
        ParticleFilter,
        Rebase,
        Revisions,
        Single,
        StepRevisions,
    )
    from computewise.verifiers.base import verifier

    __version__: str

_MODULES = {
    "api": ("aload_verifier", "asolve", "connect", "load_model", "load_task", "load_verifier", "run_study", "solve"),
    "connection": ("Connection",),
    "controller.controller": ("Controller", "Episode"),
    "controller.frontier": ("Frontier",),
    "core": (
        "Action",
        "Candidate",
        "Completion",
        "Model",
        "Problem",
        "Result",
        "Step",
        "Task",
        "Usage",
        "Verifier",
    ),
    "errors": (
        "ComputewiseError",
        "ModelError",
        "ProblemError",
        "RunError",
        "ServerError",
        "SpendLimitError",
        "UsageError",
        "WeightsError",
    ),
    "grading.graders": ("Grader", "grader"),
    "registry": ("register",),
    "setups.base": ("SetupSpec",),
    "setups.embedded": ("EmbeddedSpec",),
    "setups.server": ("ServerSpec",),
    "session": ("Limits", "Session", "Strategy"),
    "strategies": (
        "DVTS",
        "AdaptiveBranching",
        "BeamSearch",
        "BestOfN",
        "GatedRevisions",
        "Greedy",
        "Lookahead",
        "ParticleFilter",
        "Rebase",
        "Revisions",
        "Single",
        "StepRevisions",
    ),
    "verifiers.base": ("verifier",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Action",
    "AdaptiveBranching",
    "BeamSearch",
    "BestOfN",
    "Candidate",
    "Completion",
    "ComputewiseError",
    "Connection",
    "Controller",
    "DVTS",
    "EmbeddedSpec",
    "Episode",
    "Frontier",
    "GatedRevisions",
    "Grader",
    "Greedy",
    "Limits",
    "Lookahead",
    "Model",
    "ModelError",
    "ParticleFilter",
    "Problem",
    "ProblemError",
    "Rebase",
    "Result",
    "Revisions",
    "RunError",
    "ServerError",
    "ServerSpec",
    "Session",
    "SetupSpec",
    "Single",
    "SpendLimitError",
    "Step",
    "StepRevisions",
    "Strategy",
    "Task",
    "Usage",
    "UsageError",
    "Verifier",
    "WeightsError",
    "__version__",
    "aload_verifier",
    "asolve",
    "connect",
    "grader",
    "load_model",
    "load_task",
    "load_verifier",
    "register",
    "run_study",
    "solve",
    "verifier",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        found: object = version("computewise")
    elif name in _HOME:
        found = getattr(import_module(f"computewise.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'computewise' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
