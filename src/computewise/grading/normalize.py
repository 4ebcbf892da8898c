"""Answers: which part of a solution is the answer, and its normal form."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_BRACES = re.compile(r"\\boxed\s*\{|\\[\\{}]|[{}]")

_HASHES = re.compile(r"^####[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)

_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)

_STATED = re.compile(r"\banswer(?:\s+is\b[ \t]*:?|[ \t]*:)[ \t]*(\S[^\n]*)", re.IGNORECASE)

_INLINE = re.compile(r"\$\$(.+?)\$\$|\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|\*\*(.+?)\*\*")

_BARE_FORMULA = re.compile(r"([-+]?[$£€]?\.?\d[-+*/^.,\d()]*(?<![.,])[%°]?)(?=[.,;!]?(?:\s*$|\s+[A-Z]))")

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


def stated(text: str) -> str | None:
    """X of the last "answer is X" or "answer: X": the part in dollar signs or bold, else the rest of the sentence."""
    found = _STATED.findall(text)
    if not found:
        return None
    ended = _SENTENCE.search(found[-1])
    return _marked(found[-1]) or (found[-1][: ended.start()] if ended else found[-1]).strip(" \t\"'*.") or None


def stated_formula(text: str) -> str | None:
    """As `stated`, but only a part in dollar signs or bold, or a number; None for prose."""
    found = _STATED.findall(text)
    if not found:
        return None
    bare = _BARE_FORMULA.match(found[-1])
    return _marked(found[-1]) or (bare.group(1) if bare else None)


def _marked(text: str) -> str | None:
    match = _INLINE.match(text)
    return next(group for group in match.groups() if group).strip() or None if match else None


def fenced(text: str) -> str | None:
    """The last fenced block of code."""
    found = _FENCED.findall(text)
    return (found[-1].strip("\n") or None) if found else None


def final_answer(text: str) -> str | None:
    r"""The content of the last \boxed{}, else the text after ``####``, in ``<answer>`` or after "the answer is".

    None where a solution has none of them.
    """
    return boxed(text) or after_hashes(text) or tagged(text) or stated(text)


_STEPS = "Work through the problem step by step and leave a blank line between steps."


SHORT_ANSWER = rf"{_STEPS} End with the final answer, as short as it can be, inside \boxed{{}}."


_MARKUP = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}|[$*]")


_LETTER = re.compile(r"\(([A-Ja-j])\)|\[([A-Ja-j])\]|([A-J])(?=[.):,]|\s*$|\s+(?:because|since|as)\b)")


_BARE = re.compile(r"([A-Ja-j])[.):]?")


_OPTION = re.compile(r"^(?:option|choice)\s+", re.IGNORECASE)


_EDGES = " \t\"'`“”‘’.,;:!?"


def letter(text: str) -> str | None:
    r"""The letter of the choice that a text names, such as B, (b), B. 42, \text{B} or option B."""
    plain = _OPTION.sub("", _MARKUP.sub(r"\1", text).strip())
    match = _BARE.fullmatch(plain) or _LETTER.match(plain)
    return next(group for group in match.groups() if group).upper() if match else None


@dataclass(frozen=True, slots=True)
class ChoiceGrader:
    """Multiple choice: an answer is one letter from A to J."""

    instruction: str = (
        f"{_STEPS} Choose one of the options, and end with a line that says only: The answer is (X), with its letter."
    )
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """The letter in the last box, after the last "answer is", or alone on the last line."""
        last_line = solution.rstrip().rsplit("\n", 1)[-1]
        alone = last_line if len(_MARKUP.sub(r"\1", last_line).strip()) <= 4 else ""
        return letter(boxed(solution) or final_answer(solution) or alone)

    def key(self, answer: str) -> str:
        """The letter in upper case."""
        return letter(answer) or answer.strip()

    def correct(self, reference: str, answer: str) -> bool:
        """Whether both name the same letter."""
        chosen = letter(answer)
        return chosen is not None and chosen == letter(reference)

    def accepts(self, reference: str) -> bool:
        """Whether the reference names a letter."""
        return letter(reference) is not None


@dataclass(frozen=True, slots=True)
class ExactGrader:
    """Exact text, except for case, runs of white space, and quotes and punctuation at either end."""

    instruction: str = SHORT_ANSWER
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        r"""The text in the last \boxed{}, after ``####``, in ``<answer>`` or after "the answer is"."""
        return final_answer(solution)

    def key(self, answer: str) -> str:
        """The text that is compared; Unicode compatibility forms of one character are equal (NFKC)."""
        text = " ".join(unicodedata.normalize("NFKC", answer).casefold().split())
        return text.strip(_EDGES) or text

    def correct(self, reference: str, answer: str) -> bool:
        """Whether the keys are equal."""
        return self.key(reference) == self.key(answer)

    def accepts(self, reference: str) -> bool:
        """Whether the reference is not blank."""
        return bool(reference.strip())


LONGEST = 500


"""Characters; a longer answer is not parsed, since that takes seconds and no grader understands it."""


_LONGEST_NUMBER = 200


"""Characters; Python refuses integers of thousands of digits, which a sample in a loop may contain."""


_LARGEST_EXPONENT = 40


_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "°": "", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "²": "^2", "³": "^3", "∪": r"\cup ", "∩": r"\cap ", "√": r"\sqrt ",
        "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    }
)  # fmt: skip


_TEXT = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|rm|operatorname)\s*\{([^{}]*)\}"


_PLAIN_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?"


_NO_UNITS = "and|or|to|by|times|mod|pi|sin|cos|tan|log|ln|exp|sqrt|plus|minus|dozen|hundred|thousand|million|billion"


