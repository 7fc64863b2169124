"""How stage 2 trains, and what it says of its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Train = Literal["both", "query"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """How stage 2 trains.

    - `train`: "both" moves the whole encoder; "query" a copy of it for the questions, while passages keep theirs.
    - `static_learning_rate`: encoders that are a table of token vectors take this one.
    - `batch_size`: questions in a step, each with its list, over all processes together.
    - `n_passages`: of a question's targets, the likeliest and others spread down to the least likely.
    - `max_tokens`: of a passage, while training; nothing is cut when the encoder is used.
    - `in_batch_negatives`: the passages of the step's other lists join a list's softmax (with "both").
    - `passages_at_once`: in one forward pass.
    - `n_corpus`: with "query", at most so many passages beside the candidates stand for the corpus.
    - `most_activations_mb`: where a step would keep more than that, activations are computed again instead of kept.
    - `half_precision`: bfloat16 (float16 on older GPUs) inside the encoder where the device is faster with it.
    """

    train: Train = "both"
    n_epochs: int = 3
    learning_rate: float = 5e-5
    static_learning_rate: float = 1e-2
    batch_size: int = 16
    n_passages: int = 3
    max_tokens: int = 128
    student_temperature: float = 0.05
    in_batch_negatives: bool = True
    passages_at_once: int = 32
    n_corpus: int = 50_000
    most_activations_mb: int = 2500
    half_precision: bool = True


# Our choices, cross-validated on training questions of three corpora (docs/log.md, 2026-11-26). All lists train, for
# a fixed number of epochs: what a held-out sixth would teach is worth more than what stopping earlier gains. A list of
# two, five or ten passages teaches the same there, and takes time in proportion; with the batch's others three will do.
DEFAULTS: Mapping[Train, RetrieverConfig] = {
    "both": RetrieverConfig(train="both"),
    "query": RetrieverConfig(train="query", n_epochs=4, learning_rate=1e-4, batch_size=32, n_passages=50),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of stage 2: its settings, its seed, where it may be resumed from, and whom it tells.

    `report_to` is "none" or a tracker such as "tensorboard" or "trackio".
    """

    config: RetrieverConfig
    checkpoints: Path
    seed: int
    on_progress: Callable[[int, int], None]
    report_to: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverReport:
    """What training did: how many lists trained, the mean loss (KL divergence) of the first and of the last tenth of
    its steps, and sentences on what had to be done for it.
    """

    n_train: int
    lists_in_a_step: int
    n_steps: int
    loss_at_first: float
    loss_at_last: float
    notes: tuple[str, ...] = ()
