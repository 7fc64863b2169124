"""A training of stage 2 that is over in a second, for tests that run it in processes of their own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tiny_encoders import WORDS

from distill.records import ScoreList
from distill.retriever.lists import RetrieverConfig, Training
from distill.retriever.publishing import Card, save_encoder
from distill.retriever.training import frozen_corpus, train_retriever

TEXTS = {word: f"the {word} is about {word}" for word in WORDS[:10]}
_ASKED, _PAIRED = WORDS[:10:2], WORDS[1:10:2]
RECORDS = [
    ScoreList(
        id=f"q{i}",
        question=f"what is {_ASKED[i % 5]} {'of the ' * (i % 4)} question",
        passages=tuple([_PAIRED[(i + step) % 5] for step in range(4)][: 3 + i % 2]),
        scores=tuple([5.0, 1.0, 0.0, -1.0][: 3 + i % 2]),
        weight=0.5 + 0.5 * (i % 2),
    )
    for i in range(30)
]
CONFIG = RetrieverConfig(
    n_epochs=3,
    learning_rate=5e-3,
    batch_size=8,
    in_batch_negatives=True,
    passages_at_once=4,
    half_precision=False,
)


def train(base: Path, work: Path, name: str, changes: dict[str, object], halt_at: int = 0) -> None:
    """Trains the encoder in `base` and saves it as `work`/`name`; kills its own process at step `halt_at`."""
    torch.set_num_threads(1)
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    model = SentenceTransformer(str(base), device="cpu")

    def on_progress(done: int, total: int) -> None:
        if done == halt_at:
            os.kill(os.getpid(), 9)

    def vectors_of(ids: list[str]) -> np.ndarray:  # type: ignore[type-arg]
        return model.encode_document([TEXTS[each] for each in ids], normalize_embeddings=True)

    corpus = frozen_corpus(sorted(TEXTS), vectors_of, RECORDS, n_most=100, seed=1)  # type: ignore[arg-type]
    job = Training(config=config, checkpoints=work / f"{name}-checkpoints", seed=3, on_progress=on_progress)
    trained, report = train_retriever(model, RECORDS, TEXTS, job, corpus)
    card = Card(name=name, base="tiny", corpus="words", teacher="none", questions="30")
    figures: dict[str, object] = {"steps": report.n_steps, "loss": f"{report.loss_at_last:.3f}"}
    save_encoder(trained, work / name, replace(card, figures=figures))


def train_together(base: Path, work: Path, name: str, changes: dict[str, object], rank: int, port: int) -> None:
    """`train` as process `rank` of two, with the environment that `accelerate launch` and `torchrun` make."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    train(base, work, name, changes)
    torch.distributed.destroy_process_group()
