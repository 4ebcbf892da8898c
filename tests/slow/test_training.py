"""Training in miniature: recipes run, resume to the same weights, and NumPy runs what PyTorch trained."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from computewise.core import Attempt, Candidate, Problem, Step
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel, prompt_tokens
from computewise.models.embedded.network import (
    END,
    TOKENS,
    WEIGHTS_DIRECTORY,
    NetworkConfig,
    Trunk,
    decode,
    encode,
    load_weights,
    log_softmax,
)
from computewise.strategies import Revisions
from computewise.tasks.arithmetic import TASKS
from computewise.tasks.dataset import split_of
from computewise.verifiers.embedded import EmbeddedORM, EmbeddedPRM

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'computewise[train]'")
pytest.importorskip("rapidfuzz", reason="training needs RapidFuzz: pip install 'computewise[train]'")

from computewise.training import generator, revision  # noqa: E402
from computewise.training.generator import PRM, Generator, batch, document_mask, random_document  # noqa: E402  # noqa: E402
from computewise.training.labelling import (  # noqa: E402  # noqa: E402
    LabelledQuestion,
    LabelledSolution,
    Labelling,
    hold_out,
    label_all,
    label_questions,
)
from computewise.training.revision import (  # noqa: E402
    PaperExamples,
    RevisionRecipe,
    Samples,
    VerdictExamples,
    cut_at_the_mistake,
    draw_wrong,
    just_after_the_least,
    samples_of,
)
from computewise.training.session import export  # noqa: E402
from computewise.training.verifier import PRMRecipe, VerifierRecipe, _rows, train_prm  # noqa: E402

torch.set_num_threads(1)

pytestmark = [
    pytest.mark.slow,
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
    small = load_weights(WEIGHTS_DIRECTORY / "small.safetensors").config
    recipe = PRMRecipe(
        trunk=generator.GeneratorRecipe(small, steps=1, rows=1, warmup=1),
        labelling=Labelling(questions=50, outcome_questions=50, solutions=4, rollouts=2, seed=1),
        head=VerifierRecipe(steps=3, problems_a_batch=4, warmup=1, evaluate_every=3),
        verifier_layers=1,
    )
    reports: list[dict[str, float]] = []

    def run() -> PRM:
        return train_prm(
            recipe,
            WEIGHTS_DIRECTORY / "small.safetensors",
            tmp_path,
            workers=1,
            report=lambda step, what: reports.append(what),
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


RIGHT = (("3*9-6\n", "27-6\n", "21"), ("3*9-6\n", "21"))
WRONG = (("3*9-6\n", "28-6\n", "22"), ("3*8-6\n", "24-6\n", "18"), ("3*9-6\n", "27-6\n", "20"), ("3*8-6\n", "9"))
SAMPLES = Samples("3*(4+5)-6", RIGHT, WRONG)


def test_wrong_samples_are_drawn_0_to_4_at_a_time_and_evenly() -> None:
    rng = random.Random(0)
    many = [(str(number), "7") for number in range(9)]
    drawn = [draw_wrong(rng, many, ("3",)) for _ in range(4000)]
    counts = np.bincount([len(attempts) for attempts in drawn])
    assert len(counts) == 5
    assert counts / 4000 == pytest.approx([0.2] * 5, abs=0.03)
    assert all(len(set(attempts)) == len(attempts) for attempts in drawn)
    assert {attempt for attempts in drawn for attempt in attempts} == set(many)


def test_of_few_wrong_samples_as_many_are_drawn_as_there_are() -> None:
    rng = random.Random(0)
    assert {len(draw_wrong(rng, WRONG[:2], RIGHT[0])) for _ in range(100)} == {0, 1, 2}
    assert draw_wrong(rng, (), RIGHT[0]) == []


def test_the_wrong_sample_nearest_to_the_target_comes_last() -> None:
    """One character differs in the third, two in the first, the answer's among them."""
    rng = random.Random(0)
    nearness: list[tuple[str, ...]] = [WRONG[2], WRONG[0], WRONG[1]]
    for _ in range(200):
        drawn = draw_wrong(rng, WRONG[:3], RIGHT[0])
        if drawn:
            assert nearness.index(drawn[-1]) == min(map(nearness.index, drawn))


