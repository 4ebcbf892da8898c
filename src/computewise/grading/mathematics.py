"""The grader of mathematical answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from computewise.grading.answers import LONGEST
from computewise.grading.equality import Equality
from computewise.grading.extraction import after_hashes, boxed, stated_formula, tagged

WITHOUT_MATHEMATICS = (
    "Answers are compared as normalised text, so equal ones that are written differently count as different: "
    "pip install 'computewise[math]'."
)


@dataclass(frozen=True)
class MathGrader:
    r"""Numbers, expressions, tuples, sets, intervals, matrices, equations and words, compared by `Equality`.

    Reads the last \boxed{}; without one, what is behind ``####``, in ``<answer>``, or a formula after "the answer is".
    """

    equal: Equality = field(default_factory=Equality)
    instruction: str = (
        "Solve the problem step by step. Keep each step short, leave a blank line between steps, and put the final "
        r"answer, in its simplest form and without units, inside \boxed{} on the last line."
    )

    @property
    def findings(self) -> tuple[str, ...]:
        """What is missing where math-verify is not installed."""
        return () if self.equal.by_mathematics else (WITHOUT_MATHEMATICS,)

    def answer(self, solution: str) -> str | None:
        """The final answer as it is written; None where nothing but prose says it."""
        return boxed(solution) or after_hashes(solution) or tagged(solution) or stated_formula(solution)

    def key(self, answer: str) -> str:
        """A text that equal answers share."""
        return self.equal.key(answer)

    def correct(self, reference: str, answer: str) -> bool:
        """Whether they are equal; an answer that cannot be read in time is not."""
        return self.equal(reference, answer)

    def accepts(self, reference: str) -> bool:
        """Whether it can be boxed, is not endless, and its own key is found equal to it."""
        if boxed(rf"\boxed{{{reference}}}") != reference.strip() or len(reference) > LONGEST:
            return False
        return self.correct(reference, self.key(reference))
