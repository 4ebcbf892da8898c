"""A continuation cut into steps, and the tokens that each took."""

from __future__ import annotations

import pytest
from servers import encode

from computewise.models.server.capabilities import Generation, Tokens
from computewise.models.server.counts import divide
from computewise.models.server.limits import TokenIdCache
from computewise.models.server.model import cut


def spelled(*texts: str, ended: str = "end", text: str | None = None) -> Generation:
    """Tokens of log-probability -1, -2, ..."""
    tokens = Tokens(texts, tuple(-float(index) for index in range(1, len(texts) + 1)), tuple(range(len(texts))))
    return Generation("".join(texts) if text is None else text, ended, tokens, len(texts))  # type: ignore[arg-type]


def shown(generated: Generation, delimiter: str = "\n\n") -> list[tuple[str, int, float]]:
    return [(step.text, step.tokens, step.logprob) for step in cut(generated, delimiter)]


def test_tokens_go_to_the_step_in_which_they_begin() -> None:
    whole = spelled("a", " b", "\n\n", "c", ".\n\nd", "e")
    assert shown(whole) == [("a b\n\n", 3, -6.0), ("c.\n\n", 2, -9.0), ("de", 1, -6.0)]


def test_one_step_has_all_tokens_and_their_sum() -> None:
    assert shown(spelled("a", " b", "\n\n", ended="stop")) == [("a b\n\n", 3, -6.0)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a\n\n", ["a\n\n"]),
        ("a\n\nb", ["a\n\n", "b"]),
        ("a\n\n\n\nb\n\n", ["a\n\n\n\n", "b\n\n"]),
        ("\n\na\n\nb", ["\n\na\n\n", "b"]),
        ("a\n\n \n\n\n\nb", ["a\n\n \n\n\n\n", "b"]),
        ("a\n\n\nb", ["a\n\n", "\nb"]),
        ("\n\n\n\n", ["\n\n\n\n"]),
        (" ", [" "]),
    ],
)
def test_no_step_but_the_only_one_is_blank_and_nothing_is_lost(text: str, steps: list[str]) -> None:
    found = cut(Generation(text, "end", None, 12), "\n\n")
    assert [step.text for step in found] == steps
    assert sum(step.tokens for step in found) == 12


def test_unseen_tokens_are_shared_out_by_length_and_add_up() -> None:
    assert [step.tokens for step in cut(Generation("a" * 10 + "\n\n" + "b" * 6, "end", None, 9), "\n\n")] == [6, 3]


def test_the_end_token_is_shown_by_its_name_and_is_no_text() -> None:
    whole = spelled("a\n\n", "b", "<|im_end|>", text="a\n\nb")
    assert shown(whole) == [("a\n\n", 1, -1.0), ("b", 2, -5.0)]
    assert whole.aligned_tokens == Tokens(("a\n\n", "b", ""), (-1.0, -2.0, -3.0), (0, 1, 2))


def test_tokens_that_do_not_spell_the_text_are_shared_out_with_their_log_probability() -> None:
    over = spelled("a", "\n\n\t", ended="stop", text="a\n\n")
    assert over.aligned_tokens is None
    assert shown(over) == [("a\n\n", 2, -3.0)]
    broken = spelled("�", "�", "\n\n", "b", text="é\n\nb")
    assert broken.aligned_tokens is None
    assert [tokens for _, tokens, _ in shown(broken)] == [3, 1]
    assert sum(logprob for _, _, logprob in shown(broken)) == pytest.approx(-10)


@pytest.mark.parametrize("total", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("weights", [[1], [0], [0, 0, 0], [3, 0, 4], [1] * 7, [100, 1]])
def test_what_is_shared_out_is_all_of_it(total: int, weights: list[int]) -> None:
    shares = divide(total, weights)
    assert sum(shares) == total
    even = weights if sum(weights) else [1] * len(weights)
    assert all(abs(share - total * w / sum(even)) <= 1 for share, w in zip(shares, even, strict=True))


def test_nothing_came() -> None:
    assert shown(spelled("<|eos|>", text="")) == [("", 1, -1.0)]
    assert [step.tokens for step in cut(Generation("", "end", Tokens((), (), None), 0), "\n\n")] == [0]


def test_memory_forgets_the_oldest_and_counts_what_it_holds() -> None:
    memory = TokenIdCache(max_ids=10)
    memory.keep("aaaa", encode("aaaa"))
    memory.keep("bbbb", encode("bbbb"))
    assert memory.find("aaaa") == (97,) * 4
    memory.keep("bbbb", (1, 2))
    memory.keep("cccc", encode("cccc"))
    assert memory.find("aaaa") == (97,) * 4
    assert memory.find("bbbb") == (1, 2)
    memory.keep("d", (7,))
    assert memory.find("aaaa") is None
    assert memory.find("bbbb") == (1, 2)
    assert memory.find("dd") is None
    memory.keep("\ud800", (1,))
    assert memory.find("\ud800") == (1,)