@pytest.mark.parametrize(
    ("attempt", "shown"),
    [(WRONG[0], 2), (WRONG[1], 1), (WRONG[2], 3), (("3*9-6\n", "27-6\n", "21\n", "21"), 3), (("22",), 1)],
)
def test_an_attempt_is_cut_at_the_first_step_that_no_right_sample_takes(attempt: tuple[str, ...], shown: int) -> None:
    assert cut_at_the_mistake(attempt, RIGHT) == attempt[:shown]


def test_an_attempt_that_goes_on_behind_a_right_answer_leaves_it_there() -> None:
    assert cut_at_the_mistake(("3*9-6\n", "21\n", "20\n", "7"), [("3*9-6\n", "21\n")]) == ("3*9-6\n", "21\n", "20\n")


def test_an_attempt_that_is_the_beginning_of_a_right_one_is_shown_whole() -> None:
    """A solution that ended a line too early, and answered by it."""
    assert cut_at_the_mistake(("27\n",), [("27\n", "21")]) == ("27\n",)


def parts(tokens: list[int], context: int) -> tuple[str, list[str], str]:
    """Prompt, attempts and target of a document, after looking at how it is put together."""
    assert tokens[0] == tokens[-1] == END
    before = "".join("|" if token == END else TOKENS[token] for token in tokens[1:context])
    prompt, _, attempts = before.partition("\n")
    assert not attempts or attempts.endswith("|")
    target = tokens[context:-1]
    assert END not in target
    return prompt, attempts.split("|")[:-1], decode(target)


def joined(attempts: tuple[tuple[str, ...], ...]) -> set[str]:
    return {"".join(attempt) for attempt in attempts}


def test_the_papers_examples_show_wrong_attempts_whole_and_end_right() -> None:
    examples, rng = PaperExamples([SAMPLES]), random.Random(0)
    lengths = set()
    for _ in range(300):
        prompt, attempts, target = parts(*examples(rng))
        assert prompt == SAMPLES.prompt
        assert set(attempts) <= joined(WRONG)
        assert target in joined(RIGHT)
        lengths.add(len(attempts))
    assert lengths == {0, 1, 2, 3, 4}


def test_the_papers_examples_draw_every_right_sample_alike() -> None:
    """A question of three right samples three times as often as one of one."""
    examples, rng = PaperExamples([Samples("1+2", (("3",),), ()), Samples("2+2", (("4",),) * 3, ())]), random.Random(0)
    drawn = [parts(*examples(rng))[0] for _ in range(2000)]
    assert drawn.count("2+2") / 2000 == pytest.approx(0.75, abs=0.03)
    ours, rng = VerdictExamples([Samples("1+2", (("3",),), ()), Samples("2+2", (("4",),) * 3, ())]), random.Random(0)
    drawn = [parts(*ours(rng))[0] for _ in range(2000)]
    assert drawn.count("2+2") / 2000 == pytest.approx(0.5, abs=0.04)


def test_our_examples_show_wrong_attempts_cut_and_right_ones_whole_at_the_end() -> None:
    examples, rng = VerdictExamples([SAMPLES]), random.Random(0)
    cut = joined(tuple(cut_at_the_mistake(attempt, RIGHT) for attempt in WRONG))
    kept = 0
    for _ in range(3000):
        _, attempts, target = parts(*examples(rng))
        assert target in joined(RIGHT)
        assert len(attempts) <= 4
        assert set(attempts[:-1]) <= cut
        if attempts and attempts[-1] not in cut:
            assert attempts[-1] == target
            kept += 1
    assert kept / 3000 == pytest.approx(1 / 6, abs=0.03)


def test_half_of_our_contexts_hold_only_attempts_that_fail_at_the_same_step() -> None:
    """Ten that fail at the first step, ten at the second: four at random are alike one time in nine."""
    early = tuple((f"3*{number}-6\n", "7") for number in range(10, 20))
    late = tuple(("3*9-6\n", f"{number}-6\n", "7") for number in range(30, 40))
    examples, rng = VerdictExamples([Samples("3*(4+5)-6", RIGHT, early + late)]), random.Random(0)
    contexts = [parts(*examples(rng))[1] for _ in range(6000)]
    full = [
        {attempt.count("\n") for attempt in attempts}
        for attempts in contexts
        if len(attempts) == 4 and attempts[-1] not in joined(RIGHT)
    ]
    alike = 2 * 9 * 8 * 7 / (19 * 18 * 17) / 2
    assert np.mean([len(steps) == 1 for steps in full]) == pytest.approx(0.5 + 0.5 * alike, abs=0.05)


