"""Training in miniature: recipes run, resume to the same weights, and NumPy runs what PyTorch trained."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from computewise.core import Candidate, Problem, Step
from computewise.models.config import NetworkConfig
from computewise.models.embedded import EmbeddedModel, prompt_tokens
from computewise.models.loop import EngineLoop
from computewise.models.network import Trunk, log_softmax
from computewise.models.vocabulary import END, TOKENS, decode, encode
from computewise.models.weights import SHIPPED, load_weights
from computewise.tasks.embedded import TASKS
from computewise.tasks.split import split_of
from computewise.verifiers.prm import EmbeddedPRM

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'computewise[train]'")

from computewise.training import generator, prm  # noqa: E402
from computewise.training.corpus import batch, random_document  # noqa: E402
from computewise.training.network import PRM, Generator, document_mask  # noqa: E402
from computewise.training.rollouts import label_questions  # noqa: E402
from computewise.training.session import export  # noqa: E402

torch.set_num_threads(1)

pytestmark = [
    pytest.mark.training,
    # bf16 activations meet fp32 gains: right, only not PyTorch's fused kernel.
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
]
TINY = NetworkConfig(width=16, layers=2, heads=2, hidden=24, vocabulary=len(TOKENS))
RECIPE = generator.GeneratorRecipe(TINY, steps=6, rows=2, time=192, warmup=2)


def ignore(step: int, what: object) -> None:
    """No report."""


def test_no_text_of_another_split_is_trained_on() -> None:
    rng = random.Random(0)
    for _ in range(200):
        tokens, prompt = random_document(rng)
        for text in (decode(tokens[:prompt]).strip("\n"), *decode(tokens[prompt:]).split("\n")):
            assert split_of(text) == "train"


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one, same, other = batch(0, 3, 2, 192), batch(0, 3, 2, 192), batch(0, 4, 2, 192)
    assert np.array_equal(one.inputs, same.inputs)
    assert not np.array_equal(one.inputs, other.inputs)
    learned = one.targets >= 0
    assert np.array_equal(one.targets[:, :-1][learned[:, :-1]], _next(one.inputs, one.targets)[learned[:, :-1]])


def _next(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Inside a document the next input is the target; at its end only the target knows of the end token."""
    return np.where(targets[:, :-1] == END, END, inputs[:, 1:])


def test_documents_in_a_row_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    network = Generator(TINY)
    tokens = torch.tensor([[0, 5, 6, 7, 0, 8, 9, 10]])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])
    documents = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 2]])
    packed = network(tokens, positions, document_mask(documents))[0, 4:]
    alone = network(tokens[:, 4:], positions[:, 4:], document_mask(documents[:, 4:]))[0]
    assert torch.allclose(packed, alone, atol=1e-5)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = generator.train(RECIPE, tmp_path / "whole", report=ignore)

    class KilledError(Exception):
        pass

    def kill(step: int, loss: float) -> None:
        if step:
            raise KilledError

    halves = replace(RECIPE, steps=30)
    with pytest.raises(KilledError):
        generator.train(halves, tmp_path / "halves", checkpoint_every=10, report=kill)
    resumed = generator.train(halves, tmp_path / "halves", checkpoint_every=10, report=ignore)
    straight = generator.train(halves, tmp_path / "straight", report=ignore)
    for one, other in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(next(whole.parameters()), next(straight.parameters()))


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    generator.train(replace(RECIPE, steps=61), tmp_path, report=lambda step, loss: losses.append(loss))
    assert losses[-1] < losses[0] - 1


