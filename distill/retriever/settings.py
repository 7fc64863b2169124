"""How stage 2 trains, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Train = Literal["full", "query", "lora"]
Objective = Literal["kl", "margin-mse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """How stage 2 trains. Cosines lie in [-1, 1]: at a student temperature of 1 a softmax over them is nearly flat.

    - `query_first`: with "full", training of the query side comes first, at its own settings: what only the passages
      can learn is then left for the passages, each step of which costs a hundred times as much.
    - `train`: "full" moves the whole encoder; "lora" small matrices beside its weights, merged in at the end; "query" a
      copy of it for questions only, so that the passages keep their vectors.
    - `learning_rate`: of transformers; encoders without one (static embeddings) take `static_learning_rate`.
    - `batch_size`: questions in a step, each with its list, over all processes together.
    - `n_passages`: of a question's scored candidates, spread from the best to the worst.
    - `max_tokens`: of a passage, while training; nothing is cut when the encoder is used.
    - `objective`: "kl" over the list, or "margin-mse" between the first passage and each other one.
    - `in_batch_negatives`: the passages of the step's other lists join a list's softmax ("full" and "lora").
    - `passages_at_once`: in one forward pass; with `cached_gradients` no more than these are kept in memory.
    - `n_corpus`: with "query", at most so many passages beside the candidates stand for the corpus.
    - `n_held_out`: at most so many lists, and a sixth, decide which evaluation's weights are kept.
    - `patience`: training ends when so many evaluations in a row brought nothing.
    - `half_precision`: bfloat16 (float16 on older GPUs) inside the encoder where the device is faster with it.
    """

    train: Train = "full"
    query_first: bool = False
    n_epochs: int = 2
    learning_rate: float = 5e-5
    static_learning_rate: float = 1e-2
    batch_size: int = 16
    n_passages: int = 10
    max_tokens: int = 192
    student_temperature: float = 0.05
    teacher_temperature: float = 1.0
    objective: Objective = "kl"
    in_batch_negatives: bool = False
    cached_gradients: bool = False
    passages_at_once: int = 32
    n_corpus: int = 50_000
    n_held_out: int = 100
    evaluations_an_epoch: int = 1
    patience: int = 2
    lora_rank: int = 16
    half_precision: bool = True


# Our choices. On the query side an epoch is cheap, and the softmax is over the corpus, so long lists cost nothing.
DEFAULTS: Mapping[Train, RetrieverConfig] = {
    "full": RetrieverConfig(train="full", query_first=True, n_epochs=1, learning_rate=2e-5, evaluations_an_epoch=2),
    "query": RetrieverConfig(train="query", n_epochs=5, learning_rate=1e-4, batch_size=32, n_passages=50),
    "lora": RetrieverConfig(train="lora", n_epochs=3, learning_rate=5e-4, evaluations_an_epoch=2),
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
    """What training did: the objective's loss on held-out lists (KL divergence, or squared error of the margins) before
    it and at the step that was kept (0: no step was better than none), and sentences on what had to be done for it.
    """

    n_train: int
    n_held_out: int
    lists_in_a_step: int
    best_step: int
    divergence_before: float
    divergence_after: float
    notes: tuple[str, ...] = ()
