"""How stage 1 is to train, and what it says of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kept = Literal["untrained", "fitted", "trained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerSettings:
    """How stage 1 trains. `batch_size` counts questions, each with at most `n_passages` of its list, which are cut to
    `max_tokens` while it trains.

    With `weighs_signals` (`--recipe auto`) the loss is position-aware ListMLE, other lists' passages are candidates
    too, the head weighs the dense and the lexical score beside the model's, and the training is kept only where it
    agrees better with held-out orders. Without it (`--recipe paper`) it is ListMLE on the orders alone, and is kept.
    Without `trains_model` only the head is fitted, which takes a minute where the training takes ten.

    Rate and epochs are our choice, cross-validated on the training questions of a corpus whose words do not match
    (docs/log.md, 2026-11-26): the ranker over the dense first fifty, nDCG@10 0.318 untrained, 0.371 trained
    (on ten passages a list; five of them take half of the time).
    """

    weighs_signals: bool = True
    trains_model: bool = True
    n_epochs: int = 2
    learning_rate: float = 1e-4
    batch_size: int = 8
    n_passages: int = 5
    max_tokens: int = 128
    seed: int = 42
    report_to: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerReport:
    """What training did. Agreement is `agreement.first_place` on orders that trained no model: of the order that
    retrieval gave, of the ranker as it began, with its head fitted to the teacher, and with its model trained too.

    `kept` says which of the last three the ranker is now. `n_left_out` orders said nothing or had the weight 0.
    """

    kind: str
    loss: str
    n_train: int
    n_held_out: int
    n_left_out: int
    agreement_retrieval: float
    agreement_untrained: float
    agreement_fitted: float | None
    agreement_trained: float | None
    kept: Kept
    notes: tuple[str, ...] = ()