def test_nothing_before_the_target_is_learned() -> None:
    """In a batch of packed documents: what is learned are the targets and their end tokens, and all of them."""
    data = batch(0, 0, 3, 200, PaperExamples([SAMPLES]))
    found = 0
    for row in range(3):
        for number in range(1, int(data.documents[row].max()) + 1):
            inside = (data.documents[row] == number) & (data.targets[row] >= 0)
            *learned, last = data.targets[row][inside].tolist()
            assert last == END
            assert decode(learned) in joined(RIGHT)
            assert np.diff(np.flatnonzero(inside)).tolist() == [1] * len(learned)
            first = int(np.flatnonzero(inside)[0])
            assert data.inputs[row, first] in (END, encode("\n")[0])
            found += 1
    assert found > 3
    assert not (data.targets[data.documents == 0] >= 0).any()


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ({100: 0.5, 200: 0.3, 300: 0.4, 400: 0.5}, 300),
        ({100: 0.5, 200: 0.3, 300: 0.2}, 300),
        ({300: 0.4, 100: 0.1, 200: 0.3}, 200),
        ({100: 0.3, 200: 0.2, 300: 0.2}, 300),
        ({7: 1.0}, 7),
    ],
)
def test_the_checkpoint_taken_is_the_one_after_the_least_validation_loss(losses: dict[int, float], step: int) -> None:
    assert just_after_the_least(losses) == step


def labelled(*steps: str, right: float, count: int = 1, history: tuple[str, ...] = ()) -> LabelledSolution:
    return LabelledSolution(steps, (*[None] * (len(steps) - 1), right), -0.1, count, history)


def test_samples_are_told_apart_by_their_answers_and_count_as_often_as_drawn() -> None:
    questions = [
        LabelledQuestion("1+2", (labelled("3", right=1, count=2), labelled("4", right=0, count=3))),
        LabelledQuestion("2+2", (labelled("5", right=0),)),
    ]
    assert samples_of(questions) == [Samples("1+2", (("3",),) * 2, (("4",),) * 3)]


def test_a_tenth_of_the_questions_is_held_out() -> None:
    questions = [LabelledQuestion(str(number), ()) for number in range(25)]
    training, held_out = hold_out(questions)
    assert [question.prompt for question in held_out] == ["0", "10", "20"]
    assert sorted(training + held_out, key=lambda q: int(q.prompt)) == questions
    assert len(training) == 22


def test_a_verifier_learns_behind_the_history_and_at_the_ends_of_steps() -> None:
    solution = LabelledSolution(("3*9-6\n", "21"), (0.25, 1.0), -0.1, 1, ("3*8-6\n18", "22"))
    rows = _rows([(0, "3*(4+5)-6", solution), (1, "1+2", labelled("3", right=0.0))])
    tokens = [END, *encode("3*(4+5)-6\n3*8-6\n18"), END, *encode("22"), END, *encode("3*9-6\n21"), END]
    assert rows.tokens[0].tolist() == tokens
    marked = {place: float(rows.labels[0, place]) for place in np.flatnonzero(~rows.labels[0].isnan().numpy())}
    assert marked == {len(tokens) - 4: 0.25, len(tokens) - 1: 1.0}
    assert rows.last.tolist() == [len(tokens) - 1, len(encode("1+2\n3")) + 1]
    assert float(rows.labels[1, rows.last[1]]) == 0
    assert int((~rows.labels[1].isnan()).sum()) == 1


