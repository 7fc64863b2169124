"""The losses of stage 1, on scores alone: how far a ranker's scores are from the teacher's orders.

Every loss takes `scores` (B, N), the ranker's; `targets` (B, N), the teacher's ranks from 0, in which `UNRANKED` marks
what the teacher saw and did not place and `PADDING` a place without a candidate; and `weights` (B,), how much each list
counts (1 if none are given). It returns Σ weight · loss of the list / B. Unranked candidates take part as ones that
come after all placed ones, *in no order*: nothing is invented. A list that says nothing costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distill.ranker.targets import PADDING, UNRANKED
from indexes.errors import InputError

_NEVER = -1e9  # finite stand-in for minus infinity: its exponential is 0, and no gradient turns into NaN
_NDCG_LOSS_2_SHARE = 10.0  # μ of NDCG-Loss2++, as its authors set it

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


def list_net(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """ListNet: cross-entropy of the distributions over which candidate is first, the teacher's being softmax(-rank).

    Cao et al., ICML 2007. The unranked tail is one outcome, with the probability of all its places together.
    """
    placed, tail = _placed(targets), targets == UNRANKED
    n_placed = placed.sum(1, keepdim=True)
    ranks = torch.where(tail, n_placed + tail.cumsum(1) - 1, targets).float()
    teacher = (-ranks).masked_fill(~(placed | tail), _NEVER).softmax(1)  # (B, N)
    logits = scores.float().masked_fill(~(placed | tail), _NEVER)
    student = logits.log_softmax(1)
    student_tail = logits.masked_fill(~tail, _NEVER).logsumexp(1) - logits.logsumexp(1)
    losses = -(teacher * student).masked_fill(~placed, 0.0).sum(1) - torch.where(
        tail.any(1), (teacher * tail).sum(1) * student_tail, 0.0
    )
    return _mean(losses.masked_fill(n_placed[:, 0] == 0, 0.0), weights)


def rank_net(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """RankNet: logistic loss of the pairs that the teacher has put in order, mean over a list's pairs.

    Burges et al., ICML 2005.
    """
    pairs = _pairs(targets)
    losses = _pair_losses(scores) * pairs
    return _mean(losses.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1), weights)


def lambda_loss(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """LambdaLoss with the weights of NDCG-Loss2++: pairs count by what swapping them would change in nDCG.

    Wang et al., CIKM 2018. Gains are 1 / (rank + 1), and 0 for unranked candidates, in units of the ideal DCG. Equal
    scores share their place, so that the order of the columns does not matter.
    """
    pairs, placed = _pairs(targets), _placed(targets)
    present = placed | (targets == UNRANKED)
    gains = torch.where(placed, 1.0 / (targets.clamp(min=0) + 1.0), 0.0)
    gains = gains / _at_least_tiny((gains / torch.log2(targets.clamp(min=0) + 2.0)).sum(1, keepdim=True))
    place = _places(scores.detach().float(), present)  # (B, N), from 1
    apart = (place[:, :, None] - place[:, None, :]).abs().clamp(min=1.0)
    loss_2 = 1.0 / torch.log2(apart + 1.0) - 1.0 / torch.log2(apart + 2.0)
    discount = 1.0 / torch.log2(place + 1.0)
    by_rank = (discount[:, :, None] - discount[:, None, :]).abs()
    importance = (_NDCG_LOSS_2_SHARE * loss_2 + by_rank) * (gains[:, :, None] - gains[:, None, :]).abs() * pairs
    return _mean((importance * _pair_losses(scores)).sum((1, 2)), weights)


def adr_mse(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """ADR-MSE: squared distance of a soft rank from the teacher's, discounted by log2 of the teacher's.

    Schlatt et al., Rank-DistiLLM, ECIR 2025. An unranked candidate is as far as it lies outside of the tail.
    """
    placed, tail = _placed(targets), targets == UNRANKED
    present = placed | tail
    n_placed, n = placed.sum(1, keepdim=True), present.sum(1, keepdim=True)
    values = scores.float()
    above = torch.sigmoid(values[:, None, :] - values[:, :, None]) * present[:, None, :]  # how far j is above i
    soft = 0.5 + above.sum(2)  # from 1; a candidate's half above itself makes up the rest
    wanted = torch.where(tail, torch.maximum(soft.minimum(n), n_placed + 1), targets + 1.0)
    discount = 1.0 / torch.log2(torch.where(tail, n_placed, targets.clamp(min=0)) + 2.0)
    losses = (discount * (soft - wanted) ** 2).masked_fill(~present | (n_placed == 0), 0.0)
    return _mean(losses.sum(1) / n[:, 0].clamp(min=1), weights)


LOSSES: Final[dict[str, Loss]] = {
    "listmle": list_mle,
    "p-listmle": p_list_mle,
    "listnet": list_net,
    "ranknet": rank_net,
    "lambda": lambda_loss,
    "adr-mse": adr_mse,
}


def find_loss(name: str) -> Loss:
    """The loss called `name`; `InputError` if there is none."""
    if name not in LOSSES:
        raise InputError(f"A loss is one of {', '.join(LOSSES)}; '{name}' is none of them.")
    return LOSSES[name]


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


def _pairs(targets: Tensor) -> Tensor:
    """(B, N, N): whether the teacher put candidate i before candidate j."""
    return _placed(targets)[:, :, None] & (targets[:, :, None] < targets[:, None, :])


def _pair_losses(scores: Tensor) -> Tensor:
    """(B, N, N): -log σ(score i - score j)."""
    values = scores.float()
    return softplus(values[:, None, :] - values[:, :, None])


def _places(scores: Tensor, present: Tensor) -> Tensor:
    """(B, N): each candidate's place from 1 by score, equal scores sharing the mean of theirs."""
    others = present[:, None, :]
    above = ((scores[:, None, :] > scores[:, :, None]) & others).sum(2)
    equal = ((scores[:, None, :] == scores[:, :, None]) & others).sum(2)
    return above + (equal.clamp(min=1) + 1.0) / 2.0


def _at_least_tiny(values: Tensor) -> Tensor:
    return values.clamp(min=1e-12)


def _mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (losses * weights).mean()
