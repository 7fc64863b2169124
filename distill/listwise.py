"""The listwise loss of stage 1, on scores alone."""

from __future__ import annotations

from torch import Tensor

UNRANKED = 1_000_000  # target of a candidate that the teacher saw and did not place
PADDING = -1  # target of a place in the batch where there is no candidate


def list_mle(scores: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the teacher's order under Plackett-Luce, per placed candidate (ListMLE).

    `scores` (B, N) are the ranker's. `targets` (B, N) are the teacher's ranks from 0; `UNRANKED` candidates take part
    only as ones that came after all placed ones, in no order; `PADDING` takes no part. Xia et al., ICML 2008; leaving
    the tail unordered is the likelihood of a top-m list under the same model.
    """
    order = targets.masked_fill(targets == PADDING, 2 * UNRANKED).argsort(dim=1, stable=True)
    sorted_targets = targets.gather(1, order)
    present = sorted_targets != PADDING
    placed = present & (sorted_targets != UNRANKED)
    # Finite stand-in for minus infinity: its exponential is 0, and no gradient turns into NaN.
    logits = scores.float().gather(1, order).masked_fill(~present, -1e9)
    tail = logits.flip(1).logcumsumexp(1).flip(1)  # (B, N): log-sum-exp over this place and all after it
    losses = (tail - logits).masked_fill(~placed, 0.0)
    return losses.sum() / placed.sum().clamp(min=1)
