"""Which part of a solution is its answer: one reader for what models write and for reference solutions."""

from __future__ import annotations

import re

_BRACES = re.compile(r"\\boxed\s*\{|\\[\\{}]|[{}]")

_HASHES = re.compile(r"^####[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)

_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)

_LABEL = re.compile(
    r"(?:\*\*|__)[ \t]*(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t]*:?[ \t]*(?:\*\*|__)[ \t]*:?"
    r"|^[ \t>]*#{1,6}[ \t]*(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""The word answer in bold or as a heading."""

_BELOW = re.compile(r"\banswer(?:[ \t]+is)?[ \t]*:[ \t]*\n\s*", re.IGNORECASE)

_STATED = re.compile(r"\banswer(?:\s+is\b[ \t]*:?|[ \t]*[:=])[ \t]*(\S[^\n]*)", re.IGNORECASE)

_INLINE = re.compile(r"\$\$(.+?)\$\$|\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|\*\*(.+?)\*\*")

_BARE_FORMULA = re.compile(r"([-+]?[$£€]?\.?\d[-+*/^.,\d()]*(?<![.,])[%°]?)(?=[.,;!]?(?:\s*$|\s+[A-Z]))")

_COUNTED = re.compile(r"[-+]?[$£€]?\d[\d,.]*(?:/\d+)?%?(?: [A-Za-z]+){1,4}(?=[.,;!]?\s*$|[.;!]\s)")
"""A number and what is counted, such as 42 apples."""

_SENTENCE = re.compile(r"[.!?](?:\s|$)")

_FENCED = re.compile(r"^```[ \t]*[A-Za-z0-9+]*[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...} with balanced braces; None where there is none, or it is blank."""
    opened: list[int] = []
    boxes: set[int] = set()
    start, end = -1, -1
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "}":
            if opened and (closed := opened.pop()) in boxes and closed > start:
                start, end = closed, match.start()
        elif token == "{":
            opened.append(match.end())
        elif token.endswith("{") and token != r"\{":
            opened.append(match.end())
            boxes.add(match.end())
    return text[start:end].strip() or None


def after_hashes(text: str) -> str | None:
    """The text after ``####`` on the last such line, where the solutions of GSM8K have their answer."""
    found = _HASHES.findall(text)
    return found[-1] if found else None


def tagged(text: str) -> str | None:
    """The content of the last ``<answer>...</answer>``."""
    found = _TAGGED.findall(text)
    return (found[-1].strip() or None) if found else None


def _unmarked(text: str) -> str:
    """With every label and heading that says answer as "answer: ", its value on the same line."""
    return _BELOW.sub("answer: ", _LABEL.sub("answer: ", text))


def stated(text: str) -> str | None:
    """X of the last "answer is X" or "answer: X": the part in dollar signs or bold, else the rest of the sentence."""
    found = _STATED.findall(_unmarked(text))
    if not found:
        return None
    ended = _SENTENCE.search(found[-1])
    return _marked(found[-1]) or (found[-1][: ended.start()] if ended else found[-1]).strip(" \t\"'*.") or None


def stated_formula(text: str) -> str | None:
    """As `stated`, but only a part in dollar signs or bold, or a number with what it counts; None for other prose."""
    found = _STATED.findall(_unmarked(text))
    if not found:
        return None
    bare = _BARE_FORMULA.match(found[-1])
    counted = _COUNTED.match(found[-1])
    return _marked(found[-1]) or (bare.group(1) if bare else counted.group() if counted else None)


def _marked(text: str) -> str | None:
    match = _INLINE.match(text)
    return next(group for group in match.groups() if group).strip() or None if match else None


def fenced(text: str) -> str | None:
    """The last fenced block of code."""
    found = _FENCED.findall(text)
    return (found[-1].strip("\n") or None) if found else None


def final_answer(text: str) -> str | None:
    r"""The content of the last \boxed{}, else the text after ``####``, in ``<answer>`` or after "the answer is".

    Markdown around the word answer makes no difference. None where a solution has none of them.
    """
    return boxed(text) or after_hashes(text) or tagged(text) or stated(text)


def final_formula(text: str) -> str | None:
    """As `final_answer`, for mathematics: what prose alone states is no answer, unless it is a number of something."""
    return boxed(text) or after_hashes(text) or tagged(text) or stated_formula(text)
