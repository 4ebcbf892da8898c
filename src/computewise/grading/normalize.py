"""The normal form of an answer, without the words behind its numbers; the graders of choices and of exact text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from computewise.grading.reading import boxed, final_answer


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


MULTIPLES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "trillion": 1_000_000_000_000,
}

_PARTS = _words(
    "half third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    "hundredth thousandth millionth",
)

_CHANGING = _words(
    "am pm noon midnight factorial squared cubed root power base mod modulo remainder choose permute percent halves",
    "or more less least most than over under above below to by times and plus minus divided multiplied",
    "pi sin cos tan log ln exp sqrt not no negative positive infinity gross score couple",
    "between from until through if when where is are",
)
"""Words that change what a number means; any other is taken for what is counted or measured."""

_SHORT = _words(
    "cm mm km nm um dm kg mg ft in yd mi lb lbs oz ml dl cl hr hrs min mins sec secs ms ns mph kph kmh rad deg sq cu",
    "Hz kHz MHz GHz Pa kPa kJ kW MW kWh mol eV bps kB MB GB TB cc",
)

_LETTERS = frozenset("mgshLlNJWVAKCFB")
"""Units of one letter: only in upright text, since elsewhere a letter is a variable."""

_SPELT = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)*\.?")

_RATE = re.compile(r"[A-Za-z]{1,4}(?:\^?\d)?/[A-Za-z]{1,4}(?:\^?\d)?")


def is_unit(text: str, *, upright: bool = False) -> bool:
    """Whether text behind a number says what is counted or measured and leaves the number as it is."""
    text = re.sub(r"(?:\^?\{?\d\}?|[.])$", "", text.strip()).strip()
    if text in _SHORT or (upright and text in _LETTERS):
        return True
    if _RATE.fullmatch(text):
        return all(part in _SHORT | _LETTERS for part in re.sub(r"\^?\d", "", text).split("/"))
    if not _SPELT.fullmatch(text):
        return False
    words = re.split("[ -]", text)
    if any(_changes(word.lower()) for word in words):
        return False
    return all(len(word) > 2 or word in _SHORT or (word == "of" and at > 0) for at, word in enumerate(words))


def _changes(word: str) -> bool:
    return word in _CHANGING or word in MULTIPLES or word.removesuffix("s") in _PARTS


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
        """See `final_answer`."""
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
        "−": "-", "–": "-", "°": "", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ",
        "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "√": r"\sqrt ",
        "⁄": "/", "∗": "*", "′": "'", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    }
)  # fmt: skip


_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ"

_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎"

_ONE_CHARACTER: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(f"[{_RAISED}]+"), lambda found: f"^{{{unicodedata.normalize('NFKC', found[0])}}}"),
    (re.compile(f"[{_LOWERED}]+"), lambda found: f"_{{{unicodedata.normalize('NFKC', found[0])}}}"),
    (
        re.compile("[¼½¾⅐-⅞]"),
        lambda found: "\\frac{" + unicodedata.normalize("NFKC", found[0]).replace("⁄", "}{") + "}",
    ),
    (re.compile(r"√\s*(\d+(?:\.\d+)?|[A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"√\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
)
"""Powers, indices, fractions and roots that Unicode writes without LaTeX."""


def _fraction(text: str) -> str:
    above, below = text.split("⁄")
    return rf"\frac{{{above}}}{{{below}}}"


def _plain_characters(text: str) -> str:
    if text.isascii():
        return text
    for pattern, replacement in _ONE_CHARACTER:
        text = pattern.sub(replacement, text)
    # Letters and digits of other alphabets of mathematics, full width and other scripts' digits; signs stay.
    text = "".join(unicodedata.normalize("NFKC", one) if one.isalnum() else one for one in text.translate(_UNICODE))
    return "".join(str(unicodedata.decimal(one, one)) for one in text)


_TEXT_COMMANDS = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|rm|operatorname)"

_TEXT = rf"{_TEXT_COMMANDS}\s*\{{([^{{}}]*)\}}"

_UPRIGHT = r"\\(?:text|textrm|mathrm|mbox|rm)\s*\{([^{}]*)\}(?:\^\{?\d\}?)?\s*\.?$"
"""What may be a unit behind a number; a bold or slanted letter is a vector or a variable."""


_PLAIN_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?"


def _upright(found: re.Match[str]) -> str:
    """Text behind a number: nothing where it is a unit, else the words."""
    return (
        "" if is_unit(found[1], upright=True) else f" {found[1].strip()}{found[0][found.end(1) - found.start() + 1 :]}"
    )


def _counted(found: re.Match[str]) -> str:
    """A number with words behind it: the number where they are a unit, multiplied where the first is a multiple."""
    number, words = found[1], found[2].strip().rstrip(".")
    first, _, rest = words.partition(" ")
    value = _as_fraction(number) if first.lower() in MULTIPLES else None
    if value is not None and (not rest or is_unit(rest)):
        return str(value * MULTIPLES[first.lower()])
    return number if number and is_unit(words) else found[0]


_NAMED = r"^(?:m?\\angle ?|\\triangle ?)?(?:[A-Z]{1,4}|[a-zA-Z](?:_\{?\w\}?|\([a-z]\))?)="


_CALCULATION = r"^(?:[-+*/()^{}!.\d]|\\(?:cdot|times|div|frac|sqrt) ?)+="


_REWRITES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[dtc]frac", r"\\frac"),
        (r"\*\*", "^"),
        (r"\^\(([^()]*)\)", r"^{\1}"),
        (r"(?<![A-Za-z\\])sqrt\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])(sin|cos|tan|log|ln|exp)(?=[ (\d])", r"\\\1"),
        (r"^([^=]+)=\s*([A-Za-z])$", r"\1"),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])", ""),
        (r"\\(leq?|geq?|neq?)(?![A-Za-z])", lambda match: "\\" + match.group(1)[:2]),
        (r"(?<=\d)(?:\\!|\{,\}|\\,)+(?=\d{3})", ","),
        (r"(?<!\\)\\[!,;: ]|\\q?quad(?![A-Za-z])|~", " "),
        (r"(?<=[\d}])\s*" + _UPRIGHT, _upright),
        (rf"^({_PLAIN_NUMBER})\s+([A-Za-z][A-Za-z /-]*(?:\^?\d)?[.]?)$", _counted),
        (r"(?<![\w,.])(\d{1,3}(?:,\d{3})+)(?=[A-Za-z\\])", lambda found: found[1].replace(",", "")),
        (r"(?<![\d.] )(?<![\d.,])\d{1,3}(?: \d{3})+(?![ ]?\d)", lambda found: found[0].replace(" ", "")),
        (r"(?<=\d)\s+(?=[\d.])(?!\d+\s*/)(?!\d+\\)", "\0"),  # two numbers, not one
        (_TEXT, r"\1"),
        (r"^([+-]?\d+)\s+(\d+)/(\d+)$", r"\1\\frac{\2}{\3}"),
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
    answer = _plain_characters(answer).strip()
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
