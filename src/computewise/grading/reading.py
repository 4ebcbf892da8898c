"""The reader of final answers: where a solution, or a reference that is a whole solution, says its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[\\{}]|[{}]")

_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)

_HASHES = re.compile(r"^####[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)

_FENCED = re.compile(r"^```[ \t]*[A-Za-z0-9+]*[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)

_MARK = "[*_`]{0,4}"

_SAID = re.compile(
    rf"""(?P<label>^[\ \t>#*_`•-]{{0,16}}(?:(?:so|thus|hence|therefore|finally),?[ ])?(?:(?:the|my|our)[ ])?{_MARK}
        (?:(?:final|correct|right|short|simplified|exact|numerical|overall)[ ]+)*)?
    (?<![A-Za-z])(?:answers?|final[ ]result|antwort|réponse|respuesta|risposta|resposta|ответ|答案|答え)(?![A-Za-z])
    {_MARK}
    (?P<of>[ ](?:to|for|of)[ ](?:(?!\banswer)[^.:\n$]){{0,80}}?)?
    (?:(?P<verb>\s?(?:is|are|(?:will|would|must|should)[ ]be|equals|是|は)(?![A-Za-z])){_MARK}[ \t]*[:：]?
        |\s?(?:[:：=]|[—–](?=\s))|(?P<alone>(?=[ \t]*$)))
    {_MARK}[ \t]*(?P<value>.*)$""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
"""The label or the sentence that states an answer; the value is blank where it stands on the next line."""

_TAGS = re.compile(r"</?(?:b|i|em|strong|u|p|br|div|span|h[1-6])\s*/?>", re.IGNORECASE)
_FORMULA = r"\$\$(?:\\.|[^$\\])+\$\$|\$(?:\\.|[^$\\])+\$(?!\d)|\\\((?:(?!\\\)).)+\\\)|\\\[(?:(?!\\\]).)+\\\]"
_MARKED = (
    rf"(?:{_FORMULA}|(?<![\w*])\*\*(?:(?!\*\*).)+\*\*(?!\w)|__(?:(?!__).)+__|(?<![\w*])\*[^*\n]+\*(?![\w*])|`[^`\n]+`)"
)
_WHOLE = re.compile(rf"{_MARKED}[.。]?", re.DOTALL)
_INSIDE = re.compile(_MARKED, re.DOTALL)
_DISPLAYED = re.compile(r"\s*(?:\\\[(?:(?!\\\]).)+\\\]|\$\$(?:\\.|[^$\\])+\$\$)", re.DOTALL)
_NUMBER = r"[-+−]?[$£€¥]?\s?[-+−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?"
_SENTENCE = re.compile(r"(?<!\bSt)(?<!\bDr)(?<!\bM[rs])(?<!\.\.)[.!?。](?:[*_`]*$|[*_`]*\s+(?=[A-Z$\\*(`_]))")
_REASON = re.compile(r"[,;]?\s+(?:because|since|where|which|as (?:the|it|we|this|they))\b.*", re.DOTALL)
_VERB = re.compile(
    rf"^[A-Za-z(][^\n]*\b(?:is|are|was|were|be|has|have|had|makes?|equals?|gives?|gets?|needs?|costs?|takes?)[ ]+"
    rf"(?:(?:exactly|approximately|about|equal to)[ ]+)?(?=(?:{_MARKED}|{_NUMBER})(?![\w]))",
    re.DOTALL,
)
_SAYS_NOTHING = re.compile(
    r"(?:not|clearly|correct|right|wrong|incorrect|in|given|obtained|found|known|as|the same|reasonable|consistent|"
    r"valid|that|already|also|indeed|obviously|therefore|thus|then|now|shown|written|stated|unique|expected|to be)\b",
    re.IGNORECASE,
)
_READ = 20_000
"""Characters at the end of a solution in which a statement of the answer is looked for."""
_LONGEST_STATEMENT = 2_000
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{2,}")
_MOST_WORDS = 12
"""A longer statement is an explanation, and no answer."""
_ALONE = re.compile(
    rf"(?:[A-Za-z]\w?\s*=\s*|=\s*)?{_NUMBER}\s*(?:%|°|\\%)?(?:\s+(?!or\b|and\b)[A-Za-z]{{2,15}}(?:\s[a-z]{{2,15}})?)?[.。]?"
)


def final_answer(text: str) -> str | None:
    r"""The final answer of a solution as it is written, without markup around it; None where none is said.

    The content of the last ``\boxed{}``; else the text after ``####`` or in ``<answer>``; else what is stated last, as
    in "The answer is X." and "**Answer:** X", also on the line after the label; else a last line that is nothing but a
    number or a formula.
    """
    return boxed(text) or _after_hashes(text) or _tagged(text) or _stated(text) or _on_last_line(text)


def reference_answer(text: str) -> str:
    """The answer that a reference states where it is a whole solution, else all of its text."""
    return boxed(text) or _after_hashes(text) or _tagged(text) or _stated(text) or text


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


def fenced(text: str) -> str | None:
    """The last fenced block of code."""
    found = _FENCED.findall(text)
    return (found[-1].strip("\n") or None) if found else None


def _after_hashes(text: str) -> str | None:
    """The text after ``####``, where the solutions of GSM8K have their answer; a heading of Markdown is not meant."""
    text = text[-_READ:]
    for match in reversed(list(_HASHES.finditer(text))):
        held = match.group(1).strip("* ")
        if not _SAID.match(match.group()) and (_ALONE.fullmatch(held) or not text[match.end() :].strip()):
            return _unmarked(held)
    return None


def _tagged(text: str) -> str | None:
    """The content of the last ``<answer>...</answer>``."""
    found = _TAGGED.findall(text)
    return (_unmarked(found[-1]) or None) if found else None


def _stated(text: str) -> str | None:
    """What is stated last; words without a number or a formula only where nothing else is stated."""
    words = None
    text = _TAGS.sub("", text[-_READ:])
    for match in reversed(list(_SAID.finditer(text))):
        if match.group("alone") is not None and not match.group("label"):
            continue
        value = _value(text, match)
        if not value or len(_WORD.findall(value)) > _MOST_WORDS:
            continue
        labelled = match.group("label") is not None and match.group("verb") is None
        if labelled or len(value) < 4 or re.search(r"\d|[\\=^]", value) or _INSIDE.match(match.group("value")):
            return value
        if words is None and not _SAYS_NOTHING.match(value):
            words = value
    return words


def _value(text: str, match: re.Match[str]) -> str:
    """The stated value: a displayed formula, else the sentence that follows, from its number where it has a verb."""
    if displayed := _DISPLAYED.match(text, match.start("value")):
        return _unmarked(displayed.group())
    value = match.group("value") or next(_lines(text[match.end() :]), "")
    value = value[:_LONGEST_STATEMENT]
    if value[:2] in (r"\[", "$$"):
        return ""
    if ended := _SENTENCE.search(_INSIDE.sub(lambda found: "x" * len(found.group()), value)):
        value = value[: ended.start()]
    value = _REASON.sub("", value)
    if verb := _VERB.match(value):
        value = value[verb.end() :]
    return _unmarked(value)


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n", 4)[:4]:
        if line.strip("#*_ \t\r`"):
            yield line.strip("# \t\r")


def _on_last_line(text: str) -> str | None:
    """The last line, or the displayed formula at the end, where it is a number or a formula and nothing else."""
    last = text.rstrip().rsplit("\n", 1)[-1].strip()
    if len(last) > _LONGEST_STATEMENT:
        return None
    if _ALONE.fullmatch(_unmarked(last)) or re.fullmatch(rf"(?:\*\*)?(?:{_FORMULA})(?:\*\*)?\.?", last):
        return _unmarked(last)
    return None


def _unmarked(value: str) -> str:
    """Without delimiters of mathematics, emphasis, quotes and the stop at the end."""
    value = value.strip()
    for _ in range(4):
        before = value
        if value.endswith(("。", ".")) and not value.endswith(".."):
            value = value[:-1].rstrip()
        if _WHOLE.fullmatch(value) or (value[:1] + value[-1:] in ('""', "''", "“”") and len(value) > 2):
            width = 2 if value[:2] in ("$$", "**", "__", r"\(", r"\[") else 1
            value = value[width:-width].strip()
        elif odd := next((mark for mark in ("**", "`", "*") if value.endswith(mark) and value.count(mark) % 2), None):
            value = value.removesuffix(odd).rstrip()  # its opening stands before the label
        else:
            value = _INSIDE.sub(lambda found: _unmarked(found.group()), value)
        if value == before:
            break
    return value
