"""The prompt of a verifier: pieces of text, and the place among them where the score of each step is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from computewise.core import Candidate
from computewise.errors import ModelError, UsageError
from computewise.models.messages import TemplateMessage, render_chat
from computewise.verifiers.templates import Layout


@dataclass(frozen=True, slots=True)
class ScoredSteps:
    """The steps of a candidate that a verifier reads, stripped, without blank ones; the first `known` have scores."""

    steps: tuple[str, ...]
    known: int
    finished: bool = field(kw_only=True)

    @property
    def new(self) -> int:
        """How many steps need a score."""
        return len(self.steps) - self.known


@dataclass(frozen=True, slots=True)
class StepPrompt:
    """The pieces of a prompt; `ends` holds for each step how many pieces precede its read-out."""

    pieces: tuple[str, ...]
    ends: tuple[int, ...]

    @property
    def text(self) -> str:
        """The whole prompt."""
        return "".join(self.pieces)

    def prefix(self, step: int) -> str:
        """The text up to the read-out of a step; the text up to a later one begins with it, byte for byte."""
        return "".join(self.pieces[: self.ends[step]])


def read_solution(candidate: Candidate) -> ScoredSteps:
    """The steps of a candidate without blank ones, which a delimiter at the end can leave behind."""
    said = [index for index, step in enumerate(candidate.steps) if step.text.strip()]
    known = sum(index < len(candidate.scores) for index in said)
    steps = tuple(candidate.steps[index].text.strip() for index in said)
    return ScoredSteps(steps, known, finished=candidate.end == "stop")


def escape(text: str, layout: Layout) -> str:
    """The text without anything that the verifier would read as a marker or a special token.

    A reserved text gets a space after its first character; blank lines are removed where the marker is made of line
    breaks.
    """
    for reserved in (*layout.reserved, layout.marker):
        if reserved.strip():
            text = text.replace(reserved, f"{reserved[0]} {reserved[1:]}")
        elif reserved and not layout.lines:
            text = re.sub(r"\s*\n\s*\n\s*", "\n", text)
    return text


def render_prompt(layout: Layout, question: str, steps: Sequence[str], *, chat_template: str = "") -> StepPrompt:
    """The prompt for a verifier; `chat_template` replaces the layout's own."""
    question = escape(question.strip(), layout)
    steps = [escape(step, layout) for step in steps]
    template = chat_template or layout.chat_template
    prompt = (
        _many_turns(layout, template, question, steps) if layout.turns == "many" else _marked(layout, question, steps)
    )
    return _in_turn(layout, template, question, prompt) if layout.turns == "one" else prompt


def fill(pattern: str, **values: str) -> str:
    """Replace each `{name}` by its value; other braces are kept."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), pattern)


def _marked(layout: Layout, question: str, steps: Sequence[str]) -> StepPrompt:
    """The head, then every step with its marker."""
    pieces = [fill(layout.head, question=question)] if layout.turns == "" else []
    ends = []
    for index, step in enumerate(steps, 1):
        if index > 1 and layout.between:
            pieces.append(layout.between)
        lines = [line for line in step.splitlines() if line.strip()] if layout.lines else [step]
        for line in lines:
            pieces += [fill(layout.step, step=line, index=str(index)), layout.marker]
        ends.append(len(pieces))
    return StepPrompt(tuple(pieces), tuple(ends))


def _in_turn(layout: Layout, template: str, question: str, body: StepPrompt) -> StepPrompt:
    """The marked steps as the assistant's one turn."""
    messages = [*_opening(layout, fill(layout.head, question=question)), {"role": "assistant", "content": body.text}]
    before, found, after = render_chat(template, messages, generation=False).rpartition(body.text)
    if not found:
        raise UsageError("the chat template changes the assistant's message, so the places of the steps are lost")
    return StepPrompt((before, *body.pieces, after), tuple(end + 1 for end in body.ends))


def _many_turns(layout: Layout, template: str, question: str, steps: Sequence[str]) -> StepPrompt:
    """Every step as a turn of the user; the first turn begins with the question."""
    messages: list[TemplateMessage] = _opening(layout, "")[:-1]
    pieces: list[str] = []
    for index, step in enumerate(steps, 1):
        said = fill(layout.step, step=step, index=str(index))
        head = fill(layout.head, question=question) if index == 1 else ""
        messages.append({"role": "user", "content": head + said})
        text, before = render_chat(template, messages, generation=True), "".join(pieces)
        if not text.startswith(before):
            raise ModelError("the chat template renders a longer conversation with another beginning")
        pieces.append(text[len(before) :])
        messages.append({"role": "assistant", "content": layout.reply})
    return StepPrompt(tuple(pieces), tuple(range(1, len(pieces) + 1)))


def _opening(layout: Layout, user: str) -> list[TemplateMessage]:
    system: list[TemplateMessage] = [{"role": "system", "content": layout.system}] if layout.system else []
    return [*system, {"role": "user", "content": user}]
