"""Conversations rendered once, here or there, whatever the template holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from requests_to_servers import PROMPT, ask
from servers import TEMPLATE, VLLM, LlamaServer, SGLang, found_on, rendered, served

from computewise.errors import ModelError, UsageError
from computewise.models.messages import Message
from computewise.models.server.templates import JinjaTemplate, PlainTemplate, read_template

HELLO = [Message("system", "Be brief."), Message("user", "1+1")]
TRIMMING = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


async def test_it_renders_as_the_tokenizers_do() -> None:
    source = (
        "{{- bos_token }}\n"
        "{%- for message in messages %}\n"
        "    {%- if message.role == 'system' %}\n"
        "        {{- '[S]' + message['content'] }}\n"
        "    {%- else %}\n"
        "        {{- '[' + message.role | upper + ']' + message.content }}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '[A]' }}{% endif %}"
        "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think></think>' }}{% endif %}"
        "{{- eos_token }}{{ {'a': 1} | tojson }}{{ strftime_now('%%') }}"
    )
    told = JinjaTemplate(source, "it", bos="<s>", eos="</s>", thinking=False)
    assert (await told.render(HELLO)).text == '<s>[S]Be brief.[USER]1+1[A]<think></think></s>{"a": 1}%'
    assert "<think>" not in (await JinjaTemplate(source, "it").render(HELLO)).text


async def test_tags_of_training_and_of_loops_are_known() -> None:
    source = (
        "{% for message in messages %}{% generation %}{{ message.content }}{% endgeneration %}{% break %}{% endfor %}"
        "{{ {'a': 'é'} | tojson(indent=None, separators=(',', ':')) }}{% if tools is not none %}no{% endif %}"
    )
    assert (await JinjaTemplate(source, "it").render(HELLO)).text == 'Be brief.{"a":"é"}'


ATTACKS = [
    "{{ messages.__class__.__mro__ }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['json'] }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ ''['__class__'] }}",
    "{{ (messages | attr('__class__')).__mro__ }}",
    "{{ '%s'.format.__self__.__class__ }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
]


@pytest.mark.parametrize("source", ATTACKS)
async def test_a_template_reaches_nothing_but_the_conversation(source: str) -> None:
    try:
        text = (await JinjaTemplate(source, "evil").render(HELLO)).text
    except UsageError as error:
        text = str(error)
        assert "\n" not in text
    assert "<class" not in text
    assert "module" not in text
    assert "root:" not in text
    assert [message.content for message in HELLO] == ["Be brief.", "1+1"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% if %}", "is not a valid chat template"),
        ("{{ raise_exception('roles must\nalternate') }}", "cannot render a conversation: roles must alternate"),
        ("{{ nothing.of.it }}", "cannot render a conversation"),
        ("{{ 1 / 0 }}", "cannot render a conversation"),
        ("{{ messages[0].content + 1 }}", "cannot render a conversation"),
        ("{{ strftime_now(7) }}", "cannot render a conversation"),
    ],
)
async def test_a_template_that_fails_is_a_usage_error_of_one_line(source: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        await JinjaTemplate(source, "it").render(HELLO)
    assert "\n" not in str(error.value)


async def test_a_template_that_trims_does_not_trim_the_prefix(tmp_path: Path) -> None:
    path = tmp_path / "trims.jinja"
    path.write_text(TRIMMING)
    server = SGLang()
    async with served(server, chat_template=str(path), delimiter="\n\n") as model:
        await ask(model, "Step 1: a\n\n", stop="\n\n")
        (body,) = server.bodies("/v1/completions")
    assert body["prompt"] == f"<|user|>{PROMPT}<|end|><|assistant|>Step 1: a\n\n"


def directory(path: Path, config: Any, template: str | None = None) -> Path:
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


async def test_a_models_directory_tells_its_template_and_its_special_tokens(tmp_path: Path) -> None:
    config = {"chat_template": TEMPLATE, "bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>"}
    found = read_template(directory(tmp_path, config))
    assert (await found.render(HELLO)).text == "<s>" + rendered([message._asdict() for message in HELLO])
    beside = read_template(directory(tmp_path, config, "{{ bos_token }}{{ eos_token }}"))
    assert (await beside.render(HELLO)).text == "<s></s>"
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    (tmp_path / "chat_template.jinja").unlink()
    assert (await read_template(directory(tmp_path, {"chat_template": named})).render(HELLO)).text == "yes"
    plain = read_template(directory(tmp_path, {"bos_token": None}, ""))
    assert (await plain.render(HELLO)).text == ""


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"tokenizer_config.json": "{}"}, "holds no chat template"),
        ({"tokenizer_config.json": "{"}, "cannot read the chat template"),
        ({"tokenizer_config.json": "[]"}, "holds no chat template"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "default"}]}'}, "holds no chat template"),
        ({"tokenizer_config.json": '{"chat_template": [7, {"name": "tool_use"}]}'}, "holds no chat template"),
        ({}, "holds no chat template"),
    ],
)
def test_a_directory_without_one_is_refused(tmp_path: Path, held: Mapping[str, str], said: str) -> None:
    for name, text in held.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said) as error:
        read_template(tmp_path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the chat template .*nothing\.jinja: No such file"):
        read_template(tmp_path / "nothing.jinja")
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read the chat template"):
        read_template(tmp_path / "bytes.jinja")


async def test_a_missing_template_is_told_of_before_anything_else_is_spent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the chat template"):
        await found_on(VLLM(), chat_template=str(tmp_path / "none"))
    broken = tmp_path / "broken.jinja"
    broken.write_text("{{ raise_exception('never') }}")
    with pytest.raises(UsageError, match="cannot render a conversation: never"):
        await found_on(VLLM(), chat_template=str(broken))


async def test_no_template_is_one_line_under_the_other() -> None:
    assert (await PlainTemplate().render(HELLO)).text == "Be brief.\n1+1\n"


@pytest.mark.parametrize(
    ("path", "nonsense"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"tokens": ["x"]}),
        ("/tokenize", "text"),
        ("/detokenize", {"prompt": None}),
        ("/detokenize", []),
    ],
)
async def test_a_rendering_that_cannot_be_read_is_a_models_error(path: str, nonsense: Any) -> None:
    server = VLLM()
    async with served(server) as model:
        server.intercept = lambda at, _: httpx.Response(200, json=nonsense) if at == path else None
        with pytest.raises(ModelError, match=f"{path} answered no"):
            await ask(model)
    llama = LlamaServer()
    async with served(llama) as model:
        llama.intercept = lambda at, _: httpx.Response(200, json=nonsense) if at == "/apply-template" else None
        with pytest.raises(ModelError, match="/apply-template answered no prompt"):
            await ask(model)


async def test_a_server_that_has_no_template_is_searched_with_a_given_one() -> None:
    server = LlamaServer(template=False)
    assert (await found_on(server)).capabilities.rung == "C"
    assert (await found_on(server, chat_template="plain")).capabilities.rung == "A"
