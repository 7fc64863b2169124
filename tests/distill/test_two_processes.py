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


@pytest.mark.parametrize("train", ["full", "query"])
def test_two_processes_train_as_one(processes: ForkServerContext, tmp_path: Path, train: str) -> None:
    """Each has half of every step, so the result may differ by rounding only. Without dropout: each draws its own."""
    tiny_transformer(tmp_path, dropout=0.0)
    base, changes = tmp_path / "model", {"train": train}
    small_training.train(base, tmp_path, "alone", changes)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    codes = run(
        processes,
        *((small_training.train_together, (base, tmp_path, "together", changes, rank, port)) for rank in range(2)),
    )
    assert codes == [0, 0]
    alone, together = weights(tmp_path / "alone"), weights(tmp_path / "together")
    assert "| best step | 0 |" not in (tmp_path / "alone/README.md").read_text(), "it has to have trained"
    assert largest_difference(alone, together) < 1e-4
    assert (tmp_path / "alone/README.md").read_text().replace("alone", "together") == (
        tmp_path / "together/README.md"
    ).read_text()


def test_a_killed_training_ends_as_if_it_had_not_been(processes: ForkServerContext, tmp_path: Path) -> None:
    """Order of the lists, dropout, optimizer and schedule all go on where they were."""
    base = tmp_path / "model"
    tiny_transformer(tmp_path, dropout=0.1)
    changes = {"train": "full", "evaluations_an_epoch": 2}
    small_training.train(base, tmp_path, "through", changes)
    (code,) = run(processes, (small_training.train, (base, tmp_path, "killed", changes, 5)))
    assert code == -9
    assert "| best step | 0 |" not in (tmp_path / "through/README.md").read_text(), "it has to have trained"
    assert not (tmp_path / "killed").exists()
    assert list((tmp_path / "killed-checkpoints").glob("checkpoint-*"))
    small_training.train(base, tmp_path, "killed", changes)
    assert largest_difference(weights(tmp_path / "through"), weights(tmp_path / "killed")) == 0.0
