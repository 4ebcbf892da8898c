"""A strategy with its settings as one text."""

from __future__ import annotations

import pytest

from computewise.errors import UsageError
from computewise.session import Strategy
from computewise.strategies import (
    DVTS,
    STRATEGIES,
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    Rebase,
    Single,
    StepRevisions,
    parse_strategy,
    strategy_label,
    strategy_to_dict,
)


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("beam_search", BeamSearch()),
        ("beam_search()", BeamSearch()),
        ("beam_search(n=8, width=2)", BeamSearch(8, 2)),
        ("beam_search(n=8, width=2, keep_finished=1)", BeamSearch(8, 2, 1)),
        (" rebase ( n = 8 ,balance_temperature=.5 ) ", Rebase(8, 0.5)),
        ("step_revisions(trust=1e-1)", StepRevisions(trust=0.1)),
        ("best_of_n(n=+4)", BestOfN(4)),
        ("single", Single()),
        ("adaptive_branching(trust=1)", AdaptiveBranching(trust=1)),
    ],
)
def test_a_text_says_which_strategy(text: str, strategy: Strategy) -> None:
    assert parse_strategy(text) == strategy


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_label_is_read_back(name: str) -> None:
    strategy = STRATEGIES[name]()
    assert parse_strategy(strategy_label(strategy)) == strategy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is malformed: write it as beam_search or beam_search(n=16, width=4)"),
        ("beam_search(n=16", "is malformed"),
        ("beam_search)n=16(", "is malformed"),
        ("best_of_n(n=len((1,2)))", "is malformed"),
        ("beam_search(n=8)@8", "is malformed"),
        ("b" * 5000, "is malformed"),
        ("best_of_n(16)", "takes settings as name=number, such as n=16, not '16'"),
        ("best_of_n(n=16,)", "takes settings as name=number"),
        ("best_of_n(=16)", "takes settings as name=number"),
        ("best_of_n(n=)", "n = '' of the strategy best_of_n is not allowed: give a number"),
        ("best_of_n(n=many)", "n = 'many' of the strategy best_of_n is not allowed: give a number"),
        ("best_of_n(n=nan)", "give a number"),
        ("best_of_n(n=1e999)", "give a number"),
        ("best_of_n(n=9999999999999)", "give a number"),
        ("best_of_n(n=4, n=5)", "has its setting n twice"),
        ("best_of_n(n=2.5)", "n = 2.5 is not allowed: the strategy 'best_of_n' takes a whole number"),
        ("best_of_n(m=2)", "has no setting 'm': allowed are n"),
        ("mcts(n=2)", "unknown strategy 'mcts': allowed are single, greedy, best_of_n"),
        ("best_of_n(n=0)", "at least 1"),
    ],
)
def test_what_is_no_strategy_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as found:
        parse_strategy(text)
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


def test_a_setting_that_is_off_is_named_only_where_it_is_on() -> None:
    assert strategy_to_dict(DVTS(8, 2)) == {"name": "dvts", "n": 8, "width": 2}
    assert strategy_label(DVTS(8, 2, 1)) == "dvts(n=8, width=2, keep_finished=1)"
