"""What the retriever trains on, that its gradients are right, and what it leaves."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from tiny_encoders import WORDS, tiny_static, tiny_transformer

from distill.jsonl import Record
from distill.retriever.list_batches import ListBatches, ListCollator
from distill.retriever.list_losses import ListKLDivLoss, ListTargets
from distill.retriever.retriever import train_retriever
from distill.retriever.settings import DEFAULTS, RetrieverConfig, RetrieverReport, Training
from distill.retriever.training_lists import TrainingList, hold_out, lists_in_a_step, spread, training_lists
from indexes.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
TEXTS = {word: f"the {word} is about {word}" for word in WORDS[:10]}


def record(n: int) -> Record:
    return {"question": "q", "passages": [f"p{i}" for i in range(n)], "scores": [float(i) for i in range(n)]}


def records(n: int = 60) -> list[Record]:
    """Words come in pairs; asked for one, the teacher wants the passage of the other. Lists of three lengths."""
    words = sorted(TEXTS)
    asked, paired = words[::2], words[1::2]
    return [
        {
            "question": f"what is {asked[i % 5]} question {'the ' * (i % 3)}",
            "passages": [paired[(i + step) % 5] for step in range(4)][: 2 + i % 3],
            "scores": [6.0, 0.0, 0.0, 0.0][: 2 + i % 3],
        }
        for i in range(n)
    ]


def settings(train: str, **changes: object) -> RetrieverConfig:
    quick = RetrieverConfig(n_epochs=10, learning_rate=1e-2, static_learning_rate=0.1, batch_size=8, patience=10)
    return replace(quick, train=train, **changes)  # type: ignore[arg-type]


def fit(
    model: SentenceTransformer, tmp_path: Path, config: RetrieverConfig, lists: Sequence[Record] = ()
) -> tuple[SentenceTransformer, RetrieverReport]:
    job = Training(config=config, checkpoints=tmp_path / "ck", seed=3, on_progress=lambda done, total: None)
    return train_retriever(model, lists or records(), TEXTS, job)


def share_right(model: SentenceTransformer) -> float:
    """Of the questions, how many prefer the teacher's passage to the second one of their list."""
    rows = records()
    questions = model.encode_query([row["question"] for row in rows], normalize_embeddings=True)
    first, second = (
        model.encode_document([TEXTS[row["passages"][place]] for row in rows], normalize_embeddings=True)
        for place in (0, 1)
    )
    return float(np.mean((questions * first).sum(1) > (questions * second).sum(1)))


def test_a_long_list_keeps_its_best_and_its_worst_and_even_steps_between() -> None:
    assert spread(record(9), 5)["passages"] == ["p8", "p6", "p4", "p2", "p0"]
    assert spread(record(9), 5)["scores"] == [8.0, 6.0, 4.0, 2.0, 0.0]
    assert spread(record(3), 5)["passages"] == ["p2", "p1", "p0"]
    assert spread(record(3), 1)["passages"] == ["p2"]


@pytest.mark.parametrize("kind", ["full", "lora", "static"])
def test_training_prefers_what_the_teacher_prefers_and_leaves_a_plain_folder(tmp_path: Path, kind: str) -> None:
    if kind == "lora":
        pytest.importorskip("peft")
    model = tiny_static() if kind == "static" else tiny_transformer(tmp_path)
    before, length = share_right(model), model.max_seq_length
    names = set(model.state_dict())
    trained, report = fit(model, tmp_path, settings("lora" if kind == "lora" else "full"))
    assert report.divergence_after < report.divergence_before
    assert report.best_step > 0
    trained.save_pretrained(str(tmp_path / "taught"), create_model_card=False)
    anyone = SentenceTransformer(str(tmp_path / "taught"), device="cpu")
    assert share_right(anyone) > (before + 0.1 if kind == "lora" else max(before, 0.9))
    assert anyone.max_seq_length == length
    assert set(anyone.state_dict()) == names
    assert not list((tmp_path / "taught").rglob("adapter*"))


def test_the_margin_objective_learns_too(tmp_path: Path) -> None:
    _, report = fit(
        tiny_transformer(tmp_path), tmp_path, settings("full", objective="margin-mse", teacher_temperature=2.0)
    )
    assert report.divergence_after < report.divergence_before / 2


