"""Records as the arms a controller chooses among: what each draw was, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from computewise.core import Usage
from computewise.draws import LEAST_PROBABILITY, Drawn, Draws
from computewise.metrics import UNANSWERED
from computewise.records import Outcome, Record
from computewise.study.currencies import Currency

Runs = Sequence[Sequence[Record]]
"""One arm's records: of one or more runs, each of the same problems in the same order."""


def drawn(arms: Mapping[str, Runs], currency: Currency, prompts: Mapping[str, str] | None = None) -> list[Drawn]:
    """One for each problem. `prompts` by the problems' ids; those of the embedded tasks are their own prompts."""
    problems = [record.problem for record in next(iter(arms.values()))[0]]
    found = []
    for index, problem in enumerate(problems):
        numbers: dict[str, int] = {}
        each = {name: _sample_arrays([run[index] for run in runs], numbers, currency) for name, runs in arms.items()}
        found.append(Drawn(problem, (prompts or {}).get(problem, problem), each))
    return found


def _sample_arrays(records: Sequence[Record], numbers: dict[str, int], currency: Currency) -> Draws:
    """What several runs drew, one after the other."""
    parts: list[Draws] = []
    blocks = chains = 0
    for record in records:
        parts.append(_draws_of(record, numbers, currency, blocks, chains))
        blocks, chains = (
            int(parts[-1].blocks.max(initial=blocks - 1)) + 1,
            int(parts[-1].chains.max(initial=chains - 1)) + 1,
        )
    return Draws(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Draws)))


def _draws_of(record: Record, numbers: dict[str, int], currency: Currency, blocks: int, chains: int) -> Draws:
    outcomes = record.candidates
    count, whole = len(outcomes), is_search(record)
    usages = [record.usage, *[Usage()] * (count - 1)] if whole else draw_usages(record)
    waited = [record.sequential, *[0] * (count - 1)] if whole else [one.sampled for one in outcomes]
    chain = {name: number for number, name in enumerate(dict.fromkeys(one.chain for one in outcomes))}
    return Draws(
        answers=np.array([_number(one, numbers) for one in outcomes], np.int64),
        values=np.array([one.value for one in outcomes], float),
        correct=np.array([one.correct for one in outcomes], np.bool_),
        means=np.array([one.mean for one in outcomes], float),
        lows=np.array([one.low for one in outcomes], float),
        logprobs=np.log(np.maximum([one.logprob for one in outcomes], LEAST_PROBABILITY)),
        tokens=np.array([one.tokens for one in outcomes], float),
        costs=np.array([currency.cost(u, w, record.model) for u, w in zip(usages, waited, strict=True)], float),
        blocks=blocks + (np.zeros(count, np.int64) if whole else np.arange(count)),
        chains=chains + np.array([0 if whole else chain[one.chain] for one in outcomes], np.int64),
    )


def is_search(record: Record) -> bool:
    """Whether its candidates were found together: half of a beam search is no smaller beam search."""
    return record.strategy["name"] not in ("best_of_n", "step_revisions")


def draw_usages(record: Record) -> list[Usage]:
    """What each solution took, were they drawn one after another: whatever follows finds the prompt in the cache.

    A revision reads its prompt and the steps it keeps again, and so does its verifier.
    """
    prompt = record.candidates[0].read
    return [
        Usage(
            samples=1,
            prompt_tokens=max(one.read, prompt),
            cached_prompt_tokens=0 if one.read else prompt,
            completion_tokens=one.sampled,
            verifier_tokens=prompt + one.tokens,
            cached_verifier_tokens=0 if one.read else prompt,
        )
        for one in record.candidates
    ]


def _number(outcome: Outcome, numbers: dict[str, int]) -> int:
    return UNANSWERED if outcome.answer is None else numbers.setdefault(outcome.answer, len(numbers))
