"""The losses of stage 1, on scores alone: how far a ranker's scores are from the teacher's orders.

ListMLE is the paper's; its position-aware form is what `--recipe auto` trains by. Each takes `scores` (B, N), the
ranker's; `targets` (B, N), the teacher's ranks from 0, in which `UNRANKED` marks what the teacher saw and did not place
and `PADDING` a place without a candidate; and `weights` (B,), how much each list counts (1 if none are given). It
returns Σ weight · loss of the list / B. Unranked candidates take part as ones that come after all placed ones, *in no
order*: nothing is invented. So do other questions' passages, where they are candidates too: a single score, the
log-sum-exp of theirs, stands for them all. A list that says nothing costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distill.ranker.targets import PADDING, UNRANKED

_NEVER = -1e9  # finite stand-in for minus infinity: its exponential is 0, and no gradient turns into NaN

Loss = Callable[..., Tensor]  # (scores, targets, weights=None) → scalar


def list_mle(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """ListMLE: negative log-likelihood of the order under Plackett-Luce, mean over a list's placed candidates.

    Xia et al., ICML 2008; leaving the tail unordered is the likelihood of a top-m list under the same model.
    """
    losses, placed, _ = _plackett_luce(scores, targets)
    return _mean(losses.sum(1) / placed.sum(1).clamp(min=1), weights)


def p_list_mle(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Position-aware ListMLE: the i-th of n places (from 1) counts 2^(n-i) - 1, so the first ones decide.

    Lan et al., UAI 2014. The weights of a list are scaled to the sum 1.
    """
    losses, placed, present = _plackett_luce(scores, targets)
    place = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    n = present.sum(1, keepdim=True)
    importance = (torch.exp2(-place.float()) - torch.exp2(-n.float())).clamp(min=0.0) * placed  # divided by 2^n
    return _mean((losses * importance).sum(1) / _at_least_tiny(importance.sum(1)), weights)


def _plackett_luce(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By place in the teacher's order, each (B, N): the placed candidate's negative log-likelihood to be drawn before
    all after it (0 elsewhere), whether a candidate is placed there, whether there is any.
    """
    order = targets.masked_fill(targets == PADDING, 2 * UNRANKED).argsort(dim=1, stable=True)
    sorted_targets = targets.gather(1, order)
    present, placed = sorted_targets != PADDING, _placed(sorted_targets)
    logits = scores.float().gather(1, order).masked_fill(~present, _NEVER)
    tail = logits.flip(1).logcumsumexp(1).flip(1)  # (B, N): log-sum-exp over this place and all after it
    return (tail - logits).masked_fill(~placed, 0.0), placed, present


def _placed(targets: Tensor) -> Tensor:
    return (targets != PADDING) & (targets != UNRANKED)


def _at_least_tiny(values: Tensor) -> Tensor:
    return values.clamp(min=1e-12)


def _mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (losses * weights).mean()
