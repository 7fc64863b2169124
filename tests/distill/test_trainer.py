"""Training survives a full memory, a loss that is no number and being killed, and says what it did about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from tiny_encoders import WORDS, tiny_transformer
from torch import Tensor, nn

from distill.trainer import (
    LOSSES_FILE,
    DivergedError,
    MakeTrainer,
    MemoryExhaustedError,
    ProgressCallback,
    last_checkpoint,
    quiet_trainer,
    split_held_out,
    train_with_smaller_batches,
    trainer_options,
)
from indexes.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
N_LISTS, BATCH = 10, 4
STEPS_AN_EPOCH = 3


class PullApart(nn.Module):
    """Pushes questions and passages apart; `disturb` sees the size of each training batch and scales the loss."""

    def __init__(self, model: SentenceTransformer, disturb: Callable[[int], float]) -> None:
        super().__init__()
        self.model = model
        self._disturb = disturb

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        question, passage = (self.model(f)["sentence_embedding"] for f in features)
        factor = self._disturb(len(question)) if self.model.training else 1.0
        return factor * torch.cosine_similarity(question, passage).mean()


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    """Without dropout: batches of other sizes give the same steps."""
    model = tiny_transformer(tmp_path / "tiny", dropout=0.0)
    model.model_card_data.generate_widget_examples = False
    return model


def trainers(
    model: SentenceTransformer,
    folder: Path,
    *,
    disturb: Callable[[int], float] = lambda n: 1.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    n_epochs: int = 2,
) -> MakeTrainer:
    def make(batch_size: int, n_batches: int) -> Any:
        lists = Dataset.from_dict(
            {
                "question": [f"what is {WORDS[n]} question" for n in range(N_LISTS)],
                "passage": [f"the {WORDS[n]} of {WORDS[n // 2]}" for n in range(N_LISTS)],
                "label": [0.0] * N_LISTS,
            }
        )
        arguments = SentenceTransformerTrainingArguments(
            num_train_epochs=n_epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=n_batches,
            **trainer_options(folder, seed=1, device="cpu") | {"bf16": False},
        )
        return quiet_trainer(
            SentenceTransformerTrainer(
                model=model,
                args=arguments,
                train_dataset=lists,
                loss=PullApart(model, disturb),
                callbacks=[ProgressCallback(on_progress)],
            )
        )

    return make


def weights(model: SentenceTransformer) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


def no_memory_for(n: int) -> Callable[[int], float]:
    def disturb(batch: int) -> float:
        if batch >= n:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return 1.0

    return disturb


def test_out_of_memory_halves_the_batch_and_gives_the_result_of_the_whole_one(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen: list[int] = []
    roomy = trainers(model, tmp_path / "roomy", on_progress=lambda done, total: seen.append(total))
    assert train_with_smaller_batches(roomy, batch_size=BATCH, checkpoints=tmp_path / "roomy") == ()
    assert seen == [2 * STEPS_AN_EPOCH] * 2 * STEPS_AN_EPOCH
    whole = weights(model)

    model.load_state_dict(start)
    before = weights(model)
    tight = trainers(model, tmp_path / "tight", disturb=no_memory_for(3))
    notes = train_with_smaller_batches(tight, batch_size=BATCH, checkpoints=tmp_path / "tight")
    assert len(notes) == 1
    assert "4 questions in a batch and went on with 2" in notes[0]
    assert (whole - before).abs().max() > 1e-3
    assert torch.allclose(weights(model), whole, atol=2e-4)


def test_a_batch_of_one_that_does_not_fit_is_an_error_with_a_remedy(model: SentenceTransformer, tmp_path: Path) -> None:
    tiny = trainers(model, tmp_path, disturb=no_memory_for(1))
    with pytest.raises(MemoryExhaustedError, match="fewer candidates"):
        train_with_smaller_batches(tiny, batch_size=BATCH, checkpoints=tmp_path)


def test_another_error_is_not_taken_for_a_full_memory(model: SentenceTransformer, tmp_path: Path) -> None:
    calls = []

    def disturb(batch: int) -> float:
        calls.append(batch)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        train_with_smaller_batches(trainers(model, tmp_path, disturb=disturb), batch_size=BATCH, checkpoints=tmp_path)
    assert calls == [BATCH]


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(model: SentenceTransformer, tmp_path: Path) -> None:
    steps: list[int] = []

    def disturb(batch: int) -> float:
        steps.append(batch)
        return float("nan") if len(steps) == STEPS_AN_EPOCH + 1 else 1.0

    notes = train_with_smaller_batches(
        trainers(model, tmp_path, disturb=disturb), batch_size=BATCH, checkpoints=tmp_path
    )
    assert "stopped early" in notes[0]
    assert f"checkpoint-{STEPS_AN_EPOCH}" in notes[0]
    good = last_checkpoint(tmp_path)
    assert good is not None
    assert good.endswith(f"checkpoint-{STEPS_AN_EPOCH}")  # none was written after it
    assert torch.isfinite(weights(model)).all()
    assert torch.allclose(weights(model), weights(SentenceTransformer(good)))


def test_a_loss_that_is_never_a_number_is_an_error_and_leaves_the_weights_as_they_came(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    before = weights(model)
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        train_with_smaller_batches(
            trainers(model, tmp_path, disturb=lambda n: float("nan")), batch_size=BATCH, checkpoints=tmp_path
        )
    assert torch.equal(weights(model), before)
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("killed_at", [2, 5])
def test_a_killed_training_ends_where_one_that_ran_through_ends(
    model: SentenceTransformer, tmp_path: Path, killed_at: int
) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == killed_at:
            raise KilledError

    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    through = tmp_path / "through"
    train_with_smaller_batches(trainers(model, through), batch_size=BATCH, checkpoints=through)
    expected = weights(model)

    model.load_state_dict(start)
    twice = tmp_path / "twice"
    with pytest.raises(KilledError):
        train_with_smaller_batches(trainers(model, twice, on_progress=kill), batch_size=BATCH, checkpoints=twice)
    model.load_state_dict(start)
    train_with_smaller_batches(trainers(model, twice), batch_size=BATCH, checkpoints=twice)
    assert torch.equal(weights(model), expected)


def test_a_checkpoint_that_was_cut_off_while_it_was_written_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((3, "{}"), (6, '{"epo'), (9, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")


def test_what_trains_and_what_is_held_out_add_up() -> None:
    for n in range(50):
        n_train, n_held_out = split_held_out(n)
        assert n_train + n_held_out == n
        assert n_train >= n_held_out
    assert split_held_out(2) == (1, 1)
    assert split_held_out(60) == (50, 10)


def test_a_tracker_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pip install no_such_tracker"):
        trainer_options(tmp_path, seed=1, device="cpu", report_to="no_such_tracker")
    assert trainer_options(tmp_path, seed=1, device="cpu")["report_to"] == "none"


def test_losses_are_written_down_even_of_a_training_of_few_steps(model: SentenceTransformer, tmp_path: Path) -> None:
    train_with_smaller_batches(trainers(model, tmp_path), batch_size=BATCH, checkpoints=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / LOSSES_FILE).read_text().splitlines()]
    assert [(line["step"], line["steps"]) for line in lines] == [(3, 6), (6, 6)]
    assert lines[1]["loss"] < lines[0]["loss"]