_SHORT_UNITS = "cm|mm|km|kg|mg|ft|in|lb|oz|ml|hr|mi|am|pm"


_UNIT_WORDS = rf"\s+(?!(?:{_NO_UNITS})\b)(?:[A-Za-z]{{3,}}|{_SHORT_UNITS})(?:[ -](?!(?:{_NO_UNITS})\b)[A-Za-z]{{2,}})*"


_NAMED = r"^(?:m?\\angle ?|\\triangle ?)?(?:[A-Z]{1,4}|[a-zA-Z](?:_\{?\w\}?|\([a-z]\))?)="


_CALCULATION = r"^(?:[-+*/()^{}!.\d]|\\(?:cdot|times|div|frac|sqrt) ?)+="


_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[dtc]frac", r"\\frac"),
        (r"\*\*", "^"),
        (r"\^\(([^()]*)\)", r"^{\1}"),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])", ""),
        (r"\\(leq?|geq?|neq?)(?![A-Za-z])", lambda match: "\\" + match.group(1)[:2]),
        (rf"^({_PLAIN_NUMBER}){_UNIT_WORDS}(?:\^?\d)?[.]?$", r"\1"),
        (r"(?<=[\d}])\s*" + _TEXT + r"(?:\^\{?\d\}?)?\s*\.?$", ""),  # a unit
        (_TEXT, r"\1"),
        (r"(?<=\d)(?:\\!|\{,\}|\\,)+(?=\d{3})", ","),
        (r"^([+-]?\d+)\s+(\d+)/(\d+)$", r"\1\\frac{\2}{\3}"),
        (r"\\[!,;: ]|\\q?quad(?![A-Za-z])|~", " "),
        (r"(?<=\\)([A-Za-z]+)\s+(?=[A-Za-z])", "\\1\0"),  # LaTeX needs the space of "\pi r"
        (r"\s", ""),
        ("\0", " "),
        (r"\\?\$|\\\(|\\\)|\\\[|\\\]|\\?%|\^\{?\\circ\}?|\\?degrees?$|\\+$", ""),
        (r"\\frac(\d)(?=[\d{])", r"\\frac{\1}"),
        (r"\\frac(\{\d+\})(\d)", r"\\frac\1{\2}"),
        (r"(?<![\w.^])(\d+)/(\d+)(?![\w.^!])", r"\\frac{\1}{\2}"),
        (r"\\sqrt(\d)", r"\\sqrt{\1}"),
        (r"([\^_])\{(\w)\}", r"\1\2"),
        (r"\\approx.*$", ""),
        (rf"{_CALCULATION}(?=[^=]+$)", ""),
        (rf"{_NAMED}(?=[^=]+$)|^[a-z]\\in(?![A-Za-z])", ""),
        (r"^\(([A-Z])\)$", r"\1"),
        (r"(?<=.)[.]+$", ""),
    )
]


_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?")


_QUOTIENT = re.compile(r"([+-]?)(\d*)\\frac\{(-?\d+)\}\{(\d+)\}")


_SCIENTIFIC = re.compile(r"([+-]?\d+(?:\.\d+)?)(?:\\times|\\cdot|\*)10\^\{?(-?\d+)\}?")


_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}")


_PROSE = re.compile(r"(?:[A-Z]?[a-z]{2,})+")


@lru_cache(maxsize=4096)
def normalize(answer: str) -> str:
    """The canonical text of an answer: no spaces, delimiters, units or "x =", one spelling of LaTeX, exact fractions.

    Normalising twice changes nothing. Words are put in lower case. Percent signs and currencies are dropped, so 50
    equals 50 %, and 0.5 does not.
    """
    for _ in range(8):
        before, answer = answer, _rewrite(answer)
        if answer in (before, ""):
            return before
    return answer


def _rewrite(answer: str) -> str:
    if len(answer) > LONGEST:
        return answer.strip()
    answer = answer.translate(_UNICODE).strip()
    for pattern, replacement in _REWRITES:
        answer = pattern.sub(replacement, answer)
    number = _as_fraction(answer)
    if number is not None:
        return str(number)
    return answer.lower() if _PROSE.fullmatch(answer) else answer


def is_number(text: str) -> bool:
    """Whether a canonical text is an integer or a fraction."""
    return re.fullmatch(r"-?\d+(?:/\d+)?", text) is not None


def is_prose(text: str) -> bool:
    """Whether a canonical text consists of words."""
    return _PROSE.fullmatch(text) is not None


def _as_fraction(text: str) -> Fraction | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    if match := _QUOTIENT.fullmatch(text):
        return _mixed(*match.groups())
    if (match := _NUMBER.fullmatch(text)) and any(match.groups()[1:]):
        return Fraction(text.replace(",", ""))
    if re.fullmatch(r"-?\d+/\d+", text):
        above, below = text.split("/")
        return Fraction(int(above), int(below)) if int(below) else None
    if (match := _SCIENTIFIC.fullmatch(text)) and abs(int(match.group(2))) <= _LARGEST_EXPONENT:
        return Fraction(match.group(1)) * Fraction(10) ** int(match.group(2))
    if match := _REPEATING.fullmatch(text):
        return _repeating(*match.groups())
    return None


def _mixed(sign: str, whole: str, above: str, below: str) -> Fraction | None:
    r"""3\frac{1}{2} is three and a half."""
    if not int(below) or (whole and above.startswith("-")):
        return None
    value = int(whole or 0) + Fraction(int(above), int(below))
    return -value if sign == "-" else value


def _repeating(sign: str, whole: str, begun: str, period: str) -> Fraction:
    tail = Fraction(int(period), 10 ** len(period) - 1)
    value = int(whole or 0) + (int(begun or 0) + tail) / 10 ** len(begun)
    return -value if sign == "-" else value