def test_numpy_agrees_with_the_trained_generator(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Generator(TINY)
    weights = load_weights(export(network, TINY, tmp_path / "tiny.safetensors"))
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.tensors.items()})
    tokens = np.array([prompt_tokens("3*(4+5)-6")])
    count = tokens.shape[1]
    mask = torch.ones(1, 1, count, count, dtype=torch.bool).tril()
    with torch.no_grad():
        theirs = network(torch.from_numpy(tokens), torch.arange(count)[None], mask).log_softmax(-1).numpy()
    trunk = Trunk(weights)
    states = trunk.states(tokens, trunk.blocks.new_cache(1, count), np.zeros(1, np.int64))
    assert np.allclose(log_softmax(trunk.logits(states)), theirs, atol=1e-4)


def test_numpy_agrees_with_the_trained_prm(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = PRM(replace(TINY, verifier_layers=1))
    torch.nn.init.normal_(network.head.weight)
    weights = load_weights(export(network, network.config, tmp_path / "prm.safetensors"))
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.tensors.items()})
    steps = ("3*9-6\n", "27-6\n", "21")
    tokens = [*prompt_tokens("3*(4+5)-6"), *encode("".join(steps)), END]
    mask = torch.ones(1, 1, len(tokens), len(tokens), dtype=torch.bool).tril()
    with torch.no_grad():
        theirs = network(torch.tensor([tokens]), torch.arange(len(tokens))[None], mask).sigmoid()[0].numpy()
    ends = np.cumsum([len(prompt_tokens("3*(4+5)-6")), *(len(encode(step)) for step in steps)])[1:] - 1
    ends[-1] += 1
    verifier = EmbeddedPRM(EngineLoop(), path=tmp_path / "prm.safetensors")
    candidate = Candidate("0", None, tuple(Step(step, len(step), 0.0) for step in steps), end="stop")
    scores, _ = asyncio.run(verifier.score(Problem("p", "3*(4+5)-6"), [candidate]))
    assert np.allclose(scores[0], theirs[ends], atol=1e-4)


async def test_labels_are_the_share_of_rollouts_that_end_right() -> None:
    """On the shipped model: soft labels in [0, 1], one a step, the last step's by its answer, equal prefixes alike."""
    task = TASKS["expressions"]
    problems = task.problems("train", 4, 5)
    model = EmbeddedModel("small", EngineLoop())
    labelled = await label_questions(task, problems, model, solutions=8, rollouts=4, seed=0)
    assert [question.prompt for question in labelled] == [problem.prompt for problem in problems]
    by_prefix: dict[tuple[str, str], float | None] = {}
    for question, problem in zip(labelled, problems, strict=True):
        for solution in question.solutions:
            assert len(solution.labels) == len(solution.steps)
            assert solution.labels[-1] == (solution.steps[-1] == problem.answer)
            for end, label in enumerate(solution.labels[:-1], 1):
                assert label in {0, 0.25, 0.5, 0.75, 1}
                key = question.prompt, "".join(solution.steps[:end])
                assert by_prefix.setdefault(key, label) == label


def test_the_prm_recipe_runs_and_resumes(tmp_path: Path) -> None:
    """The whole recipe on the shipped `small`, cut to seconds; a second call finds its labels and its checkpoint."""
    small = load_weights(SHIPPED / "small.safetensors").config
    recipe = prm.PRMRecipe(
        trunk=generator.GeneratorRecipe(small, steps=1, rows=1, warmup=1),
        questions=50,
        outcome_questions=50,
        solutions=4,
        rollouts=2,
        verifier_layers=1,
        steps=3,
        problems_a_batch=4,
        warmup=1,
        evaluate_every=3,
    )
    reports: list[dict[str, float]] = []

    def run() -> PRM:
        return prm.train(
            recipe, SHIPPED / "small.safetensors", tmp_path, workers=1, report=lambda step, what: reports.append(what)
        )[0]

    first = run()
    labels = (tmp_path / "labels.jsonl").read_bytes()
    assert {"auroc_within", "auroc_pooled", "brier", "logprob_auroc_within"} <= reports[-1].keys()
    count = len(reports)
    again = run()
    assert (tmp_path / "labels.jsonl").read_bytes() == labels
    assert len(reports) == count
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
