"""The embedded models as a backend."""

from __future__ import annotations

from collections.abc import Mapping

from computewise.core import Model, Verifier
from computewise.errors import ProblemError, UsageError
from computewise.models.embedded import EmbeddedModel
from computewise.models.forgetful import Forgetful, as_needed
from computewise.models.loop import EngineLoop
from computewise.models.server.lost import Lost
from computewise.models.threads import one_thread
from computewise.policy.file import Fitted
from computewise.serve.backend import Cast, Upstream, open_policy
from computewise.serve.choosing import OFFERED
from computewise.serve.reading import Asked
from computewise.serve.refusals import Refused
from computewise.session import Limits
from computewise.strategies import SHOWN_ATTEMPTS
from computewise.tasks.embedded import find_task
from computewise.verifiers.prm import EmbeddedPRM

SMALL, LARGE, REVISION = "small", "large", "revision"
_WITHOUT_EFFECT = ("user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier")
"""Fields that say something about the client, nothing about the answer."""
_EXAMPLES = {"expressions": "3*(4+5)-67*(13-6)", "stories": "Finn has 61 stamps. Finn finds 72. How many stamps?"}
_LONGEST = 10_000
"""Characters of a problem; what is longer is none, and to find that out would hold up everybody for seconds."""
_DEFAULTS = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}


class EmbeddedBackend:
    """On one engine of this process, which computes in the thread of its event loop."""

    models = (SMALL, LARGE, REVISION)
    grader = ""

    def __init__(self, policy: str | None, task: str = "expressions", temperature: float = 1.0) -> None:
        one_thread()
        self._loop = EngineLoop()
        self._opened: dict[str, EmbeddedModel] = {}
        self.task = find_task(task)
        self.example = _EXAMPLES[task]
        self.limits = Limits()
        self.temperature = temperature
        self.fitted: Fitted | None = None
        self.verifier: Verifier | None = EmbeddedPRM(self._loop)
        if policy is not None:
            self.fitted = open_policy(policy, self.models, "prm")
            if self.fitted.task != task:
                raise UsageError(f"the policy {policy} is for the task {self.fitted.task}, not for {task}")
        self._open(SMALL)

    def strategies(self, model: str) -> Mapping[str, str | None]:
        """See `Backend.strategies`."""
        if model == REVISION:
            return dict.fromkeys(OFFERED)
        why = f"{model} was not trained to be shown its attempts, {REVISION} was"
        return {name: why if name in SHOWN_ATTEMPTS else None for name in OFFERED}

    def upstream(self, model: str) -> Upstream | None:
        """See `Backend.upstream`."""
        return None

    def cast(self, asked: Asked, model: str, strategy: str | None, lost: Lost) -> Cast:
        """See `Backend.cast`; what these models cannot do is refused by name."""
        if len(asked.turns) > 1:
            raise Refused(
                "the embedded models read one turn, the user's, and no system prompt: conversations need an upstream",
                param="messages[0]",
                code="unsupported_field",
            )
        for name, value in asked.fields.items():
            if value is False or value in ([], {}, ""):
                continue
            if name not in _WITHOUT_EFFECT and not (name in _DEFAULTS and value == _DEFAULTS[name]):
                if name == "response_format" and not asked.shaped:
                    continue
                text = f"the embedded models take no {name[:60]}: that needs an upstream"
                raise Refused(text, param=name[:60], code="unsupported_field")
        if len(asked.prompt) > _LONGEST:
            raise ProblemError(f"a problem of {len(asked.prompt)} characters: allowed are {_LONGEST}")
        problem = self.task.read(asked.prompt.strip())
        if strategy is None:
            assert self.fitted is not None
            models: dict[str, Model] = {name: Forgetful(self._open(name)) for name in self.fitted.models}
            return Cast(models, problem, problem.prompt)
        return Cast({model: as_needed(self._open(model), strategy)}, problem, "")

    def _open(self, name: str) -> EmbeddedModel:
        """Read when it is first needed."""
        if name not in self._opened:
            self._opened[name] = EmbeddedModel(name, self._loop)
        return self._opened[name]
