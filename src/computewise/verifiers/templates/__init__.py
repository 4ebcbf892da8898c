"""Verifier templates: the prompt and the read-out of a verifier as data, one TOML file for each.

A prompt is rendered as pieces of text, and the place among them where the score of each step is read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from computewise.core import Candidate
from computewise.errors import ModelError, UsageError
from computewise.models.messages import TemplateMessage, render_chat
from computewise.selection import AGGREGATIONS

FAMILIES = ("label", "classification", "value", "judge")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Layout:
    """How question and steps become text; `{question}`, `{step}` and `{index}` (from 1) are filled in.

    `marker` follows each step, and the score is read there; with `turns = "many"` it is read where the assistant's
    reply is predicted. `turns` is "" for plain text; "one" where all steps are one turn of the assistant; "many" where
    each step is a turn of the user and `reply` the assistant's answer to it. With `separately`, pieces are tokenised
    one by one. With `lines`, the marker follows every line of a step, and the score is read at the last. `reserved`
    lists texts that must not occur in a question or step.
    """

    head: str = "{question}"
    step: str = "{step}"
    marker: str = ""
    between: str = ""
    turns: str = ""
    reply: str = ""
    system: str = ""
    chat_template: str = ""
    separately: bool = False
    lines: bool = False
    reserved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Labels:
    """The two next tokens whose probabilities give the score. Without ids, each text must be a single token."""

    good: str
    bad: str
    good_id: int | None = None
    bad_id: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A classification head: the number of classes at a marker, and the index of the good class."""

    outputs: int = 2
    good: int = 1


@dataclass(frozen=True, slots=True)
class Judge:
    """The question to a chat model: `whole` for an ended solution, `partial` for one that continues ("": the same).

    `answer` is "yes-no" or "grade", and is read after the last `after`. `again` follows an answer without a verdict.
    `fallback` names the template that is used where the server returns no log-probabilities; without one, a yes is 1
    and a no is 0.
    """

    whole: str
    partial: str = ""
    answer: str = "yes-no"
    after: str = ""
    system: str = ""
    again: str = "Answer in the form that was asked for, with nothing else."
    max_tokens: int = 16
    temperature: float = 0.0
    samples: int = 1
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with a right and a wrong solution, which a verifier must rank before it is used."""

    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifierTemplate:
    """One verifier: `name` is that on the Hugging Face hub; `aggregation` is its authors', where they state one."""

    name: str
    family: str
    aggregation: str = "last"
    layout: Layout = Layout()
    labels: Labels | None = None
    head: Head | None = None
    judge: Judge | None = None
    check: Pair | None = None


@cache
def known_templates() -> dict[str, VerifierTemplate]:
    """The shipped templates by their short names, which are the names of the files."""
    folder = files("computewise.verifiers").joinpath("templates")
    names = sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    return {name: read_template(folder.joinpath(f"{name}.toml").read_text("utf-8"), name) for name in names}


def find_template(name_or_path: str, others: Sequence[str] = ()) -> VerifierTemplate:
    """A shipped template by its short name or its name on the hub, or a TOML file; else `UsageError` with the names.

    `others` are names of verifiers without a template that the caller allows too.
    """
    if name_or_path.endswith(".toml"):
        try:
            return read_template(Path(name_or_path).read_text("utf-8"), name_or_path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise UsageError(f"cannot read the template {name_or_path}: {reason}") from None
    known = known_templates()
    by_hub_name = {template.name: template for template in known.values()}
    found = known.get(name_or_path) or by_hub_name.get(name_or_path)
    if found is None:
        raise UsageError(
            f"unknown verifier {name_or_path!r}: allowed are {', '.join((*others, *known))}, or a path to a .toml file"
        )
    return found


def read_template(text: str, where: str) -> VerifierTemplate:
    """Parse and check a template; raises `UsageError` that says what in the file `where` is wrong."""
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not TOML: {error}") from None
    template = _build(VerifierTemplate, held, where)
    reason = _fault(template)
    if reason:
        raise UsageError(f"{where}: {reason}")
    return template


def _fault(template: VerifierTemplate) -> str:
    """What is inconsistent in a template, "" where nothing is."""
    layout, judge = template.layout, template.judge
    needed = {"label": template.labels, "classification": template.head, "judge": judge, "value": True}
    faults = {
        f"family must be one of {', '.join(FAMILIES)}": template.family not in FAMILIES,
        f"aggregation must be one of {', '.join(AGGREGATIONS)}": template.aggregation not in AGGREGATIONS,
        "a label template needs [labels], a classification template [head], a judge [judge]": needed.get(
            template.family, True
        )
        is None,
        'turns must be "", "one" or "many"': layout.turns not in ("", "one", "many"),
        'turns = "many" needs a reply and no marker': layout.turns == "many"
        and not (layout.reply and not layout.marker),
        "layout.step must hold {step}": "{step}" not in layout.step,
        "layout.chat_template is missing": bool(layout.turns) and not layout.chat_template,
        "layout.marker is missing": template.family != "judge" and layout.turns != "many" and not layout.marker,
        'a classification template needs markers: turns must not be "many"': template.family == "classification"
        and layout.turns == "many",
        "judge.answer must be yes-no or grade": judge is not None and judge.answer not in ("yes-no", "grade"),
        "judge.samples must be at least 1": judge is not None and judge.samples < 1,
        "a judge gives all new steps the same score: aggregation must not be prod": judge is not None
        and template.aggregation == "prod",
        "head.good must be an index of head.outputs": template.head is not None
        and not 0 <= template.head.good < template.head.outputs,
    }
    return next((text for text, wrong in faults.items() if wrong), "")


def _build(kind: type[T], held: Mapping[str, Any], where: str) -> T:
    """A dataclass built from a TOML table, without conversion of types."""
    hints = get_type_hints(kind)
    unknown = sorted(set(held) - set(hints))
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}: allowed are {', '.join(hints)}")
    for one in fields(kind):  # type: ignore[arg-type]  # every kind built here is a dataclass
        if one.name not in held and one.default is MISSING:
            raise UsageError(f"{where}: the key {one.name!r} is missing")
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in held.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    kind = next(one for one in get_args(hint) if one is not type(None)) if isinstance(hint, UnionType) else hint
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    if isinstance(value, dict) and hasattr(kind, "__dataclass_fields__"):
        return _build(kind, value, where)
    if not isinstance(kind, type) or type(value) is not kind:
        raise UsageError(f"{where} = {value!r} is not allowed: it must be a {getattr(kind, '__name__', kind)}")
    return value


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
