"""What the retriever trains on, that its gradients are right, and what it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from tiny_encoders import WORDS, tiny_static, tiny_transformer

from distill.records import RetrieverReport, ScoreList
from distill.retriever.lists import (
    DEFAULTS,
    RetrieverConfig,
    Training,
    TrainingList,
    lists_in_a_step,
    spread,
    training_lists,
)
from distill.retriever.loop import ListBatches, ListCollator
from distill.retriever.losses import ListKLDivLoss, ListTargets
from distill.retriever.training import train_retriever
from distill.trainer import DivergedError
from indexes.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
TEXTS = {word: f"the {word} is about {word}" for word in WORDS[:10]}


def record(n: int) -> ScoreList:
    return ScoreList(
        id="q", question="q", passages=tuple(f"p{i}" for i in range(n)), scores=tuple(float(i) for i in range(n))
    )


def records(n: int = 60) -> list[ScoreList]:
    """Words come in pairs; asked for one, the teacher wants the passage of the other. Lists of three lengths."""
    words = sorted(TEXTS)
    asked, paired = words[::2], words[1::2]
    return [
        ScoreList(
            id="q",
            question=f"what is {asked[i % 5]} question {'the ' * (i % 3)}",
            passages=tuple([paired[(i + step) % 5] for step in range(4)][: 2 + i % 3]),
            scores=tuple([6.0, 0.0, 0.0, 0.0][: 2 + i % 3]),
        )
        for i in range(n)
    ]


def settings(**changes: object) -> RetrieverConfig:
    quick = RetrieverConfig(n_epochs=10, learning_rate=1e-2, static_learning_rate=0.1, batch_size=8)
    return replace(quick, **changes)  # type: ignore[arg-type]


def fit(
    model: SentenceTransformer, tmp_path: Path, config: RetrieverConfig, lists: Sequence[ScoreList] = ()
) -> tuple[SentenceTransformer, RetrieverReport]:
    job = Training(config=config, checkpoints=tmp_path / "ck", seed=3, on_progress=lambda done, total: None)
    return train_retriever(model, lists or records(), TEXTS, job)


def share_right(model: SentenceTransformer) -> float:
    """Of the questions, how many prefer the teacher's passage to the second one of their list."""
    rows = records()
    questions = model.encode_query([row.question for row in rows], normalize_embeddings=True)
    first, second = (
        model.encode_document([TEXTS[row.passages[place]] for row in rows], normalize_embeddings=True)
        for place in (0, 1)
    )
    return float(np.mean((questions * first).sum(1) > (questions * second).sum(1)))


def test_a_long_list_keeps_its_best_and_its_worst_and_even_steps_between() -> None:
    assert spread(record(9), 5).passages == ("p8", "p6", "p4", "p2", "p0")
    assert spread(record(9), 5).scores == (8.0, 6.0, 4.0, 2.0, 0.0)
    assert spread(record(3), 5).passages == ("p2", "p1", "p0")
    assert spread(record(3), 1).passages == ("p2",)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_training_prefers_what_the_targets_prefer_and_leaves_a_plain_folder(
    tmp_path: Path, kind: str, in_batch: bool
) -> None:
    model = tiny_static() if kind == "static" else tiny_transformer(tmp_path)
    before, length = share_right(model), model.max_seq_length
    names = set(model.state_dict())
    trained, report = fit(model, tmp_path, settings(in_batch_negatives=in_batch))
    assert before < 0.9
    assert (report.n_train, report.lists_in_a_step, report.n_steps, report.notes) == (60, 6, 100, ())
    assert report.loss_at_last < report.loss_at_first / 2
    trained.save_pretrained(str(tmp_path / "taught"), create_model_card=False)
    anyone = SentenceTransformer(str(tmp_path / "taught"), device="cpu")
    assert share_right(anyone) > 0.9
    assert anyone.max_seq_length == length
    assert set(anyone.state_dict()) == names


