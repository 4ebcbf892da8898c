"""The reader of final answers: where an answer is said, and that text of any kind is read in time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.grading.graders import CodeGrader, find_grader
from computewise.grading.normalize import ChoiceGrader
from computewise.grading.reading import boxed, fenced, final_answer, reference_answer

SAID = [
    (r"So \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
    (r"\boxed{1} #### 2", "1"),
    (r"\boxed{1} then \boxed{\text{no } \{2\}}", r"\text{no } \{2\}"),
    (r"**Answer:** 1 \boxed{}", r"1 \boxed{}"),
    ("The answer is **41**.", "41"),
    ("**Answer:** 42", "42"),
    ("**Final Answer:** 42", "42"),
    ("### Answer\n42", "42"),
    ("The answer is 42 apples.", "42 apples"),
    ("**Final Answer**: 42", "42"),
    ("**Answer:** 42 apples", "42 apples"),
    ("So that is 42 apples.\n\n**Answer:** 42", "42"),
    ("### Final Answer\n\n**42**\n", "42"),
    ("#### Final Answer:\n\n$$\n42\n$$\n", "42"),
    ("**Answer**\n\n\\[\n\\frac{1}{2}\n\\]", "\\frac{1}{2}"),
    ("__Answer__: 42", "42"),
    ("*Answer*: 42", "42"),
    ("> **Answer:** 42", "42"),
    ("- **Answer:** 42", "42"),
    ("ANSWER: 42", "42"),
    ("Answer = 42", "42"),
    ("Thus, the final answer is: **42**.", "42"),
    ("My answer: 42", "42"),
    ("the answer to the question is **42**.", "42"),
    ("The answer would be 42", "42"),
    ("**The answer is 42.**", "42"),
    ("**Answer: 42**", "42"),
    ("Final answer: \\(42\\)", "42"),
    ("Final answer: \\(x=42\\) apples", "x=42 apples"),
    ("The answers are 3 and 5.", "3 and 5"),
    ("The answers are $3$ and $5$.", "3 and 5"),
    ("The answer is $5$ million.", "5 million"),
    ("**Answer:** Janet makes **$18** every day.", "$18 every day"),
    ("Answer: The number of values in $f(x)$ is 88.", "88"),
    ("the answer is clearly not negative", None),
    ("the answer is 36 - 54 + 1 = -17", "36 - 54 + 1 = -17"),
    ("no idea", None),
    ("", None),
    ("The answer is .5", ".5"),
    ("The answer is 0.333...", "0.333..."),
    ("The answer is f'.", "f'"),
    ("It is so. The answer is Paris, France. Indeed.", "Paris, France"),
    ("The answer is 1.\nThe answer is 2.5. Done", "2.5"),
    ("**Answer:** 42\n\nLet me check that the answer is correct.", "42"),
    ("The answer is St. Louis.", "St. Louis"),
    ("6*7\n#### 42", "42"),
    ("#### 1\nor\n####  2 ", "2"),
    ("#### Step 2: add\nIt is 5\n\n42", "42"),
    ("#### $1,234", "$1,234"),
    ("<answer> 7 </answer>", "7"),
    ("<answer>**7**</answer>", "7"),
    ("The answer is $x+1$.", "x+1"),
    ("The final answer is: 1,234.", "1,234"),
    ("thoughts\n\n42", "42"),
    ("thoughts\n\n**42**", "42"),
    ("thoughts\n\n$x^2+1$.", "x^2+1"),
    ("thoughts\n\n= 42", "= 42"),
    ("first\n\nSecond line.", None),
    ("答案：42", "42"),
    ("答案是 42。", "42"),
    ("Respuesta: 42", "42"),
    ("**Réponse :** 42", "42"),
    ("Ответ: 42", "42"),
    ("The answer is B", "B"),
    ("The answer is (B) because A is wrong", "(B)"),
    ("The answer is option D", "option D"),
    ("The answer is C because A is wrong", "C"),
    ("The correct answer is: C) 12", "C) 12"),
    ("Answer: `foo_bar`", "foo_bar"),
    ("answer: __init__", "init"),
    ("2**3**2", None),
    ("The answer is $\\$5.55$.", "\\$5.55"),
    ("our final answer is (a,b,c,d) = (1,2890/1156,0,-8)", "(a,b,c,d) = (1,2890/1156,0,-8)"),
    ("The answer is $5 and $6.", "$5 and $6"),
    ("**Final Answer:**\n\nThe speed is 5 km/h.", "5 km/h"),
    ("Final Answer: The final answer is $42$. I hope it is correct.", "42"),
    ("**Answer**: **-7**", "-7"),
    ("Answer: -7", "-7"),
    ("**Answer:** - 7", "- 7"),
    ("The answer is:\n\n42", "42"),
    ("The answer is\n42", "42"),
    ("## Answer: 42", "42"),
    ("**Answer:** $\\dfrac{3}{4}$ of the cake", "\\dfrac{3}{4} of the cake"),
    ("The answer is 5 or 6", "5 or 6"),
    ("Answer: **3** or **4**", "3 or 4"),
    ("A: 5\n\n**Answer:**\n```\n42\n```", "42"),
    ("the answer is no.", "no"),
    ("✅ **Answer:** 42", "42"),
    ("📌 Final answer: 42", "42"),
    ("**Answer:**\xa042", "42"),
    ("<b>Answer:</b> 42", "42"),
    ("Answer – 42", "42"),
]


@pytest.mark.parametrize(("solution", "answer"), SAID)
def test_the_final_answer_is_found(solution: str, answer: str | None) -> None:
    assert final_answer(solution) == answer


LABELS = (
    "**Answer:** ",
    "**Answer**: ",
    "**Final Answer:**\n\n",
    "### Answer\n",
    "The answer is ",
    "the final answer is: ",
    "Answer = ",
)
MARKUP = ("{}", "**{}**", "${}$", r"\({}\)", "$${}$$", r"\[{}\]", "`{}`", "**{}.**", "**${}$**")


@given(
    st.sampled_from(LABELS),
    st.sampled_from(MARKUP),
    st.sampled_from(["42", "-7", ".5", "1,234", r"\frac{1}{2}", "x^2+1", "(1, 2)", r"\{1,2\}", "3/4"]),
    st.sampled_from(["", ".", "\n", "\n\nI hope that this answer is correct."]),
)
def test_an_answer_is_found_in_any_markup(label: str, markup: str, answer: str, after: str) -> None:
    assert final_answer(f"First 2 + 3 = 5.\n\n{label}{markup.format(answer)}{after}") == answer


@given(st.text(alphabet="answer is:*$\\()[]{}#`_1x.,\n =<>"))
def test_any_text_is_read_and_an_answer_is_never_blank(text: str) -> None:
    for solution in (text, f"answer: {text}"):
        found = final_answer(solution)
        assert found is None or found.strip() == found != ""


@pytest.mark.parametrize("name", ["math", "exact"])
def test_graders_read_by_the_same_reader(name: str) -> None:
    grader = find_grader(name)
    assert [grader.answer(solution) for solution, _ in SAID] == [final_answer(solution) for solution, _ in SAID]


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"We add and get $\boxed{12}$ apples.", "12"),
        ("6 * 2 = <<6*2=12>>12\n#### 12", "12"),
        ("First, 6 * 2.\n\n**Answer:** 12", "12"),
        ("12", "12"),
        ("12 apples", "12 apples"),
        (r"$\frac{1}{2}$", r"$\frac{1}{2}$"),
        ("a long answer in words", "a long answer in words"),
    ],
)
def test_a_reference_may_be_a_whole_solution(reference: str, answer: str) -> None:
    assert reference_answer(reference) == answer


def test_code_is_the_last_fenced_block() -> None:
    assert fenced("```\na\n```\nthen\n```python\nb\nc\n```") == "b\nc"
    assert fenced("```python\nopen") is None
    assert boxed("x") is None


def test_hostile_solutions_are_scanned_in_time() -> None:
    begun = time.perf_counter()
    for text in (
        "<answer>",
        "answer is ",
        "```\n",
        "####",
        "$",
        "answer: $",
        "answer\n",
        "answer of ",
        "answer: **a",
        "is ",
        " ",
        "\n",
    ):
        many = text * (200_000 // len(text))
        for solution in (many, f"answer: {many}x"):
            final_answer(solution)
            ChoiceGrader().answer(solution)
            CodeGrader().answer(solution)
    assert time.perf_counter() - begun < 60
