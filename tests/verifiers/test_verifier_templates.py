"""How verifiers want to be asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.errors import ModelError, UsageError
from computewise.models.messages import render_chat
from computewise.verifiers.templates import (
    StepPrompt,
    fill,
    find_template,
    known_templates,
    read_template,
    render_prompt,
)

KNOWN = {template.name: template for template in known_templates().values()}
READ = {name: template for name, template in KNOWN.items() if template.judge is None}
SHEPHERD = "peiyi9979/math-shepherd-mistral-7b-prm"
RLHFLOW = "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"
SKYWORK = "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B"
QWEN = "Qwen/Qwen2.5-Math-PRM-7B"
VERSA = "UW-Madison-Lee-Lab/VersaPRM"


def laid(name: str, *steps: str, question: str = "Q?") -> StepPrompt:
    return render_prompt(KNOWN[name].layout, question, steps)


def test_every_known_one_is_shipped() -> None:
    assert len(KNOWN) == 15
    assert {template.family for template in KNOWN.values()} == {"label", "classification", "value", "judge"}
    assert {SHEPHERD, RLHFLOW, RLHFLOW.replace("Deepseek", "Mistral"), SKYWORK, QWEN, VERSA} < set(KNOWN)


def test_math_shepherd_is_read_at_its_marker() -> None:
    text = laid(SHEPHERD, "one", "two")
    assert text.text == "Q? one ки\ntwo ки"
    assert [text.prefix(0), text.prefix(1)] == ["Q? one ки", "Q? one ки\ntwo ки"]


def test_rlhflow_is_read_where_the_reply_is_predicted() -> None:
    text = laid(RLHFLOW, "one", "two")
    user, assistant = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
    system = (
        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024"
    )
    assert text.prefix(0) == f"{system}\n\n<|eot_id|>{user}Q? one<|eot_id|>{assistant}"
    assert text.prefix(1) == f"{text.prefix(0)}+<|eot_id|>{user}two<|eot_id|>{assistant}"


def test_qwen_is_one_turn_that_ends_in_a_marker() -> None:
    text = laid(QWEN, "one", "two").text
    system = "Please reason step by step, and put your final answer within \\boxed{}."
    assert text == (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n"
        "<|im_start|>assistant\none<extra_0>two<extra_0><|im_end|>\n"
    )


def test_skywork_ends_every_line_and_is_read_at_the_last() -> None:
    text = laid(SKYWORK, "one\n\nmore", "two")
    assert text.pieces == ("<|endoftext|>Q?\n", "one", "\n", "more", "\n", "two", "\n")
    assert text.ends == (5, 7)


def test_versaprm_has_line_breaks_for_a_marker() -> None:
    assert laid(VERSA, "one", "two").text == "Q? \n\none \n\n\n\ntwo \n\n\n\n"


@pytest.mark.parametrize("name", READ)
def test_each_prompt_begins_the_next(name: str) -> None:
    long, short = laid(name, "one", "two", "three"), laid(name, "one", "two")
    assert len(long.ends) == 3
    for step in range(2):
        assert long.prefix(step) == short.prefix(step)
        assert long.prefix(step + 1).startswith(long.prefix(step))
        assert len(long.prefix(step + 1)) > len(long.prefix(step))
    assert long.text.startswith(long.prefix(2))


@pytest.mark.parametrize("name", [name for name, template in READ.items() if template.layout.marker.strip()])
@given(step=st.text(st.sampled_from("киextra_0<>| \n"), min_size=1), question=st.text(st.sampled_from("ки<extra_0>")))
def test_a_marker_in_a_text_is_none(name: str, step: str, question: str) -> None:
    layout = READ[name].layout
    text = laid(name, step + layout.marker, f"{layout.marker}{step}", question=question + layout.marker)
    assert text.text.count(layout.marker) == 2


def test_line_breaks_in_a_step_are_no_marker_of_versaprm() -> None:
    text = laid(VERSA, "one\n\n\n\nstill one", "two \n \n\n\nstill two", question="Q \n\n\n\n?").text
    assert text == "Q\n? \n\none\nstill one \n\n\n\ntwo\nstill two \n\n\n\n"


def test_special_tokens_in_a_text_are_none() -> None:
    text = laid(RLHFLOW, "one<|eot_id|>", question="Q?<|start_header_id|>").text
    assert text.count("<|eot_id|>") == 2
    assert "one< |eot_id|>" in text
    assert "Q?< |start_header_id|>" in text


def test_braces_in_a_question_are_not_filled_in() -> None:
    assert fill("{question} {step} {} {other}", question="{step}", step="s") == "{step} s {} {other}"


def test_a_template_that_loses_the_steps_is_refused() -> None:
    layout = KNOWN[QWEN].layout
    with pytest.raises(UsageError, match="changes the assistant's message"):
        render_prompt(layout, "Q", ["one"], chat_template="{% for m in messages %}{{ m['role'] }}{% endfor %}")


def test_a_template_that_looks_ahead_is_refused() -> None:
    layout = KNOWN[RLHFLOW].layout
    with pytest.raises(ModelError, match="with another beginning"):
        render_prompt(layout, "Q", ["one", "two"], chat_template="{{ messages | length }}{{ messages[-1]['content'] }}")


def test_the_sandbox_keeps_templates_from_python() -> None:
    with pytest.raises(UsageError, match="cannot be rendered"):
        render_chat("{{ messages.__class__.__base__.__subclasses__() }}", [], generation=False)
    with pytest.raises(UsageError, match="cannot be rendered: roles must alternate"):
        render_chat("{{ raise_exception('roles must alternate') }}", [], generation=False)


def test_a_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nfamily = "label"\n[layout]\nmarker = "@"\n[labels]\ngood = "y"\nbad = "n"\n'
        '[check]\nquestion = "q"\nright = ["a"]\nwrong = ["b"]\n'
    )
    template = find_template(str(path))
    assert (template.name, template.labels and template.labels.good, template.aggregation) == ("mine", "y", "last")
    assert template.check is not None
    assert template.check.wrong == ("b",)


def test_a_short_name_stands_for_the_hubs() -> None:
    assert find_template("math-shepherd") == find_template(SHEPHERD)


def test_an_unknown_one_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown verifier 'math': allowed are .*math-shepherd.*toml"):
        find_template("math")
    with pytest.raises(UsageError, match=r"cannot read the template .*none\.toml: No such file"):
        find_template(str(tmp_path / "none.toml"))


GOOD = 'name = "x"\nfamily = "label"\n[layout]\nmarker = "@"\n[labels]\ngood = "+"\nbad = "-"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "is not TOML"),
        ('family = "label"', "the key 'name' is missing"),
        (GOOD + "other = 1", "unknown key 'other'"),
        (GOOD.replace("good", "best"), "unknown key 'best'"),
        (GOOD.replace('"@"', "1"), "marker = 1 is not allowed: it must be a str"),
        (GOOD + "good_id = true", "good_id = True is not allowed: it must be a int"),
        (GOOD.replace('"label"', '"labels"'), "family must be one of"),
        (GOOD.replace('"label"', '"classification"'), r"needs \[labels\], a classification template \[head\]"),
        (GOOD.replace('"@"', '""'), "layout.marker is missing"),
        (GOOD.replace("[layout]", '[layout]\nturns = "one"'), "layout.chat_template is missing"),
        (GOOD.replace("[layout]", '[layout]\nturns = "two"'), "turns must be"),
        (GOOD.replace("[layout]", '[layout]\nturns = "many"'), "needs a reply and no marker"),
        (GOOD.replace("[layout]", '[layout]\nstep = "{steps}"'), "must hold {step}"),
        (f'aggregation = "max"\n{GOOD}', "aggregation must be one of last, min, prod, mean"),
        ('name="x"\nfamily="judge"\naggregation="prod"\n[judge]\nwhole="w"', "aggregation must not be prod"),
        ('name="x"\nfamily="judge"\n[judge]\nwhole="w"\nanswer="word"', "must be yes-no or grade"),
        ('name="x"\nfamily="classification"\n[layout]\nmarker="@"\n[head]\ngood=2', "an index of head.outputs"),
    ],
)
def test_a_file_with_a_fault_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"mine.toml.*{reason}") as caught:
        read_template(text, "mine.toml")
    assert "\n" not in str(caught.value)
