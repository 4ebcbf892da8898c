"""Two strategies of one's own: revise the best of N solutions, and stop early, when two solutions agree.

They draw everything through the session, so budgets, seeds and costs need no line here. `@cw.register` makes them known
by their names: `cw.solve(..., "best_then_revise(n=8)")`. On the command line it is --strategy my_module:BestThenRevise.

python examples/02_own_strategy.py                               # best_then_revise(n=4)
python examples/02_own_strategy.py "until_two_agree(n=8)"
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import computewise as cw
from computewise.testing import check_strategy


@cw.register
@dataclass(frozen=True)
class BestThenRevise(cw.Strategy):
    """`n` solutions; the best one keeps the steps before its weakest one and is finished anew."""

    n: int = 8
    name = "best_then_revise"
    needs_verifier = True
    default_select = "weighted"

    async def __call__(self, problem: cw.Problem, session: cw.Session) -> list[cw.Candidate]:
        """Cost: `n` + 1 solutions at most."""
        first = await session.score(await session.sample(self.n))
        best = max(first, key=session.value)
        return first + await session.score(await session.revise([[best]], keep_prefix=True))


@cw.register
@dataclass(frozen=True)
class UntilTwoAgree(cw.Strategy):
    """One solution after another until two have the same answer, at most `n`."""

    n: int = 8
    name = "until_two_agree"

    def __post_init__(self) -> None:
        if self.n < 2:
            raise cw.UsageError(f"n = {self.n} is not allowed: at least 2")

    async def __call__(self, problem: cw.Problem, session: cw.Session) -> list[cw.Candidate]:
        """Cost: `n` solutions at most."""
        found: list[cw.Candidate] = []
        seen: set[str] = set()
        while len(found) < self.n:
            found += await session.score(await session.sample(1))
            answer = await session.answer(found[-1])
            if answer in seen:
                break
            seen |= {answer} if answer is not None else set()
        return found


if __name__ == "__main__":
    check_strategy(BestThenRevise())
    check_strategy(UntilTwoAgree())
    result = cw.solve(
        "3*(4+5)-67*(13-6)",
        sys.argv[1] if len(sys.argv) > 1 else "best_then_revise(n=4)",
        model=cw.load_model("small"),
        verifier=cw.load_verifier("prm"),
        task="expressions",
    )
    print(f"answer: {result.answer}, solutions: {len(result.candidates)}")
