"""Sampled tokens a second: the embedded engine against `transformers` generate, same weights, machine and batch.

    pip install torch transformers; python benchmarks/engine.py

Both sample whole solutions of the same problems at temperature 1, 256 at a time, on one thread. `generate` is given
equal prompts in each call, so that it pads nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel, prompt_tokens
from computewise.models.embedded.network import END, EPSILON, WEIGHTS_DIRECTORY, Weights, load_weights
from computewise.tasks.arithmetic import TASKS

BATCH = 256
PROBLEMS = 8
REPEATS = 3


def main() -> None:
    """Alternate between the two, print each one's median and their ratio."""
    one_thread()
    torch.set_num_threads(1)
    problems = TASKS["expressions"].problems("validation", PROBLEMS, 0)
    prompts = [problem.prompt for problem in problems]
    ours, theirs = [], []
    model = EmbeddedModel("small", EngineLoop())
    llama = as_llama(load_weights(WEIGHTS_DIRECTORY / "small.safetensors"))
    check_agreement(llama, prompts[0], model)
    for _ in range(REPEATS):
        ours.append(engine_rate(model, prompts))
        theirs.append(generate_rate(llama, prompts))
        print(f"engine {ours[-1]:,.0f} tokens/s, generate {theirs[-1]:,.0f} tokens/s", flush=True)
    one, other = statistics.median(ours), statistics.median(theirs)
    print(f"median: engine {one:,.0f}, transformers generate {other:,.0f}: ratio {one / other:.1f}")


def engine_rate(model: EmbeddedModel, prompts: list[str]) -> float:
    """Sampled tokens a second over all prompts, submitted together."""

    async def run() -> int:
        drawn = await asyncio.gather(
            *(
                model.sample(p, "", BATCH, stop=None, max_tokens=200, temperature=1.0, seeds=range(BATCH))
                for p in prompts
            )
        )
        return sum(completion.usage.completion_tokens for each in drawn for completion in each)

    started = time.perf_counter()
    return asyncio.run(run()) / (time.perf_counter() - started)


def generate_rate(llama: LlamaForCausalLM, prompts: list[str]) -> float:
    """Sampled tokens a second, prompt after prompt; a row's tokens count up to its end."""
    settings = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=200, eos_token_id=END, pad_token_id=END)
    tokens = 0
    started = time.perf_counter()
    for prompt in prompts:
        ids = torch.tensor([prompt_tokens(prompt)] * BATCH)
        with torch.inference_mode():
            out = llama.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)[
                :, ids.shape[1] :
            ]
        ended = (out == END).int().cumsum(1)
        tokens += int(((ended == 0) | ((ended == 1) & (out == END))).sum())
    return tokens / (time.perf_counter() - started)


def check_agreement(llama: LlamaForCausalLM, prompt: str, model: EmbeddedModel) -> None:
    """Check that both give the same greedy solutions: otherwise the comparison is between different models."""
    ids = torch.tensor([prompt_tokens(prompt)])
    settings = GenerationConfig(do_sample=False, max_new_tokens=200, eos_token_id=END, pad_token_id=END)
    out = llama.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)[0, ids.shape[1] :]
    drawn = asyncio.run(model.sample(prompt, "", 1, stop=None, max_tokens=200, temperature=0.0, seeds=[0]))[0]
    assert drawn.usage.completion_tokens == len(out), "engine and transformers disagree on a greedy solution"


def as_llama(weights: Weights) -> LlamaForCausalLM:
    """The weights under transformers' names."""
    config = weights.config
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            rms_norm_eps=EPSILON,
            rope_theta=config.rope_base,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=END,
            eos_token_id=END,
            pad_token_id=END,
        )
    )
    tensors = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    for layer in range(config.layers):
        here, there = f"blocks.{layer}", f"model.layers.{layer}"
        query_key_value = weights[f"{here}.qkv.weight"].reshape(3, config.width, config.width)
        for name, tensor in zip("qkv", query_key_value, strict=True):
            tensors[f"{there}.self_attn.{name}_proj.weight"] = tensor
        gate_up = weights[f"{here}.gate_up.weight"].reshape(2, config.hidden, config.width)
        tensors[f"{there}.self_attn.o_proj.weight"] = weights[f"{here}.output.weight"]
        tensors[f"{there}.mlp.gate_proj.weight"], tensors[f"{there}.mlp.up_proj.weight"] = gate_up
        tensors[f"{there}.mlp.down_proj.weight"] = weights[f"{here}.down.weight"]
        tensors[f"{there}.input_layernorm.weight"] = weights[f"{here}.norm_attention.weight"]
        tensors[f"{there}.post_attention_layernorm.weight"] = weights[f"{here}.norm_mlp.weight"]
    held = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    llama.load_state_dict({**held, "lm_head.weight": held["model.embed_tokens.weight"]})
    return llama.eval()


if __name__ == "__main__":
    main()
