"""How stage 1 is to train, and what it says of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distill.ranker.agreement import Calibration

RankerTrain = Literal["head", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerSettings:
    """How stage 1 trains. `loss` is a name in `distill.ranker.listwise.LOSSES`; `batch_size` counts questions.

    `train` is "head" (the weights of the model's, the dense and the lexical score) or "full" (the model's own too).

    The default loss is the paper's. On 250 simulated orders of ObliQA (known positives first, the rest as fused), with
    a linear map of the token vectors trained for 3 epochs and judged on 171 other training questions with a relevant
    passage in the list, the MRR of all six ended between 0.834 and 0.842 (untrained 0.840): none is better there.
    """

    loss: str = "listmle"
    train: RankerTrain = "head"
    n_epochs: int = 2
    learning_rate: float = 2e-5
    batch_size: int = 4
    seed: int = 42
    report_to: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerReport:
    """What training did. Agreement is Kendall τ with the teacher on orders that did not train: of the order that
    retrieval gave, of the ranker as it began, with its head fitted to the teacher, and with its model trained too.

    `kept` says which of the last three the ranker is now; `calibration` is that ranker's, on the same orders.
    `compared` has the agreement of every kind that was tried. `n_left_out` orders said nothing or had the weight 0.
    """

    kind: str
    loss: str
    n_train: int
    n_held_out: int
    n_left_out: int
    agreement_fused: float
    agreement_untrained: float
    agreement_fitted: float
    agreement_trained: float
    kept: str
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()
    compared: tuple[tuple[str, float], ...] = ()

    @property
    def agreement_kept(self) -> float:
        """The agreement of the ranker as it is now."""
        found = {"untrained": self.agreement_untrained, "fitted": self.agreement_fitted}
        return found.get(self.kept, self.agreement_trained)