SMALL = load_weights(WEIGHTS_DIRECTORY / "small.safetensors").config
LABELLING = Labelling(questions=0, outcome_questions=50, solutions=4, rollouts=0, seed=1, temperature=1.2)
REVISION = RevisionRecipe(
    generator.GeneratorRecipe(replace(SMALL, context=832, attempts=4), steps=3, rows=1, time=400, warmup=1, seed=2),
    LABELLING,
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `LABELLING` makes of `small`."""
    directory = tmp_path_factory.mktemp("labels")
    label_all(LABELLING, WEIGHTS_DIRECTORY / "small.safetensors", directory, workers=1)
    return directory / "labels.jsonl"


@pytest.fixture
def started_with_labels(labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Training directories whose questions are labelled already; validation in one batch."""
    monkeypatch.setattr(revision, "_VALIDATION_BATCHES", 1)

    def start(name: str) -> Path:
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(labels, tmp_path / name)
        return tmp_path / name

    return start


def test_labels_are_kept_and_a_torn_line_is_made_anew(labels: Path, tmp_path: Path) -> None:
    whole = labels.read_bytes()
    questions = label_all(LABELLING, WEIGHTS_DIRECTORY / "small.safetensors", labels.parent, workers=1)
    assert labels.read_bytes() == whole
    assert all(question.solutions for question in questions)
    assert any(label == 0 for question in questions for one in question.solutions for label in one.labels)
    (tmp_path / "labels.jsonl").write_bytes(whole[:-100])
    assert label_all(LABELLING, WEIGHTS_DIRECTORY / "small.safetensors", tmp_path, workers=1) == questions
    assert (tmp_path / "labels.jsonl").read_bytes() == whole


@pytest.mark.parametrize("verdicts", [False, True])
def test_the_revision_recipe_runs_resumes_and_exports_a_model_that_revises(
    started_with_labels: Callable[[str], Path], verdicts: bool
) -> None:
    """Killed as the checkpoint is to be written: trained again, to the same weights."""
    training = replace(REVISION.training, network=replace(REVISION.training.network, verdicts=verdicts))
    recipe = replace(REVISION, training=training)

    class KilledError(Exception):
        pass

    def kill(step: int, measured: dict[str, float]) -> None:
        if "validation loss" in measured:
            raise KilledError

    def run(directory: Path, report: Callable[[int, dict[str, float]], None]) -> tuple[Generator, int]:
        return revision.train(recipe, WEIGHTS_DIRECTORY / "small.safetensors", directory, workers=1, report=report)

    reports: list[dict[str, float]] = []
    straight, step = run(started_with_labels("straight"), lambda step, what: reports.append(what))
    assert step == 3
    assert [list(what) for what in reports] == [["loss"], ["validation loss"]]
    halves = started_with_labels("halves")
    with pytest.raises(KilledError):
        run(halves, kill)
    assert json.loads((halves / "labels.jsonl").read_text())
    for network, found in (run(halves, ignore), run(halves, ignore)):
        assert found == step
        for one, other in zip(network.parameters(), straight.parameters(), strict=True):
            assert torch.equal(one, other)
    path = export(straight, straight.config, halves / "revision.safetensors")
    small, revised = load_weights(WEIGHTS_DIRECTORY / "small.safetensors"), load_weights(path)
    assert revised.config == training.network
    moved = [float(np.abs(tensor - small[name]).max()) for name, tensor in revised.tensors.items()]
    assert 0 < max(moved) < 0.1, "fine-tuned, not trained from nothing"
    model = EmbeddedModel("revision", EngineLoop(), path=path)
    assert model.revises
    attempts = [Attempt("0", ("3*9-6\n", "28-6\n", "22"))]
    (said,) = asyncio.run(
        model.sample("3*(4+5)-6", "", 1, stop=None, max_tokens=40, temperature=0.0, seeds=[0], attempts=attempts)
    )
    assert said.steps


def test_what_is_learned_is_the_papers_examples_or_ours(started_with_labels: Callable[[str], Path]) -> None:
    losses: dict[bool, dict[str, float]] = {True: {}, False: {}}
    for verdicts, told in losses.items():
        training = replace(REVISION.training, network=replace(REVISION.training.network, verdicts=verdicts))
        directory = started_with_labels(f"verdicts {verdicts}")
        revision.train(
            replace(REVISION, training=training),
            WEIGHTS_DIRECTORY / "small.safetensors",
            directory,
            workers=1,
            report=lambda step, what, told=told: told.update(what),  # type: ignore[misc]
        )
        held_out = samples_of(hold_out(label_all(LABELLING, WEIGHTS_DIRECTORY / "small.safetensors", directory, 1))[1])
        network = Generator(training.network)
        network.load_state_dict(torch.load(directory / "step3.pt", weights_only=True)["network"])
        examples = (VerdictExamples if verdicts else PaperExamples)(held_out)
        assert told["validation loss"] == pytest.approx(revision.validation_loss(network, training, examples))
    assert losses[True]["loss"] != losses[False]["loss"]


def test_the_checkpoint_exported_is_not_the_last_but_the_one_after_the_least_loss(
    started_with_labels: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.2, 0.9, 1.0, 1.1])
    monkeypatch.setattr(revision, "validation_loss", lambda *what: next(losses))
    monkeypatch.setattr(
        revision, "train_generator", lambda *what, **kept: generator.train(*what, **kept, checkpoint_every=1)
    )
    directory = started_with_labels("turning")
    recipe = replace(REVISION, training=replace(REVISION.training, steps=4))
    network, step = revision.train(recipe, WEIGHTS_DIRECTORY / "small.safetensors", directory, workers=1, report=ignore)
    assert step == 2
    held = torch.load(directory / "step2.pt", weights_only=True)["network"]
    last = torch.load(directory / "step4.pt", weights_only=True)["network"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, held[name])
    assert not torch.equal(held["embedding.weight"], last["embedding.weight"])
    assert json.loads((directory / "validation.json").read_text()) == {"1": 0.2, "2": 0.9, "3": 1.0, "4": 1.1}


