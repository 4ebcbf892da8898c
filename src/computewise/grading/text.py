"""Graders that compare texts: multiple choice and exact match."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from computewise.grading.extraction import boxed, final_answer

_STEPS = "Work through the problem step by step and leave a blank line between steps."
SHORT_ANSWER = rf"{_STEPS} End with the final answer, as short as it can be, inside \boxed{{}}."
_MARKUP = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}|[$*]")
_LETTER = re.compile(r"\(([A-Ja-j])\)|\[([A-Ja-j])\]|([A-J])(?=[.):,]|\s*$|\s+(?:because|since|as)\b)")
_BARE = re.compile(r"([A-Ja-j])[.):]?")
_OPTION = re.compile(r"^(?:option|choice)\s+", re.IGNORECASE)
_EDGES = " \t\"'`“”‘’.,;:!?"


def letter(text: str) -> str | None:
    r"""The choice that a text names: B, (b), B. 42, \text{B}, option B."""
    plain = _OPTION.sub("", _MARKUP.sub(r"\1", text).strip())
    match = _BARE.fullmatch(plain) or _LETTER.match(plain)
    return next(group for group in match.groups() if group).upper() if match else None


@dataclass(frozen=True, slots=True)
class ChoiceGrader:
    """One letter from A to J."""

    instruction: str = (
        f"{_STEPS} Choose one of the options, and end with a line that says only: The answer is (X), with its letter."
    )
    findings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """The letter in the last box, after the last "answer is", or alone on the last line."""
        last_line = solution.rstrip().rsplit("\n", 1)[-1]
        alone = last_line if len(_MARKUP.sub(r"\1", last_line).strip()) <= 4 else ""
        return letter(boxed(solution) or final_answer(solution) or alone)

    def key(self, answer: str) -> str:
        """The letter, in capitals."""
        return letter(answer) or answer.strip()

    def correct(self, reference: str, answer: str) -> bool:
        """The same letter."""
        chosen = letter(answer)
        return chosen is not None and chosen == letter(reference)

    def accepts(self, reference: str) -> bool:
        """Whether it is a letter."""
        return letter(reference) is not None


@dataclass(frozen=True, slots=True)
class ExactGrader:
    """The same text but for capitals, runs of white space, and quotes and punctuation at either end."""

    instruction: str = SHORT_ANSWER
    findings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        r"""What is in the last \boxed{}, behind ``####``, in ``<answer>`` or after "the answer is"."""
        return final_answer(solution)

    def key(self, answer: str) -> str:
        """The text as it is compared; Unicode's compatibility forms are one."""
        text = " ".join(unicodedata.normalize("NFKC", answer).casefold().split())
        return text.strip(_EDGES) or text

    def correct(self, reference: str, answer: str) -> bool:
        """Equal keys."""
        return self.key(reference) == self.key(answer)

    def accepts(self, reference: str) -> bool:
        """Whether there is anything to compare."""
        return bool(reference.strip())
