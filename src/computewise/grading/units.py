"""Words behind a number: what is counted or measured, what multiplies the number, what changes it."""

from __future__ import annotations

import re


def _listed(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


MULTIPLES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "trillion": 1_000_000_000_000,
}

_PARTS = _listed(
    "half third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    "hundredth thousandth millionth",
)

_CHANGING = _listed(
    "am pm noon midnight factorial squared cubed root power base mod modulo remainder choose permute percent halves",
    "or more less least most than over under above below to by times and plus minus divided multiplied",
    "pi sin cos tan log ln exp sqrt not no negative positive infinity gross score couple",
    "between from until through if when where is are",
)
"""Words that change what a number means; any other is taken for what is counted or measured."""

_SHORT = _listed(
    "cm mm km nm um dm kg mg ft in yd mi lb lbs oz ml dl cl hr hrs min mins sec secs ms ns mph kph kmh rad deg sq cu",
    "Hz kHz MHz GHz Pa kPa kJ kW MW kWh mol eV bps kB MB GB TB cc",
)

_LETTERS = frozenset("mgshLlNJWVAKCFB")
"""Units of one letter: only in upright text, since elsewhere a letter is a variable."""

_WORDS = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)*\.?")

_RATE = re.compile(r"[A-Za-z]{1,4}(?:\^?\d)?/[A-Za-z]{1,4}(?:\^?\d)?")


def is_unit(text: str, *, upright: bool = False) -> bool:
    """Whether text behind a number says what is counted or measured and leaves the number as it is."""
    text = re.sub(r"(?:\^?\{?\d\}?|[.])$", "", text.strip()).strip()
    if text in _SHORT or (upright and text in _LETTERS):
        return True
    if _RATE.fullmatch(text):
        return all(part in _SHORT | _LETTERS for part in re.sub(r"\^?\d", "", text).split("/"))
    if not _WORDS.fullmatch(text):
        return False
    words = re.split("[ -]", text)
    if any(_changes(word.lower()) for word in words):
        return False
    return all(len(word) > 2 or word in _SHORT or (word == "of" and at > 0) for at, word in enumerate(words))


def _changes(word: str) -> bool:
    return word in _CHANGING or word in MULTIPLES or word.removesuffix("s") in _PARTS
