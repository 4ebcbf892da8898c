"""What is asked of a server, and what is made of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from doubles import problem
from requests_to_servers import PATHS, PROMPT, RUNGS, SAYS, ask, texts
from servers import (
    BOS,
    END,
    LETTER,
    SERVERS,
    TEMPLATE,
    TGI,
    VLLM,
    DeepSeek,
    Hosted,
    HostedThinker,
    Little,
    LlamaServer,
    LMStudio,
    Ollama,
    Server,
    SGLang,
    Transformers,
    encode,
    rendered,
    served,
)

from computewise.core import Attempt
from computewise.errors import ModelError, ServerError, UsageError
from computewise.models.server.model import BLANKS, MORE
from computewise.simulated import RIGHT, WRONG

# What is sent

UNTOUCHED = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
SENT: dict[str, dict[str, Any]] = {
    "vllm": {
        **UNTOUCHED,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "logprobs": 1,
        "return_token_ids": True,
        "add_special_tokens": False,
        "include_stop_str_in_output": True,
    },
    "sglang": {
        **UNTOUCHED,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "logprobs": 1,
        "no_stop_trim": True,
    },
    "lmstudio": {**UNTOUCHED, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "tgi": {
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    },
    "transformers": UNTOUCHED,
    "hosted": {**UNTOUCHED, "logprobs": True, "top_logprobs": 1},
    "deepseek": {**UNTOUCHED, "logprobs": True, "top_logprobs": 1},
}


@pytest.mark.parametrize("name", SENT)
async def test_exactly_this_is_sent(name: str) -> None:
    server, stop = SERVERS[name](), None if name == "hosted" else "\n"
    async with served(server, chat_template=RUNGS.get(name)) as model:
        await ask(model, stop=stop)
        (body,) = server.bodies(PATHS[name])
    body.pop("prompt", body.pop("messages", None))
    whole = {"model": server.model, "max_tokens": 60, "temperature": 0.7, "seed": (1 << 40) & 0x7FFFFFFF, **SENT[name]}
    assert body == whole | ({"stop": [stop]} if stop else {})


async def test_llama_cpp_is_told_to_filter_nothing_and_to_tell_all() -> None:
    server = LlamaServer()
    async with served(server) as model:
        await ask(model, n=3)
        (body,) = server.bodies("/completion")
    assert body.pop("prompt") == [BOS, *encode(rendered([{"role": "user", "content": PROMPT}]))]
    assert "timings/cache_n" in body.pop("response_fields")
    assert body == {
        "n_cmpl": 3,
        "n_predict": 60,
        "stop": ["\n"],
        "temperature": 0.7,
        "seed": 0,
        **UNTOUCHED,
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "samplers": ["temperature"],
        "n_probs": 1,
        "return_tokens": True,
        "cache_prompt": True,
    }


async def test_ollama_gets_a_raw_prompt_and_its_options_in_their_place() -> None:
    server = Ollama()
    async with served(server, chat_template="plain") as model:
        await ask(model, "right\n")
        (body,) = server.bodies("/api/generate")
    assert body == {
        "model": "little:1b",
        "prompt": f"{PROMPT}\nright\n",
        "raw": True,
        "stream": False,
        "options": {
            **UNTOUCHED,
            "temperature": 0.7,
            "seed": 0,
            "num_predict": 60,
            "stop": ["\n"],
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
        },
    }


@pytest.mark.parametrize("name", PATHS)
async def test_seeds_have_31_bits_and_tell_samples_apart(name: str) -> None:
    server = SERVERS[name]()
    async with served(server, chat_template=RUNGS.get(name)) as model:
        await ask(model, n=9, stop=None, seed=(1 << 64) - 1)
        bodies = server.bodies(PATHS[name])
    seeds = [(body.get("options") or body)["seed"] for body in bodies]
    assert all(0 <= seed < 1 << 31 for seed in seeds)
    assert len(set(seeds)) == len(seeds)


async def test_an_instruction_is_the_system_message() -> None:
    server = Hosted()
    async with served(server, instruction="Be brief.") as model:
        await ask(model, stop=None)
        (body,) = server.bodies(PATHS["hosted"])
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]


async def test_without_thinking_a_chat_is_told_so_each_time() -> None:
    server = VLLM()
    async with served(server, thinking=False, thinking_budget=32) as model:
        await ask(model, stop=None)
        (body,) = server.bodies("/v1/chat/completions")
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["thinking_token_budget"] == 32


# How many at a time


@pytest.mark.parametrize(
    ("name", "n", "parts"),
    [
        ("vllm", 200, [128, 72]),
        ("sglang", 5, [5]),
        ("llama", 10, [4, 4, 2]),
        ("ollama", 3, [1] * 3),
        ("lmstudio", 3, [1] * 3),
        ("transformers", 3, [1] * 3),
        ("hosted", 6, [6]),
        ("deepseek", 2, [1] * 2),
    ],
)
async def test_n_is_asked_for_as_the_server_takes_it(name: str, n: int, parts: list[int]) -> None:
    server = SERVERS[name]()
    async with served(server, chat_template=RUNGS.get(name)) as model:
        assert len(await ask(model, n=n, stop=None)) == n
        assert [body.get("n", body.get("n_cmpl", 1)) for body in server.bodies(PATHS[name])] == parts
        assert model.observed.requests == len(parts)


async def test_what_a_server_leaves_out_of_n_is_asked_for_as_it_gives_it() -> None:
    class Forgets(VLLM):
        def completions(self, body: dict[str, Any]) -> Any:
            held = VLLM.completions(self, body)
            return {**held, "choices": held["choices"][-2:]} if body.get("n", 1) > 2 else held

    server = Forgets()
    async with served(server) as model:
        assert len(await ask(model, n=5)) == 5
        assert [body.get("n", 1) for body in server.bodies(PATHS["vllm"])] == [5, 2, 1]


async def test_no_continuation_is_an_error() -> None:
    class GivesNone(LlamaServer):
        def native(self, body: dict[str, Any]) -> Any:
            return []

    async with served(GivesNone()) as model:
        with pytest.raises(ModelError, match="has no content with a text"):
            await ask(model)


async def test_more_continuations_than_were_asked_for_count_for_the_limit_alone() -> None:
    class GivesMore(LlamaServer):
        def native(self, body: dict[str, Any]) -> Any:
            return [LlamaServer.native(self, {**body, "n_cmpl": 1})] * 3

    async with served(GivesMore(Little(skill=1.0))) as model:
        (found,) = await ask(model)
        assert found.usage.completion_tokens == 6
        assert model.ceiling.spent.tokens == 18
    assert found.notes == (MORE,)


async def test_what_is_not_drawn_is_asked_for_alone() -> None:
    server = VLLM(Little(skill=0.6))
    async with served(server) as model:
        found = await ask(model, n=2, temperature=0, stop=None)
        assert texts(found) == [f"{RIGHT}\n{RIGHT}\n{RIGHT} 41734"] * 2


# Where it ends


@pytest.mark.parametrize("name", RUNGS)
async def test_a_solution_sampled_step_by_step_ends_where_the_model_ends(name: str) -> None:
    server = SERVERS[name](Little(skill=1.0))
    async with served(server, chat_template=RUNGS[name]) as model:
        prefix, reasons = "", []
        for _ in range(5):
            (found,) = await ask(model, prefix)
            prefix += "".join(step.text for step in found.steps)
            reasons.append(found.finish_reason)
            if found.finish_reason != "step":
                break
    # Who does not say what ended the last step ends it with a delimiter, and is asked once more.
    says = name in SAYS
    assert reasons == ["step", "step", "stop"] if says else ["step", "step", "step", "stop"]
    assert prefix == f"{RIGHT}\n{RIGHT}\n{RIGHT} 41734" + ("" if says else "\n")


@pytest.mark.parametrize("name", RUNGS)
async def test_nothing_behind_a_delimiter_is_the_end_and_no_step(name: str) -> None:
    server = SERVERS[name](Little(skill=1.0))
    async with served(server, chat_template=RUNGS[name]) as model:
        (found,) = await ask(model, f"{RIGHT}\n{RIGHT}\n{RIGHT} 41734\n")
    assert found.finish_reason == "stop"
    assert texts([found]) == [""]
    assert [step.tokens for step in found.steps] == [1]


@pytest.mark.parametrize("name", [*RUNGS, "hosted"])
async def test_a_limit_is_a_limit(name: str) -> None:
    server = SERVERS[name](Little(skill=1.0))
    async with served(server, chat_template=RUNGS.get(name)) as model:
        (found,) = await ask(model, stop=None if name == "hosted" else "\n", max_tokens=3)
    assert found.finish_reason == "length"
    assert texts([found]) == ["rig"]
    assert found.usage.completion_tokens == 3


@pytest.mark.parametrize("name", [*RUNGS, "hosted"])
async def test_a_whole_solution_comes_in_steps(name: str) -> None:
    server = SERVERS[name](Little(skill=1.0))
    async with served(server, chat_template=RUNGS.get(name)) as model:
        (found,) = await ask(model, stop=None)
    assert found.finish_reason == "stop"
    assert [step.text for step in found.steps] == [f"{RIGHT}\n", f"{RIGHT}\n", f"{RIGHT} 41734"]
    assert found.usage.completion_tokens == 6 + 6 + 11 + 1
    if name in ("vllm", "sglang", "llama", "hosted", "deepseek"):
        assert [step.tokens for step in found.steps] == [6, 6, 12]
        end = LETTER if name == "llama" else END  # llama.cpp does not show it: it counts as the mean
        assert [step.logprob for step in found.steps] == pytest.approx([6 * LETTER, 6 * LETTER, 11 * LETTER + end])


async def test_a_filtered_answer_is_no_solution() -> None:
    class Filters(Hosted):
        def chat(self, body: dict[str, Any]) -> Any:
            held = Hosted.chat(self, body)
            held["choices"][0]["finish_reason"] = "content_filter"
            return held

    async with served(Filters()) as model:
        (found,) = await ask(model, stop=None)
    assert found.finish_reason == "length"


# Token ids


@pytest.mark.parametrize("kind", [VLLM, LlamaServer])
async def test_ids_are_carried_as_they_were_sampled(kind: type[Server]) -> None:
    server = kind(Little(skill=1.0))
    path = PATHS["vllm" if kind is VLLM else "llama"]
    async with served(server) as model:
        (first,) = await ask(model)
        (text,) = texts([first])
        await ask(model, text)
        begun, gone_on = (body["prompt"] for body in server.bodies(path))
    assert gone_on == begun + [ord(letter) for letter in text]
    assert gone_on != begun + encode(text), "the tokenizer would have written it otherwise"


async def test_steps_of_many_kept_apart_go_on_from_their_own_ids() -> None:
    server = VLLM(Little(skill=0.5))
    async with served(server) as model:
        first = sorted(set(texts(await ask(model, n=16))))
        assert first == [f"{RIGHT}\n", f"{WRONG}\n"]
        await asyncio.gather(*(ask(model, text) for text in first))
        begun, *gone_on = (body["prompt"] for body in server.bodies(PATHS["vllm"]))
    assert gone_on == [begun + [ord(letter) for letter in text] for text in first]


@pytest.mark.parametrize("kind", [VLLM, LlamaServer])
async def test_ids_are_dropped_where_the_stop_lies_inside_a_token(kind: type[Server]) -> None:
    server = kind(Little(skill=1.0, overrun=1.0))
    path = PATHS["vllm" if kind is VLLM else "llama"]
    async with served(server) as model:
        (first,) = await ask(model)
        assert texts([first]) == [f"{RIGHT}\n"]
        assert first.usage.completion_tokens == 6
        await ask(model, f"{RIGHT}\n")
        prompt = server.bodies(path)[1]["prompt"]
    assert isinstance(prompt, str)
    assert prompt.endswith(f"<|assistant|>{RIGHT}\n")


async def test_what_a_stop_of_llama_cpps_spells_is_asked_once() -> None:
    server = LlamaServer(Little(skill=1.0))
    async with served(server) as model:
        await ask(model, n=4)
        await ask(model, f"{RIGHT}\n", n=4)
    assert [body for path, body in server.asked if path == "/detokenize"] == [{"tokens": [ord("\n")]}]


async def test_samples_are_in_the_order_of_their_index_however_they_come() -> None:
    class InOrder(LlamaServer):
        def native(self, body: dict[str, Any]) -> Any:
            return LlamaServer.native(self, body)[::-1]

    found = []
    for server in (LlamaServer(), InOrder()):
        async with served(server) as model:
            found.append(texts(await ask(model, n=4, stop=None)))
    assert found[0] == found[1]
    assert found[0] != found[0][::-1]


async def test_a_prompt_is_rendered_and_tokenized_once() -> None:
    for server in (VLLM(), LlamaServer()):
        async with served(server) as model:
            for prefix in ("", f"{RIGHT}\n", f"{WRONG}\n"):
                await ask(model, prefix, n=2)
            assert server.paths["/tokenize"] == 1
            assert server.paths["/apply-template"] == (1 if isinstance(server, LlamaServer) else 0)


async def test_prompts_shown_attempts_are_not_kept() -> None:
    server = VLLM()
    async with served(server) as model:
        for _ in range(2):
            await ask(model, stop=None, attempts=[Attempt("0", (f"{WRONG}\n",), (0.1,))])
        assert server.paths["/tokenize"] == 2


# Blank steps


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama", "tgi", "transformers"])
async def test_a_blank_step_is_gone_on_from(name: str) -> None:
    """A blank line comes before every third step or so: no step is blank, and no sample is lost."""
    server = SERVERS[name](Little(skill=1.0, blank=0.3))
    async with served(server, chat_template=RUNGS[name]) as model:
        found = await ask(model, n=24)
    kinds = set(texts(found))
    assert f"{RIGHT}\n" in kinds
    assert f"\n{RIGHT}\n" in kinds
    assert all(text.lstrip("\n") == f"{RIGHT}\n" for text in kinds)
    for one in found:
        assert one.finish_reason == "step"
        assert len(one.steps) == 1
        assert one.usage.completion_tokens == len(texts([one])[0])
    seeds = [(body["prompt"], body["seed"]) for body in server.bodies(PATHS[name])]
    assert len({str(seed) for seed in seeds}) == len(seeds)


async def test_a_server_that_will_not_go_on_from_a_blank_step_is_an_error() -> None:
    class Stalls(LlamaServer):
        def native(self, body: dict[str, Any]) -> Any:
            return [] if str(body["prompt"]).endswith("\n") else LlamaServer.native(self, body)

    async with served(Stalls(Little(blank=1.0))) as model:
        with pytest.raises(ModelError, match="has no content with a text"):
            await ask(model)


async def test_blank_steps_without_end_are_given_up_and_stay_within_the_limit() -> None:
    server = VLLM(Little(blank=1.0))
    async with served(server) as model:
        (found,) = await ask(model)
        assert len(server.bodies(PATHS["vllm"])) == 1 + BLANKS
        assert found.usage.completion_tokens == 1 + BLANKS
        assert [step.text for step in found.steps] == [""]
        (short,) = await ask(model, max_tokens=2)
    assert short.finish_reason == "length"
    assert short.usage.completion_tokens == 2


async def test_ids_are_carried_across_a_blank_step() -> None:
    server = VLLM(Little(skill=1.0, blank=0.3))
    async with served(server) as model:
        found = await ask(model, n=16)
        begun = server.bodies(PATHS["vllm"])[0]["prompt"]
        assert f"\n{RIGHT}\n" in texts(found)
        await ask(model, f"\n{RIGHT}\n")
        assert server.bodies(PATHS["vllm"])[-1]["prompt"] == begun + [ord(letter) for letter in f"\n{RIGHT}\n"]


async def test_blank_steps_are_gone_on_from_in_a_chat_too() -> None:
    server = SGLang(Little(skill=1.0, blank=0.3))
    async with served(server) as model:
        assert model.capabilities.rung == "C"
        found = await ask(model, f"{RIGHT}\n", n=8)
    assert all(text.lstrip("\n") == f"{RIGHT}\n" for text in texts(found))
    assert any(text.startswith("\n") for text in texts(found))
    begun = [body["messages"][-1] for body in server.bodies("/v1/chat/completions")]
    assert begun[:2] == [{"role": "assistant", "content": f"{RIGHT}{lines}"} for lines in ("\n", "\n\n")]


# Chats that go on


async def test_a_chat_goes_on_from_the_assistants_message() -> None:
    for server, extra in (
        (SGLang(), {"continue_final_message": True}),
        (DeepSeek(), {}),
        (Ollama(), {}),
    ):
        async with served(server) as model:
            assert model.capabilities.rung == "C"
            await ask(model, f"{RIGHT}\n")
            (body,) = server.bodies("/v1/chat/completions")
        marked = {"prefix": True} if isinstance(server, DeepSeek) else {}
        assert body["messages"][-1] == {"role": "assistant", "content": f"{RIGHT}\n", **marked}
        assert {name: body[name] for name in extra} == extra


async def test_an_echoed_prefill_is_taken_off() -> None:
    server = LlamaServer(Little(skill=1.0), template=False)
    async with served(server) as model:
        assert model.capabilities.rung == "C"
        found = await ask(model, f"{RIGHT}\n", n=2)
    assert texts(found) == [f"{RIGHT}\n"] * 2


# Thinking


@pytest.mark.parametrize(
    ("kind", "template"), [(VLLM, None), (VLLM, "chat"), (DeepSeek, None), (LMStudio, None), (SGLang, None)]
)
async def test_thinking_is_kept_apart_and_charged(kind: Any, template: str | None) -> None:
    server = kind(Little(skill=1.0, thinks="one\n\ntwo"))
    budget = 99 if template == "chat" else None
    async with served(server, thinking_budget=budget) as model:
        (found,) = await ask(model, stop=None, max_tokens=100)
        with pytest.raises(UsageError, match="thinks before it answers"):
            await ask(model, stop="\n")
    assert found.thinking == "one\n\ntwo"
    assert [step.text for step in found.steps] == [f"{RIGHT}\n", f"{RIGHT}\n", f"{RIGHT} 41734"]
    thought = len("<think>\none\n\ntwo\n</think>\n\n")
    assert found.usage.completion_tokens == thought + 24
    assert sum(step.tokens for step in found.steps) == thought + 24


async def test_thinking_that_nobody_shows_is_charged_too() -> None:
    server = HostedThinker(Little(skill=1.0))
    async with served(server) as model:
        found = await ask(model, n=2, stop=None, max_tokens=80, temperature=1.0)
        (body,) = server.bodies(PATHS["hosted"])
        assert model.observed.counted == model.observed.said == 2 * (24 + 20)
    assert body.keys() == {"model", "messages", "max_completion_tokens", "temperature", "seed", "n"}
    assert [one.usage.completion_tokens for one in found] == [44, 44]
    assert texts(found) == [f"{RIGHT}\n{RIGHT}\n{RIGHT} 41734"] * 2


async def test_thinking_that_is_cut_off_answers_nothing() -> None:
    server = VLLM(Little(thinks="so many words"))
    async with served(server) as model:
        (found,) = await ask(model, stop=None, max_tokens=12)
    assert found.finish_reason == "length"


# Revisions


@pytest.mark.parametrize("name", ["vllm", "llama", "hosted", "deepseek"])
async def test_attempts_are_shown_as_a_conversation(name: str) -> None:
    server = SERVERS[name](Little(skill=1.0))
    attempts = [Attempt("0", (f"{WRONG}\n", f"{WRONG}\n", f"{WRONG} 41735"), (0.1, 0.1, 0.1))]
    async with served(server) as model:
        (found,) = await ask(model, stop=None, attempts=attempts)
        body = server.bodies(PATHS[name])[-1]
    assert texts([found]) == [f"{RIGHT}\n{RIGHT}\n{RIGHT} 41734"]
    assert found.usage.cached_prompt_tokens == 0
    if "messages" in body:
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


async def test_steps_that_are_kept_come_behind_the_conversation() -> None:
    server = VLLM(Little(skill=1.0))
    attempts = [Attempt("0", (f"{RIGHT}\n", f"{WRONG}\n", f"{WRONG} 41735"), (0.9, 0.1, 0.1))]
    async with served(server) as model:
        (found,) = await ask(model, f"{RIGHT}\n", stop=None, attempts=attempts)
        (body,) = server.bodies(PATHS["vllm"])
    assert texts([found]) == [f"{RIGHT}\n{RIGHT} 41734"]
    assert found.usage.cached_prompt_tokens == 0
    assert body["prompt"].endswith(f"<|end|><|assistant|>{RIGHT}\n")


# Usage


@pytest.mark.parametrize("name", [*RUNGS, "hosted"])
async def test_the_first_reads_the_prompt_and_the_others_find_it(name: str) -> None:
    server = SERVERS[name]()
    async with served(server, chat_template=RUNGS.get(name)) as model:
        first, *others = await ask(model, n=3, stop=None)
        read = first.usage.prompt_tokens
        assert read > len(PROMPT)
        assert first.usage.cached_prompt_tokens == 0
        assert {(one.usage.prompt_tokens, one.usage.cached_prompt_tokens) for one in others} == {(read, read)}
        assert all(one.usage.samples == 1 for one in [first, *others])
        if name != "hosted":
            behind = await ask(model, f"{RIGHT}\n", n=2)
            assert all(one.usage.cached_prompt_tokens == one.usage.prompt_tokens for one in behind)
            assert behind[0].usage.prompt_tokens - read in (len(f"{RIGHT}\n"), len(encode(f"{RIGHT}\n")))


async def test_what_the_server_says_is_kept_beside_what_is_counted() -> None:
    server = VLLM(reports_cache=True)
    async with served(server) as model:
        found = await ask(model, n=4, stop=None)
        seen = model.observed
        counted = sum(one.usage.completion_tokens for one in found)
        assert (seen.requests, seen.counted, seen.said) == (1, counted, counted)
        assert (seen.prompt, seen.cached) == (found[0].usage.prompt_tokens, found[0].usage.prompt_tokens - 1)


async def test_the_tokens_of_all_are_counted_where_the_usage_says_one() -> None:
    server = LlamaServer()
    async with served(server) as model:
        found = await ask(model, n=4, stop=None)
        assert model.observed.counted == sum(one.usage.completion_tokens for one in found)
        assert all(one.usage.completion_tokens >= 23 for one in found)


async def test_a_context_is_never_exceeded() -> None:
    # Probing takes 24 tokens behind a prompt of some 60.
    server = VLLM(Little(skill=1.0), context=100)
    long = problem(9).prompt
    async with served(server) as model:
        (found,) = await ask(model, stop=None, prompt=long, max_tokens=240)
        (body,) = server.bodies(PATHS["vllm"])
        assert 0 < body["max_tokens"] == 100 - len(body["prompt"])
        assert found.finish_reason == "length"
        assert found.usage.completion_tokens == body["max_tokens"]
        # Where ids are not known, they are asked for once it might not fit.
        assert server.paths["/tokenize"] == 1
        (found,) = await ask(model, f"{RIGHT}\n", stop=None, prompt=long, max_tokens=240)
        assert server.paths["/tokenize"] == 2
        body = server.bodies(PATHS["vllm"])[-1]
        assert body["max_tokens"] == 100 - len(body["prompt"])
        with pytest.raises(ModelError, match="fill the 100 of"):
            await ask(model, RIGHT * 30, stop=None, prompt=long)


# Errors


async def test_one_who_cannot_go_on_refuses_before_anything_is_asked() -> None:
    server = Hosted()
    async with served(server) as model:
        for prefix, stop in ((f"{RIGHT}\n", None), ("", "\n"), (f"{RIGHT}\n", "\n")):
            with pytest.raises(UsageError, match="little-1b cannot be searched by steps"):
                await ask(model, prefix, stop=stop)
    assert server.asked == []


async def test_one_of_many_that_fails_ends_the_rest_and_the_others_are_counted() -> None:
    seen: list[int] = []

    def intercept(path: str, body: Mapping[str, Any]) -> httpx.Response | None:
        seen.append(body.get("seed", -1))
        return httpx.Response(400, json={"error": {"message": "no"}}) if len(seen) == 3 else None

    server = DeepSeek()
    async with served(server, concurrency=1) as model:
        server.intercept = intercept
        with pytest.raises(ServerError, match="no"):
            await ask(model, n=8, stop=None)
        assert 2 <= model.observed.requests < len(seen) < 8
        assert model.ceiling.spent.tokens == model.observed.counted > 0
        assert server.under_way == 0
        assert (model.client.limiter.in_flight, len(model.client.limiter._waiting)) == (0, 0)


async def test_cancellation_leaves_nothing_running() -> None:
    server = TGI()
    async with served(server, chat_template="plain", concurrency=3) as model:
        server.delay = 60
        task = asyncio.create_task(ask(model, n=8))
        await server.busy(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (server.under_way, server.cancelled, server.peak) == (0, 3, 3)
        assert model.client.limiter.in_flight == 0
        assert model.ceiling._holders == 0
        server.delay = None
        assert len(await ask(model, n=8)) == 8


async def test_a_failure_is_of_the_problem_whose_request_it_was() -> None:
    def intercept(path: str, body: Mapping[str, Any]) -> httpx.Response | None:
        return httpx.Response(400, json={"message": "bad"}) if "41735" in str(body) else None

    server = Transformers()
    async with served(server, chat_template="plain") as model:
        server.intercept = intercept
        prompts = [problem(3, number).prompt for number in (41734, 41735, 41736)]
        found = await asyncio.gather(*(ask(model, prompt=one, n=2) for one in prompts), return_exceptions=True)
    assert [isinstance(one, ModelError) for one in found] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "nonsense"),
    [
        ("vllm", {"choices": [{"text": 7}]}),
        ("vllm", {"choices": [{"text": None, "finish_reason": "stop"}]}),
        ("llama", {"content": 7}),
        ("llama", {"tokens": [1], "stop_type": "eos"}),
        ("llama", []),
        ("ollama", {"done": True}),
        ("ollama", []),
        ("hosted", {"choices": [{"message": {"content": [7]}}]}),
        ("hosted", {"choices": [{"message": {}}]}),
        ("hosted", {"choices": ["x"]}),
        ("hosted", {"choices": [], "usage": {}}),
        ("hosted", None),
    ],
)
async def test_what_cannot_be_read_is_a_models_error_of_one_line(name: str, nonsense: Any) -> None:
    server = SERVERS[name]()
    async with served(server, chat_template=RUNGS.get(name)) as model:
        server.intercept = lambda path, _: httpx.Response(200, json=nonsense) if path == PATHS[name] else None
        with pytest.raises(ModelError) as error:
            await ask(model, stop=None)
    assert "\n" not in str(error.value)
    assert model.ceiling._holders == 0


async def test_a_template_file_is_rendered_here_and_extended(tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(TEMPLATE)
    server = SGLang(Little(skill=1.0))
    async with served(server, chat_template=str(path)) as model:
        await ask(model, f"{RIGHT}\n")
        (body,) = server.bodies(PATHS["sglang"])
    assert body["prompt"] == rendered([{"role": "user", "content": PROMPT}]) + f"{RIGHT}\n"


async def test_sglangs_own_directory_is_read_where_it_is_here(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    async with served(SGLang(path=str(tmp_path))) as model:
        assert (model.capabilities.rung, model.capabilities.template) == ("A", str(tmp_path))