def test_questions_with_one_passage_each_learn_from_the_others(tmp_path: Path) -> None:
    ones = [replace(row, passages=row.passages[:1], scores=(0.0,)) for row in records()]
    trained, report = fit(tiny_transformer(tmp_path), tmp_path, settings(), ones)
    assert report.loss_at_last < report.loss_at_first / 2
    assert share_right(trained) > 0.9


def test_the_report_says_the_loss_of_a_training_of_few_steps(tmp_path: Path) -> None:
    _, report = fit(tiny_transformer(tmp_path), tmp_path, settings(n_epochs=1), records(12))
    assert report.n_steps == 2
    assert math.isfinite(report.loss_at_first)
    assert math.isfinite(report.loss_at_last)


def test_a_loss_that_is_no_number_ends_training_with_an_error(tmp_path: Path) -> None:
    model = tiny_transformer(tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        fit(model, tmp_path, settings(learning_rate=float("inf")), records(24))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ([], "at least one question"),
        ([ScoreList(id="q", question="q", passages=(), scores=())] * 9, "at least one question"),
        ([replace(row, weight=0.0) for row in records(9)], "at least one question"),
        ([replace(row, weight=-1.0) for row in records(9)], "a weight at least 0"),
        ([ScoreList(id="q", question="q", passages=("cats", "dogs"), scores=(1.0, float("nan")))] * 3, "finite"),
        ([ScoreList(id="q", question="q", passages=("cats", "gone"), scores=(1.0, 0.0))] * 3, "has changed"),
    ],
)
def test_lists_that_cannot_teach_are_said(tmp_path: Path, lists: list[ScoreList], said: str) -> None:
    with pytest.raises(InputError, match=said):
        job = Training(config=settings(), checkpoints=tmp_path, seed=3, on_progress=lambda done, total: None)
        train_retriever(tiny_static(), lists, TEXTS, job)


def test_a_list_of_no_weight_does_not_train_and_weights_keep_their_ratio() -> None:
    rows = [replace(records(2)[0], weight=0.0), replace(records(2)[1], weight=0.5), replace(records(2)[0], weight=1.0)]
    lists = training_lists(rows, TEXTS, 4)
    assert [each.weight for each in lists] == [0.5, 1.0]
    targets = ListTargets(lists, dict.fromkeys(TEXTS, 0), student_temperature=1.0)
    assert targets.weights.tolist() == pytest.approx([2 / 3, 4 / 3])


@given(st.integers(2, 400), st.integers(1, 64), st.sampled_from([1, 2, 4]))
def test_steps_are_whole_shared_evenly_and_leave_few_lists_out(n_lists: int, wanted: int, n_processes: int) -> None:
    if n_lists < n_processes:
        with pytest.raises(InputError, match="fewer processes"):
            lists_in_a_step(n_lists, wanted, n_processes)
        return
    size = lists_in_a_step(n_lists, wanted, n_processes)
    assert 1 <= size <= max(wanted, n_processes)
    assert size % n_processes == 0
    if wanted >= 16 and n_lists >= 64:
        assert n_lists % size <= max(0.16 * n_lists, 0)
        assert size == lists_in_a_step(n_lists, wanted, 1)


