"""Several processes, or one that was killed and began again, end with the weights of one that ran through."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import small_training
import torch
from sentence_transformers import SentenceTransformer
from tiny_encoders import tiny_transformer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that begin with torch imported: its import takes longer than the training."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sentence_transformers", "datasets", "accelerate"])
    yield context


def run(context: ForkServerContext, *jobs: tuple[Callable[..., None], tuple[object, ...]]) -> list[int | None]:
    """The exit codes of `jobs`, which run at the same time."""
    started = [context.Process(target=target, args=arguments) for target, arguments in jobs]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        process.kill()
    return [process.exitcode for process in started]


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
def test_two_processes_train_as_one(processes: ForkServerContext, tmp_path: Path, changes: dict[str, object]) -> None:
    """Each has half of every step and the negatives of all of it, so the result may differ by rounding only. Without
    dropout: each draws its own.
    """
    tiny_transformer(tmp_path, dropout=0.0)
    base = tmp_path / "model"
    small_training.train(base, tmp_path, "unshared", changes)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    codes = run(
        processes,
        *((small_training.train_together, (base, tmp_path, "together", changes, rank, port)) for rank in range(2)),
    )
    assert codes == [0, 0]
    one, two = weights(tmp_path / "unshared"), weights(tmp_path / "together")
    assert has_trained(base, tmp_path / "unshared")
    assert largest_difference(one, two) < 1e-4
    cards = [(tmp_path / name / "README.md").read_text().replace(name, "") for name in ("unshared", "together")]
    assert cards[0] == cards[1]


@pytest.mark.parametrize("halt_at", [6, 14])
def test_a_killed_training_ends_as_if_it_had_not_been(
    processes: ForkServerContext, tmp_path: Path, halt_at: int
) -> None:
    """Order of the lists, dropout, optimizer and schedule all go on where they were, and the loss that is reported."""
    base = tmp_path / "model"
    tiny_transformer(tmp_path, dropout=0.1)
    changes: dict[str, object] = {"train": "both"}
    small_training.train(base, tmp_path, "through", changes)
    (code,) = run(processes, (small_training.train, (base, tmp_path, "killed", changes, halt_at)))
    assert code == -9
    assert has_trained(base, tmp_path / "through")
    assert not (tmp_path / "killed").exists()
    assert list((tmp_path / "killed-checkpoints").glob("checkpoint-*"))
    small_training.train(base, tmp_path, "killed", changes)
    assert largest_difference(weights(tmp_path / "through"), weights(tmp_path / "killed")) == 0.0
    cards = [(tmp_path / name / "README.md").read_text().replace(name, "") for name in ("through", "killed")]
    assert cards[0] == cards[1]
