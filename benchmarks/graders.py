"""How often the grader `math` agrees with published triples (gold, prediction, equal), and what hostile inputs cost it.

    python benchmarks/graders.py PAIRS.jsonl

Each line of the file has `suite`, `gold`, `pred` and `equal`. Beside it stands math-verify on its own, reading the same
texts, once as they are and once as mathematics ("$...$"), and counted right where either is. The suites contradict one
another here and there, so no grader agrees with all of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

from computewise.grading.equivalence import KEY_SECONDS
from computewise.grading.graders import MathGrader

HOSTILE = {
    "10^6 digits": "9" * 1_000_000,
    "400 digits": "9" * 400,
    "power tower": "9^{9^{9^{9}}}",
    "factorial of a factorial": "((((9!)!)!)!)!",
    "great factorial": "1000000000!",
    "great power": "(x+1)^{100000}",
    "expanded power": "(a+b+c+d+e)^{60}",
    "long sum": "+".join(f"x_{{{index}}}" for index in range(60)),
    "very long sum": "+".join(map(str, range(100_000))),
    "deep brackets": "(" * 200 + "x" + ")" * 200,
    "deep fractions": r"\frac{1}{1+" * 39 + "x" + "}" * 39,
    "deep roots": r"\sqrt{2+" * 35 + "2" + "}" * 35,
    "unbalanced braces": r"\frac{" * 60,
    "closing braces": "}" * 400,
    "brackets that do not close": "[({" * 100,
    "integral": r"\int_0^\infty \frac{\sin(x^x)}{e^{x^2}} dx",
    "endless sum": r"\sum_{n=1}^{\infty} \frac{1}{n^n}",
    "long product": r"\prod_{n=1}^{100000000} (1 + \frac{1}{n})",
    "great binomial": r"\binom{1000000000}{500000000}",
    "unicode": "½ × ∑∞ 𝟗𝟗 漢字 🧮" * 20,
    "control characters": "\x00\x01\n\u202e1\ud800",
    "backslashes": "\\" * 480,
    "dollars": "$" * 480,
    "nested boxes": r"\boxed{" * 60 + "1" + "}" * 60,
    "commas": "1," * 240,
    "equals": "x=" * 240,
    "powers of sums": "*".join(f"(x+{index})^{{99}}" for index in range(40)),
}


def read(grader: MathGrader, text: str) -> str:
    """The answer in a prediction, which is either an answer or a whole response."""
    return grader.answer(text) or text


def bare(gold: str, pred: str) -> bool:
    """The grade by math-verify."""
    from math_verify import parse, verify

    return any(verify(parse(form % gold), parse(form % pred)) for form in ("%s", "$%s$"))


def compare(path: Path, grader: MathGrader) -> None:
    """Print the agreement by suite, and the pairs that were judged differently."""
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        pair: dict[str, Any] = json.loads(line)
        suite, gold, pred = pair["suite"], str(pair["gold"]), str(pair["pred"])
        verdict = grader.correct(gold, read(grader, pred))
        total[suite] += 1
        ours[suite] += verdict is pair["equal"]
        theirs[suite] += bare(gold, pred) is pair["equal"]
        if verdict is not pair["equal"]:
            print(f"  {suite}: {gold!r:.60} and {pred!r:.60}: said {verdict}, published {pair['equal']}")
    print(f"{'suite':14}{'pairs':>6}{'math':>6}{'math-verify':>13}")
    for suite in sorted(total):
        print(f"{suite:14}{total[suite]:6}{ours[suite]:6}{theirs[suite]:13}")
    print(f"{'all':14}{total.total():6}{ours.total():6}{theirs.total():13}")


def torment(grader: MathGrader) -> None:
    """Print the time for each hostile input: its key and one comparison."""
    grader.correct(r"\sqrt{8}", r"2\sqrt{2}")  # starts the workers
    slowest = 0.0
    for name, text in HOSTILE.items():
        begun = time.perf_counter()
        key = grader.key(text)
        verdict = grader.correct(r"\frac{x+1}{2}", text)
        took = time.perf_counter() - begun
        slowest = max(slowest, took)
        print(f"{name:28}{took:7.2f} s  correct {verdict!s:6} key {key!r:.60}")
    print(f"slowest {slowest:.2f} s; the patience is {KEY_SECONDS:g} s, and a worker that was killed starts again")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    logging.disable()
    grader = MathGrader()
    compare(parser.parse_args().pairs, grader)
    torment(grader)


if __name__ == "__main__":
    main()