@given(st.integers(1, 60), st.sampled_from([1, 2, 4]), st.booleans())
def test_batches_of_any_size_are_the_same_steps(n_lists: int, n_batches: int, by_length: bool) -> None:
    step = lists_in_a_step(max(n_lists, n_batches), 8, n_batches)
    n = max(n_lists, n_batches)
    lengths = [(7 * number) % 13 for number in range(n)] if by_length else []

    def steps(batch_size: int, epoch: int) -> list[list[int]]:
        batches = ListBatches(n, batch_size=batch_size, lists_in_a_step=step, seed=5, lengths=lengths)
        batches.set_epoch(epoch)
        flat = [number for batch in batches for number in batch]
        assert len(list(batches)) == len(batches)
        return [flat[first : first + step] for first in range(0, len(flat), step)]

    whole = steps(step, 1)
    assert steps(step // n_batches, 1) == whole
    flat = [number for each in whole for number in each]
    assert len(set(flat)) == len(flat) == n // step * step
    assert n < 20 or steps(step, 2) != whole


def batch_of(
    model: SentenceTransformer,
    *,
    in_batch: bool,
    passages_at_once: int = 8,
    rows: list[TrainingList] | None = None,
    texts: Mapping[str, str] = TEXTS,
) -> torch.Tensor:
    """The loss of a batch of lists, with gradients; the i-th list has the weight 1 + i."""
    own = [TrainingList(question=r.question, passages=r.passages, scores=r.scores) for r in records(5)]
    lists = [replace(each, weight=1.0 + i) for i, each in enumerate(rows or own)]
    distinct = list(dict.fromkeys(texts.values()))
    numbers = {passage: distinct.index(text) for passage, text in texts.items()}
    targets = ListTargets(lists, numbers, student_temperature=0.1)
    loss = ListKLDivLoss(model, targets, in_batch_negatives=in_batch, passages_at_once=passages_at_once)
    collator = ListCollator(
        preprocess_fn=model.preprocess,
        rows=[[numbers[passage] for passage in each.passages] for each in lists],
        texts=distinct,
    )
    batch = collator([{"question": each.question, "label": place} for place, each in enumerate(lists)])
    features = [
        {key.removeprefix(f"{column}_"): value for key, value in batch.items() if key.startswith(f"{column}_")}
        for column in ("question", "passage")
    ]
    return loss(features, batch["label"])  # type: ignore[no-any-return]


def gradients_of(model: SentenceTransformer, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_passages_some_at_a_time_give_the_same_loss(tmp_path: Path, in_batch: bool, at_once: int) -> None:
    model = tiny_transformer(tmp_path, dropout=0.0).double().train()
    together, apart = (batch_of(model, in_batch=in_batch, passages_at_once=size) for size in (100, at_once))
    assert apart.item() == pytest.approx(together.item(), abs=1e-6)
    gradients = [gradients_of(model, loss) for loss in (together, apart)]
    assert float(gradients[0].abs().max()) > 1e-2
    assert torch.allclose(*gradients, atol=1e-5)


APART = [
    TrainingList(question="what cats", passages=("cats", "dogs"), scores=(0.0, -1.0)),
    TrainingList(question="what mars", passages=("mars", "moons", "cats"), scores=(2.0, 2.0, 0.0)),
]


@pytest.mark.parametrize(
    ("in_batch", "others"), [(False, ([], [])), (True, (["mars", "moons"], ["dogs"]))], ids=["own", "in batch"]
)
def test_the_loss_is_the_divergence_that_one_works_out_by_hand(
    tmp_path: Path, in_batch: bool, others: tuple[list[str], list[str]]
) -> None:
    model = tiny_transformer(tmp_path, dropout=0.0).eval()
    expected = []
    for row, beside in zip(APART, others, strict=True):
        question = model.encode_query(row.question, normalize_embeddings=True)
        found = model.encode_document([TEXTS[p] for p in [*row.passages, *beside]], normalize_embeddings=True)
        student = np.exp(found @ question / 0.1)
        teacher = np.exp(row.scores)
        shares = teacher / teacher.sum()
        own = student[: len(shares)] / student.sum()
        expected.append(float((shares * np.log(shares / own)).sum()))
    weighted = (expected[0] * 1 + expected[1] * 2) / 3  # the weights 1 and 2, by their mean; the mean of two lists
    assert batch_of(model, in_batch=in_batch, rows=APART).item() == pytest.approx(weighted, abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ([APART[0], replace(APART[0], question="who dogs", passages=("dogs", "cats"))], TEXTS),
        (APART[:1], TEXTS),
        ([replace(APART[0], apart=("mars", "moons", "gone")), replace(APART[1], apart=("dogs",))], TEXTS),
        (
            [APART[0], replace(APART[0], question="who mars", passages=("mars", "moons"))],
            TEXTS | {"mars": TEXTS["cats"], "moons": TEXTS["dogs"]},
        ),
    ],
    ids=["the same passages", "one list", "passages cut from the list", "the same texts under other names"],
)
def test_a_question_is_never_pushed_from_its_own_passages(
    tmp_path: Path, rows: list[TrainingList], texts: Mapping[str, str]
) -> None:
    model = tiny_transformer(tmp_path, dropout=0.0).eval()
    without, with_others = (batch_of(model, in_batch=in_batch, rows=rows, texts=texts) for in_batch in (False, True))
    assert with_others.item() == pytest.approx(without.item(), abs=1e-6)
    assert torch.allclose(gradients_of(model, without), gradients_of(model, with_others), atol=1e-5)


def test_activations_computed_again_instead_of_kept_change_no_weight(tmp_path: Path) -> None:
    """Nor what dropout draws."""
    trained = []
    for most in (1500, 0):
        model = tiny_transformer(tmp_path, dropout=0.1)
        config = settings(n_epochs=1, most_activations_mb=most, half_precision=False)
        was_on: list[bool] = []

        def on_progress(done: int, total: int, model: SentenceTransformer = model, was_on: list[bool] = was_on) -> None:
            was_on.append(bool(model.transformers_model and model.transformers_model.is_activation_checkpointing))

        job = Training(config=config, checkpoints=tmp_path / str(most), seed=3, on_progress=on_progress)
        start = model.state_dict()["0.model.embeddings.word_embeddings.weight"].clone()
        train_retriever(model, records(), TEXTS, job)
        assert set(was_on) == {most == 0}
        trained.append(model.state_dict())
        assert not torch.allclose(trained[-1]["0.model.embeddings.word_embeddings.weight"], start, atol=1e-3)
    assert all(torch.allclose(tensor, trained[1][key], atol=1e-4) for key, tensor in trained[0].items())


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_smaller_batch_for_want_of_memory_gives_the_same_weights(tmp_path: Path, in_batch: bool) -> None:
    """Half a batch has half the negatives: where they count, the step stays whole and keeps less of it at a time."""
    config = settings(n_epochs=2, in_batch_negatives=in_batch, half_precision=False)
    weights = []
    for name, errors in (
        ("enough", []),
        ("scarce", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")] * 2),
    ):
        model = tiny_transformer(tmp_path, dropout=0.0)
        waiting = list(errors)

        def on_progress(done: int, total: int, waiting: list[Exception] = waiting) -> None:
            if waiting:
                raise waiting.pop()

        job = Training(config=config, checkpoints=tmp_path / name, seed=3, on_progress=on_progress)
        trained, report = train_retriever(model, records(), TEXTS, job)
        assert report.n_steps == 20
        assert [note.rpartition(" ")[2] for note in report.notes] == (["3.", "1."] if errors else [])
        weights.append(trained.state_dict())
    assert all(torch.allclose(tensor, weights[1][key], atol=1e-4) for key, tensor in weights[0].items())


def test_a_tracker_gets_the_losses_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    job = Training(
        config=settings(n_epochs=1),
        checkpoints=tmp_path / "ck",
        seed=3,
        on_progress=lambda done, total: None,
        report_to="tensorboard",
    )
    train_retriever(tiny_static(), records(), TEXTS, job)
    assert list((tmp_path / "ck").rglob("events.out.tfevents*"))


def test_a_tracker_that_is_not_there_is_said_before_training(tmp_path: Path) -> None:
    job = Training(
        config=settings(),
        checkpoints=tmp_path / "ck",
        seed=3,
        on_progress=lambda done, total: None,
        report_to="no_such_tracker",
    )
    with pytest.raises(InputError, match="pip install no_such_tracker"):
        train_retriever(tiny_static(), records(), TEXTS, job)


def test_each_way_to_train_has_defaults_of_its_own() -> None:
    assert {name: config.train for name, config in DEFAULTS.items()} == {"both": "both", "query": "query"}
