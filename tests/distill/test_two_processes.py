"""Several processes, or one that was killed and began again, end with the weights of one that ran through."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import small_training
import torch
from forked import run_forked
from sentence_transformers import SentenceTransformer
from tiny_encoders import tiny_transformer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return SentenceTransformer(str(folder), device="cpu").state_dict()


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert set(one) == set(other)
    return max(float((tensor.float() - other[name].float()).abs().max()) for name, tensor in one.items())


def has_trained(base: Path, folder: Path) -> bool:
    questions, passages = ["what is cats", "what is bread"], ["cats", "purr"]
    before, after = (SentenceTransformer(str(each), device="cpu") for each in (base, folder))
    moved = before.encode_query(questions) @ before.encode_document(passages).T
    moved -= after.encode_query(questions) @ after.encode_document(passages).T
    return float(abs(moved).max()) > 0.05


@pytest.mark.parametrize(
    "changes",
    [{"train": "both"}, {"train": "both", "most_activations_mb": 0}, {"train": "query"}],
    ids=["both", "both, activations computed again", "query"],
)
def test_two_processes_train_as_one(tmp_path: Path, changes: dict[str, object]) -> None:
    """Each has half of every step and the negatives of all of it, so the result may differ by rounding only. Without
    dropout: each draws its own.
    """
    tiny_transformer(tmp_path, dropout=0.0)
    base = tmp_path / "model"
    small_training.train(base, tmp_path, "unshared", changes)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shares = ((base, tmp_path, "together", changes, rank, port) for rank in range(2))
    ended = run_forked(*((small_training.train_together, share) for share in shares))
    assert [each.code for each in ended] == [0, 0], ended
    one, two = weights(tmp_path / "unshared"), weights(tmp_path / "together")
    assert has_trained(base, tmp_path / "unshared")
    assert largest_difference(one, two) < 1e-4
    cards = [(tmp_path / name / "README.md").read_text().replace(name, "") for name in ("unshared", "together")]
    assert cards[0] == cards[1]


def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Order of the lists, dropout, optimizer and schedule all go on where they were, and the loss that is reported."""
    base = tmp_path / "model"
    tiny_transformer(tmp_path, dropout=0.1)
    changes: dict[str, object] = {"train": "both"}
    small_training.train(base, tmp_path, "through", changes)
    (killed,) = run_forked((small_training.train, (base, tmp_path, "killed", changes, 14)))
    assert killed.code == -9, killed.said
    assert has_trained(base, tmp_path / "through")
    assert not (tmp_path / "killed").exists()
    assert list((tmp_path / "killed-checkpoints").glob("checkpoint-*"))
    small_training.train(base, tmp_path, "killed", changes)
    assert largest_difference(weights(tmp_path / "through"), weights(tmp_path / "killed")) == 0.0
    cards = [(tmp_path / name / "README.md").read_text().replace(name, "") for name in ("through", "killed")]
    assert cards[0] == cards[1]
