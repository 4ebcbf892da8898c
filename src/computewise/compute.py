"""What was spent, in floating-point operations: 2 per parameter and token (Kaplan et al. 2020), attention left out."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Usage


@dataclass(frozen=True, slots=True)
class Flops:
    """Operations by what they were spent on. `cached` is what a prefix cache saved: spent by whoever has none."""

    prompt: float
    completion: float
    verifier: float
    cached: float

    @property
    def total(self) -> float:
        """With prefix caching, as the embedded engine has it."""
        return self.prompt + self.completion + self.verifier

    @property
    def uncached_total(self) -> float:
        """Where every call reads its whole prompt again."""
        return self.total + self.cached


def flops(usage: Usage, model_parameters: int, verifier_parameters: int) -> Flops:
    """Price a usage; tokens the verifier read again are cached, like the generator's."""
    return Flops(
        prompt=2.0 * model_parameters * (usage.prompt_tokens - usage.cached_prompt_tokens),
        completion=2.0 * model_parameters * usage.completion_tokens,
        verifier=2.0 * verifier_parameters * (usage.verifier_tokens - usage.cached_verifier_tokens),
        cached=2.0 * model_parameters * usage.cached_prompt_tokens
        + 2.0 * verifier_parameters * usage.cached_verifier_tokens,
    )
