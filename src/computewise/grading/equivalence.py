"""Whether two answers are mathematically equal, decided in processes that can be killed: some LaTeX hangs a parser."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import defaultdict
from fractions import Fraction
from importlib.util import find_spec
from types import TracebackType
from typing import TypeVar

from computewise.grading.normalize import LONGEST, is_number, is_prose, normalize
from computewise.grading.processes import WorkerPool
from computewise.grading.reading import reference_answer

KEY_SECONDS = 4.0
"""Seconds that all comparisons of one answer may take together."""
_SHARE_OF_THE_KEY = 0.4
_DEEPEST = 40
_REMEMBERED = 100_000
_PERIODIC = re.compile(r"[\d.]\s*\\overline|\\[lc]?dots|\.\.\.")
_UNSAID = re.compile(r"'|\\prime|\d_\{?\d|" + _PERIODIC.pattern)
"""What math-verify ignores: primes, the base of a number, the period of a decimal."""

K = TypeVar("K")
V = TypeVar("V")


class AnswerEquivalence:
    """Compares answers by math-verify where it is installed, else by their canonical text.

    Threads may share one instance. An answer that has taken `seconds` in all, or that kills its worker, equals only
    its own text from then on. `close`, or the end of a `with` block, ends the worker processes.
    """

    def __init__(self, seconds: float = KEY_SECONDS, workers: int = 2) -> None:
        self.by_mathematics = find_spec("math_verify") is not None
        self.comparisons = 0
        self._seconds = seconds
        self._pool = WorkerPool(workers)
        self._lock = threading.Lock()
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._keys: dict[str, str] = {}
        self._verdicts: dict[tuple[str, str], bool] = {}

    def __enter__(self) -> AnswerEquivalence:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; later comparisons start new ones."""
        self._pool.close()

    @property
    def given_up(self) -> int:
        """How many answers could not be parsed or compared in time."""
        with self._lock:
            return sum(spent >= self._seconds for spent in self._spent.values())

    def key(self, answer: str) -> str:
        """A text that equal answers share, as far as this can be computed in `seconds`.

        The key is itself an answer, and it is its own key.
        """
        text = normalize(reference_answer(answer))
        if len(text) > LONGEST:
            digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
            return f"{text[:40]}... ({len(text)} characters, {digest})"
        if not self.by_mathematics or _plain(text) or _UNSAID.search(text) or self._hopeless(text):
            return text
        key = self._keys.get(text)
        if key is None:
            form = self._ask(text, self._seconds * _SHARE_OF_THE_KEY, "form", text)
            # math-verify reads a list such as 1,2 as a number with a decimal comma.
            key = form if isinstance(form, str) and not ("," in text and is_number(form)) else text
            self._remember(self._keys, text, key)
            self._remember(self._keys, key, key)
        return key

    def __call__(self, gold: str, answer: str) -> bool:
        """Whether the answers are equal; `gold` is the reference, or the representative of a class of answers."""
        with self._lock:
            self.comparisons += 1
        gold, answer = map(reference_answer, (gold, answer))
        one, other = normalize(gold), normalize(answer)
        if one == other:
            return True
        if is_number(one) and is_number(other):
            return len(one + other) <= LONGEST and _as_percent(gold, one) == _as_percent(answer, other)
        if not self.by_mathematics:
            return False
        if self._hopeless(one) or self._hopeless(other):
            return False
        if self.key(gold) == self.key(answer):
            return True
        if _number_and_list(one, other):
            return False
        pair = (gold, answer)
        if pair not in self._verdicts:
            left = self._seconds - self._spent.get(other, 0.0)
            self._remember(self._verdicts, pair, bool(self._ask(other, left, "equal", gold, answer)))
        return self._verdicts[pair]

    def _hopeless(self, text: str) -> bool:
        return (
            len(text) > LONGEST
            or self._spent.get(text, 0.0) >= self._seconds
            or _deep(text)
            or _PERIODIC.search(text) is not None
        )

    def _ask(self, charged: str, seconds: float, *question: str) -> object:
        """A worker's reply; None where there is none in time, which charges `seconds` to the answer `charged`."""
        if seconds <= 0:
            return None
        answered, answer = self._pool.ask(question, seconds)
        if not answered:
            with self._lock:
                self._spent[charged] += seconds  # also if the worker died at once, since it would die again
        return answer

    def _remember(self, memory: dict[K, V], key: K, value: V) -> None:
        with self._lock:
            if len(memory) >= _REMEMBERED:
                memory.clear()
            memory[key] = value


def _as_percent(text: str, number: str) -> Fraction:
    """The value of a number, a hundredth of it where the text has a percent sign."""
    return Fraction(number) / 100 if "%" in text else Fraction(number)


def _number_and_list(one: str, other: str) -> bool:
    return (is_number(one) and "," in other) or (is_number(other) and "," in one)


def _plain(text: str) -> bool:
    return len(text) < 2 or is_number(text) or is_prose(text)


def _deep(text: str) -> bool:
    """Whether brackets are nested too deeply for an answer; a parser would take exponential time or overflow."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth > _DEEPEST:
            return True
    return False