def test_a_training_that_helps_nothing_changes_nothing(tmp_path: Path) -> None:
    """An encoder that moved away from its teacher would be worse than its base. Here the teacher is the base itself."""
    model = tiny_transformer(tmp_path)
    start = copy.deepcopy(model.state_dict())
    config = settings("full", n_epochs=1)
    lists = []
    for row in records():
        question = model.encode_query(row["question"], normalize_embeddings=True)
        passages = model.encode_document([TEXTS[word] for word in row["passages"]], normalize_embeddings=True)
        lists.append(row | {"scores": (passages @ question / config.student_temperature).tolist()})
    trained, report = fit(model, tmp_path, config, lists)
    assert (report.best_step, report.divergence_after) == (0, report.divergence_before)
    assert any("nothing changed" in note for note in report.notes)
    assert all(torch.equal(tensor, start[name]) for name, tensor in trained.state_dict().items())


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (records(1), "at least two questions"),
        ([{"question": "q", "passages": ["cats"], "scores": [1.0]}] * 9, "at least two questions"),
        ([row | {"weight": 0.0} for row in records(9)], "at least two questions"),
        ([{"question": "q", "passages": ["cats", "dogs"], "scores": [1.0, float("nan")]}] * 3, "finite"),
        ([{"question": "q", "passages": ["cats", "gone"], "scores": [1.0, 0.0]}] * 3, "has changed"),
    ],
)
def test_lists_that_cannot_teach_are_said(tmp_path: Path, lists: list[Record], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit(tiny_static(), tmp_path, settings("full"), lists)


def test_a_list_of_no_weight_does_not_train_and_weights_keep_their_ratio() -> None:
    rows = [records(2)[0] | {"weight": 0.0}, records(2)[1] | {"weight": 0.5}, records(2)[0] | {"weight": 1.0}]
    lists = training_lists(rows, TEXTS, 4)
    assert [each.weight for each in lists] == [0.5, 1.0]
    targets = ListTargets(lists, dict.fromkeys(TEXTS, 0), n_train=2, student_temperature=1, teacher_temperature=1)
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
    model: SentenceTransformer, *, in_batch: bool, cached: bool, size: int, rows: list[Record] | None = None
) -> torch.Tensor:
    """The loss of a batch of lists, with gradients."""
    lists = [
        TrainingList(question=r["question"], passages=tuple(r["passages"]), scores=tuple(r["scores"]), weight=1.0 + i)
        for i, r in enumerate(rows or records(5))
    ]
    numbers = {word: number for number, word in enumerate(sorted(TEXTS))}
    targets = ListTargets(lists, numbers, n_train=len(lists), student_temperature=0.1, teacher_temperature=1.0)
    loss = ListKLDivLoss(model, targets, in_batch_negatives=in_batch, mini_batch_size=size, cached=cached)
    collator = ListCollator(
        preprocess_fn=model.preprocess,
        rows=[[numbers[passage] for passage in each.passages] for each in lists],
        texts=[TEXTS[word] for word in sorted(TEXTS)],
    )
    batch = collator([{"question": each.question, "label": place} for place, each in enumerate(lists)])
    features = [
        {key.removeprefix(f"{column}_"): value for key, value in batch.items() if key.startswith(f"{column}_")}
        for column in ("question", "passage")
    ]
    return loss(features, batch["label"])  # type: ignore[no-any-return]


@pytest.mark.parametrize("in_batch", [False, True])
def test_cached_gradients_equal_the_uncached(tmp_path: Path, in_batch: bool) -> None:
    gradients = []
    for cached in (False, True):
        model = tiny_transformer(tmp_path / str(cached), dropout=0.1).double().train()
        torch.manual_seed(4)
        batch_of(model, in_batch=in_batch, cached=cached, size=3).backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, through_cache = gradients
    assert set(plain) == set(through_cache)
    assert max(float(gradient.abs().max()) for gradient in plain.values()) > 1e-2
    for name, gradient in plain.items():
        assert torch.allclose(gradient, through_cache[name], atol=1e-5), name


def test_a_question_is_pushed_from_others_passages_only_with_in_batch_negatives_and_never_from_its_own(
    tmp_path: Path,
) -> None:
    model = tiny_transformer(tmp_path, dropout=0.0).eval()
    apart = [
        {"question": "what cats", "passages": ["cats", "dogs"], "scores": [1.0, 0.0]},
        {"question": "what mars", "passages": ["mars", "moons"], "scores": [1.0, 0.0]},
    ]
    same = [apart[0], apart[0] | {"question": "who dogs", "passages": ["dogs", "cats"]}]

    def loss(rows: list[Record], in_batch: bool) -> float:
        return batch_of(model, in_batch=in_batch, cached=False, size=8, rows=rows).item()

    assert loss(apart, True) > loss(apart, False) + 0.1
    assert loss(same, True) == pytest.approx(loss(same, False), abs=1e-6)


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_smaller_batch_for_want_of_memory_gives_the_same_weights(tmp_path: Path, in_batch: bool) -> None:
    """Half a batch has half the negatives: where they count, the step stays whole and its gradients are cached."""
    config = settings("full", n_epochs=2, in_batch_negatives=in_batch, half_precision=False)
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
        assert report.best_step > 0
        assert [note.rpartition(" ")[2] for note in report.notes] == (["4.", "2."] if errors else [])
        weights.append(trained.state_dict())
    assert all(torch.allclose(tensor, weights[1][key], atol=1e-4) for key, tensor in weights[0].items())


def test_held_out_lists_never_train() -> None:
    lists = [TrainingList(question=str(n), passages=("a", "b"), scores=(1.0, 0.0)) for n in range(50)]
    train, held_out = hold_out(lists, 100, seed=1)
    assert (len(train), len(held_out)) == (42, 8)
    assert {each.question for each in train} | {each.question for each in held_out} == {str(n) for n in range(50)}
    assert len(hold_out(lists, 3, seed=1)[1]) == 3
    assert hold_out(lists, 100, seed=1)[1] == held_out != hold_out(lists, 100, seed=2)[1]


def test_lora_without_its_package_or_a_transformer_is_said(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="a transformer"):
        fit(tiny_static(), tmp_path, settings("lora"))


def test_a_tracker_gets_the_losses_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    job = Training(
        config=settings("full", n_epochs=1),
        checkpoints=tmp_path / "ck",
        seed=3,
        on_progress=lambda done, total: None,
        report_to="tensorboard",
    )
    train_retriever(tiny_static(), records(), TEXTS, job)
    assert list((tmp_path / "ck").rglob("events.out.tfevents*"))


def test_a_tracker_that_is_not_there_is_said_before_training(tmp_path: Path) -> None:
    job = Training(
        config=settings("full"),
        checkpoints=tmp_path / "ck",
        seed=3,
        on_progress=lambda done, total: None,
        report_to="no_such_tracker",
    )
    with pytest.raises(InputError, match="pip install no_such_tracker"):
        train_retriever(tiny_static(), records(), TEXTS, job)


def test_each_way_to_train_has_defaults_of_its_own() -> None:
    assert {name: config.train for name, config in DEFAULTS.items()} == {
        name: name for name in ("full", "query", "lora")
    }