def test_the_orm_recipe_runs_resumes_and_exports_a_verifier_that_reads_history(
    started_with_labels: Callable[[str], Path], tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for source, name in (("small", "small"), ("prm", "prm"), ("revision_paper", "revision")):
        shutil.copy(WEIGHTS_DIRECTORY / f"{source}.safetensors", shipped / f"{name}.safetensors")
    recipe = revision.ORMRecipe(
        samples=LABELLING,
        trunk=replace(REVISION.training, steps=1, seed=3),
        questions=50,
        chains=Revisions(chain_length=2, chains=2),
        head=VerifierRecipe(steps=3, problems_a_batch=4, warmup=1, evaluate_every=3),
    )
    started_with_labels("orm/trunk")
    directory = tmp_path / "orm"
    reports: list[dict[str, float]] = []

    def run() -> tuple[PRM, int, list[LabelledQuestion]]:
        return revision.train_orm(recipe, shipped, directory, workers=1, report=lambda step, what: reports.append(what))

    network, step, held_out = run()
    assert step == 3
    assert {"auroc_within", "auroc_pooled", "brier"} <= reports[-1].keys()
    solutions = [solution for question in held_out for solution in question.solutions]
    assert {len(solution.history) for solution in solutions} == {0, 1}
    assert all(set(solution.labels) in ({0.0}, {1.0}) for solution in solutions)
    count, kept = len(reports), (directory / "labels.jsonl").read_bytes()
    again, _, same = run()
    assert (len(reports), same) == (count, held_out)
    assert (directory / "labels.jsonl").read_bytes() == kept
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    before = load_weights(shipped / "prm.safetensors")
    after = load_weights(export(network, network.config, tmp_path / "orm.safetensors"))
    assert after.config == replace(before.config, context=832, attempts=4)
    for part in ("embedding.weight", "head.weight"):
        assert not np.array_equal(after[part], before[part])
    trunk = torch.load(directory / "trunk" / "checkpoint.pt", weights_only=True)["network"]
    samples = samples_of(label_all(LABELLING, shipped / "small.safetensors", directory / "trunk", workers=1))
    straight = generator.train(
        recipe.trunk,
        tmp_path / "straight",
        start={name: torch.from_numpy(before[name]) for name in trunk},
        documents=PaperExamples(samples),
        report=ignore,
    )
    for name, tensor in straight.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), "trained behind attempts, then frozen"
    reads_history(EmbeddedORM(EngineLoop(), path=tmp_path / "orm.safetensors"), network)


def reads_history(verifier: EmbeddedORM, network: PRM) -> None:
    """NumPy, given a candidate with a history, agrees with PyTorch, given the tokens."""
    steps, shown = ("3*9-6\n", "27-6\n", "21"), Attempt("0", ("3*9-6\n", "22"))
    history = [*prompt_tokens("3*(4+5)-6"), *encode(shown.text), END]
    tokens = [*history, *encode("".join(steps)), END]
    mask = torch.ones(1, 1, len(tokens), len(tokens), dtype=torch.bool).tril()
    with torch.no_grad():
        theirs = network(torch.tensor([tokens]), torch.arange(len(tokens))[None], mask).sigmoid()[0, -1].item()
    parts = tuple(Step(step, len(step), 0.0) for step in steps)
    ours = [
        asyncio.run(verifier.score(Problem("p", "3*(4+5)-6"), [Candidate("0.0", "0", parts, (), "stop", history)]))
        for history in ((shown,), ())
    ]
    assert ours[0][0][0][-1] == pytest.approx(theirs, abs=2e-3)
    assert ours[1][0][0][-1] != pytest.approx(theirs, abs=1e-5)
