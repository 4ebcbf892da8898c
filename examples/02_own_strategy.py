"""A strategy of one's own: best-of-N, then one revision of the best solution.

It draws everything through the session, so budgets, seeds and costs need no line here. `@cw.register` makes it known by
its name: `cw.solve(..., "best_then_revise(n=8)")`. A package does the same for the command line by an entry point.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    check_strategy(BestThenRevise())
    result = cw.solve(
        "3*(4+5)-67*(13-6)",
        "best_then_revise(n=4)",
        model=cw.load_model("small"),
        verifier=cw.load_verifier("prm"),
        task="expressions",
    )
    print(f"answer: {result.answer}, solutions: {len(result.candidates)}")
