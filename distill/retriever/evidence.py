"""How likely each passage is the answer, by the ranker's scores and the teacher's order; without labels.

How much an order should count depends on how often the teacher errs, and on how often the ranker does. Both show in how
the two disagree, as with observers whose errors nobody knows (Dawid & Skene 1979). Each list has one answer, which may
be a passage that the teacher was not shown, or none of the list. The ranker's scores and the places in the retrieval
say how likely each passage is; the teacher draws its order place by place (Plackett-Luce) from utilities that are
higher for the answer. Of this model those numbers are taken under which all orders together are likeliest, whichever
passages the answers are (maximum a posteriori, from starts on every side: either may be poor). All pulls towards what
we expect are bounded: a few hundred lists overturn each of them.

One thing no orders can tell. Where they have nothing to do with the scores, either the ranker knows nothing or the
teacher does not. What is known of the teacher from elsewhere decides: `top1`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.records import Ranking, ScoreList

Floats = NDArray[np.float64]

# Our choices, made on simulated lists; docs/log.md has how they do there and on real orders. In `_NAMES`' order, as the
# search moves them: log confidence, answer, ranker, retrieval, log place, logit outside.
_EXPECTED = (math.log(2.0), 2.0, 0.2, 0.2, math.log(0.8), math.log(0.43 / 0.57))
_SCALES = (1.5, 2.0, 0.3, 0.3, 0.4, 0.8)
_STARTS = tuple(
    (math.log(confidence), answer, 0.2, retrieval, math.log(0.8), math.log(0.43 / 0.57))
    for confidence, answer, retrieval in (
        (2.0, 4.0, 0.0),
        (0.1, 4.0, 0.0),
        (2.0, 0.0, 0.0),
        (1.0, 1.0, 3.0),
    )
)
_NAMES = ("confidence", "answer", "ranker", "retrieval", "place", "outside")
_TAIL = 5.0  # degrees of freedom (Student's t): pulls grow as a logarithm far from what is expected
# No number of a teacher is below 0: real ones put some passage last as surely as one first, and to take that one for
# the answer of a reversed teacher explains their orders as well.
_BOUNDS = ((-5.0, 4.0), (0.0, 12.0), (0.0, 5.0), (0.0, 20.0), (-4.0, 2.0), (-4.0, 3.0))
_PLACES = 5  # of an order that count; the rest follows the order that was given more than the question
_LAPSE = 0.03  # share of orders whose teacher does not know the answer: bounds what one of them can say
_IN_LIST = 0.5  # share of the answers outside the shown passages that stand deeper in the list, if it goes deeper
_SILENT = 0.25  # a ranker of less confidence (logits per standard deviation of its scores) says nothing
_SOME = 200  # lists on which the search begins
_MOST_FITTED = 1000  # lists; more say nothing new about six numbers
_NEVER = -1e9  # a logit of what is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the orders and the scores say of teacher and ranker.

    `spread` is the scores' standard deviation within a list; confidence and ranker are for scores in units of it.
    """

    spread: float
    confidence: float  # what the scores are multiplied by to be logits of which passage is the answer
    answer: float  # how much higher the teacher's utility of the answer is
    ranker: float  # what its utility of any passage rises by with the ranker's score of it
    retrieval: float  # what it falls by with log(1 + place in the retrieval), places from 0
    place: float  # what a passage's logit of being the answer falls by with the same
    outside: float  # how often the answer is not among the passages that were shown
    teacher_first: float  # how often the teacher's first passage is the answer, where that was among the shown
    ranker_first: float  # the same of the ranker's best among the shown
    n_lists: int

    @property
    def ranker_speaks(self) -> bool:
        """Whether the ranker's scores say anything about the answer."""
        return self.confidence >= _SILENT

    def sentence(self) -> str:
        """For the report: how often either is right, and so what carries the targets."""
        gap = self.teacher_first - self.ranker_first
        carries = (
            "neither says much of the answers"
            if max(self.teacher_first, self.ranker_first) < 0.2
            else "the orders carry the targets"
            if gap > 0.1
            else "the ranker's scores carry the targets"
            if gap < -0.1
            else "both carry the targets"
        )
        return (
            f"Where the answer is among the passages shown, the teacher's first passage is it in about "
            f"{100 * self.teacher_first:.0f} %, the ranker's, as it began, in {100 * self.ranker_first:.0f} %: "
            f"{carries} (estimated from {self.n_lists} orders, without labels)."
        )


def fit_evidence(
    scores: Sequence[ScoreList],
    rankings: Mapping[str, Ranking],
    *,
    top1: float | None = None,
    top1_weight: float = 0.0,
) -> Evidence | None:
    """The likeliest numbers, of at most 1,000 orders; None where there is no order of two scored passages.

    `top1` is how often the teacher puts first the answer that was planted among other passages, at any place, as far as
    that is known from elsewhere, and `top1_weight` the number of questions that this is known from.
    """
    ordered = _all_ordered(scores, rankings)[:_MOST_FITTED]
    if not ordered:
        return None
    spread = _spread(ordered)
    lists = _Lists.of(ordered, spread)
    numbers = _fit(lists, *(0.5, 0.0) if top1 is None else (min(max(top1, 0.01), 0.99), top1_weight))
    shown = torch.softmax(_log_posterior(lists, numbers)[:, : lists.n_shown], 1)
    best = lists.scores[:, : lists.n_shown].masked_fill(~lists.is_there[:, : lists.n_shown], _NEVER).argmax(1)
    return Evidence(
        **dict(zip(_NAMES, numbers.tolist(), strict=True)),
        spread=spread,
        teacher_first=float(shown[:, 0].mean()),
        ranker_first=float(shown[torch.arange(len(shown)), best].mean()),
        n_lists=len(ordered),
    )


def posteriors(
    scores: Sequence[ScoreList], rankings: Mapping[str, Ranking], evidence: Evidence
) -> dict[str, dict[str, float]]:
    """How likely each scored passage is the answer, by question and passage, for the questions with an order.

    The probabilities of a list sum to 1: what falls to an answer that is none of its passages is left out, as a
    retriever can only learn which of them it should prefer. An order of weight w counts w times; one that places none
    of two scored passages is no order.
    """
    ordered = _all_ordered(scores, rankings)
    found: dict[str, dict[str, float]] = {}
    for first in range(0, len(ordered), _MOST_FITTED):
        batch = ordered[first : first + _MOST_FITTED]
        lists = _Lists.of(batch, evidence.spread)
        rows = torch.softmax(_log_posterior(lists, _as_tensor(evidence))[:, :-1], 1).tolist()
        for each, row in zip(batch, rows, strict=True):
            columns = _columns(each, lists.n_shown)
            found[each.id] = {p: row[at] for p, at in zip(each.passages, columns, strict=True)}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered:
    """A list as the teacher put it: its passages in the teacher's order, then those shown that it did not place, then
    those that it was not shown.
    """

    id: str
    passages: tuple[str, ...]
    scores: tuple[float, ...]
    places: tuple[int, ...]  # in the retrieval
    n_placed: int
    n_shown: int
    weight: float


def _all_ordered(scores: Sequence[ScoreList], rankings: Mapping[str, Ranking]) -> list[_Ordered]:
    pairs = [(each, rankings[each.id]) for each in scores if each.id in rankings]
    return [found for each, ranking in pairs if (found := _ordered(each, ranking))]


def _ordered(scores: ScoreList, ranking: Ranking) -> _Ordered | None:
    """None if fewer than two scored passages were shown, or none of them was placed."""
    score_of = dict(zip(scores.passages, scores.scores, strict=True))
    place_of = {passage: place for place, passage in enumerate(score_of)}
    shown = [passage for passage in score_of if passage in set(ranking.shown)]
    placed = [passage for passage in dict.fromkeys(ranking.ranking) if passage in set(shown)]
    if len(shown) < 2 or not placed or not ranking.weight:
        return None
    passages = tuple(dict.fromkeys([*placed, *shown, *score_of]))
    return _Ordered(
        id=scores.id,
        passages=passages,
        scores=tuple(score_of[passage] for passage in passages),
        places=tuple(place_of[passage] for passage in passages),
        n_placed=len(placed),
        n_shown=len(shown),
        weight=ranking.weight,
    )


def _spread(ordered: Sequence[_Ordered]) -> float:
    """The standard deviation of the scores within a list; 1 if all are equal."""
    variances = [float(torch.tensor(each.scores, dtype=torch.float64).var(correction=0)) for each in ordered]
    return math.sqrt(math.fsum(variances) / len(variances)) or 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lists:
    """L lists of N columns: the first `n_shown` for what was shown, in the teacher's order; the others for the rest."""

    scores: Tensor  # (L, N), less each list's mean, in units of the spread
    places: Tensor  # (L, N), log(1 + place in the retrieval)
    is_there: Tensor  # (L, N), False where a list is shorter
    is_placed: Tensor  # (L, n_shown), among the first places
    weights: Tensor  # (L,)
    n_shown: int

    @classmethod
    def of(cls, ordered: Sequence[_Ordered], spread: float) -> _Lists:
        n_shown = max(each.n_shown for each in ordered)
        n = n_shown + max(len(each.passages) - each.n_shown for each in ordered)
        columns = [_columns(each, n_shown) for each in ordered]
        is_there = torch.zeros(len(ordered), n, dtype=torch.bool)
        scores, places = torch.zeros(2, len(ordered), n, dtype=torch.float64)
        for row, (each, at) in enumerate(zip(ordered, columns, strict=True)):
            is_there[row, at] = True
            values = torch.tensor(each.scores, dtype=torch.float64)
            scores[row, at] = (values - values.mean()) / spread
            places[row, at] = torch.log1p(torch.tensor(each.places, dtype=torch.float64))
        return cls(
            scores=scores,
            places=places,
            is_there=is_there,
            is_placed=torch.arange(n_shown)[None] < torch.tensor([[min(each.n_placed, _PLACES)] for each in ordered]),
            weights=torch.tensor([each.weight for each in ordered], dtype=torch.float64),
            n_shown=n_shown,
        )

    def first(self, n: int) -> _Lists:
        """The first `n` lists."""
        return replace(
            self,
            scores=self.scores[:n],
            places=self.places[:n],
            is_there=self.is_there[:n],
            is_placed=self.is_placed[:n],
            weights=self.weights[:n],
        )


def _columns(each: _Ordered, n_shown: int) -> list[int]:
    """The column of each passage of a list."""
    return [*range(each.n_shown), *range(n_shown, n_shown + len(each.passages) - each.n_shown)]


def _as_tensor(evidence: Evidence) -> Tensor:
    return torch.tensor([getattr(evidence, name) for name in _NAMES], dtype=torch.float64)


def _numbers(x: Tensor) -> Tensor:
    """The numbers (6,) in the order of `_NAMES`, of what the search moves: logarithms of two, a logit of one."""
    confidence, answer, ranker, retrieval, place, outside = x
    return torch.stack([confidence.exp(), answer, ranker, retrieval, place.exp(), outside.sigmoid()])


def _fit(lists: _Lists, top1: float, top1_weight: float) -> Tensor:
    """The numbers (6,) of the likeliest model; `top1` counts as `top1_weight` questions whose answer is known.

    Where the search ends depends on where it begins, so it begins on every side: on some of the lists, then goes on
    from each different end on all of them.
    """
    some = partial(_loss, lists.first(_SOME), top1=top1, top1_weight=top1_weight)
    ends = {tuple(x.round(1).tolist()): x for x in (_descend(some, np.array(start))[1] for start in _STARTS)}
    loss = partial(_loss, lists, top1=top1, top1_weight=top1_weight)
    return _numbers(torch.from_numpy(min((_descend(loss, x) for x in ends.values()), key=itemgetter(0))[1]))


def _loss(lists: _Lists, x: Tensor, *, top1: float, top1_weight: float) -> Tensor:
    """How unlikely the orders are with numbers `x`, and how far these are from what is expected; a mean over lists."""
    expected, scales = torch.tensor([_EXPECTED, _SCALES], dtype=torch.float64)
    numbers = _numbers(x)
    likelihood = torch.logsumexp(_log_prior(lists, numbers) + _log_likelihood(lists, numbers), 1) @ lists.weights
    first = _finds_planted(lists, numbers)
    known = top1_weight * (top1 * first.log() + (1 - top1) * (1 - first).log())
    pull = (_TAIL + 1) / 2 * torch.log1p(((x - expected) / scales) ** 2 / _TAIL).sum()
    return (pull - likelihood - known) / len(lists.weights)


def _descend(loss: Callable[[Tensor], Tensor], start: Floats) -> tuple[float, Floats]:
    """How low `loss` gets near `start`, and where."""
    from scipy.optimize import minimize

    def value_and_slope(x: Floats) -> tuple[float, Floats]:
        at = torch.from_numpy(x).requires_grad_(True)
        value = loss(at)
        (slope,) = torch.autograd.grad(value, at)
        return float(value.detach()), slope.numpy()

    end = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options={"ftol": 1e-7})
    return float(end.fun), end.x


def _log_posterior(lists: _Lists, numbers: Tensor) -> Tensor:
    """(L, N + 1), up to a constant of each list: which passage is the answer; at last, that none is."""
    return _log_prior(lists, numbers) + lists.weights[:, None] * _log_likelihood(lists, numbers)


def _logits(lists: _Lists, confidence: Tensor, place: Tensor) -> Tensor:
    """(L, N): what ranker and retrieval say of each passage."""
    return (confidence * lists.scores - place * lists.places).masked_fill(~lists.is_there, _NEVER)


def _log_prior(lists: _Lists, numbers: Tensor) -> Tensor:
    """(L, N + 1): the log-probability of each passage to be the answer, before the order; at last, that none is.

    To a ranker without confidence the shown passages together hold 1 − outside. One with confidence moves that by how
    its scores of the shown ones compare with those of the others.
    """
    confidence, place, outside = numbers[0], numbers[4], numbers[5]
    logits, plain = _logits(lists, confidence, place), _logits(lists, confidence * 0, place)
    k, deeper = lists.n_shown, lists.is_there[:, lists.n_shown :].any(1, keepdim=True)
    share = torch.where(deeper, outside * _IN_LIST, 0.0)
    inside = logits[:, :k] - plain[:, :k].logsumexp(1, keepdim=True) + (1 - outside).log()
    beyond = logits[:, k:] - (plain[:, k:].logsumexp(1, keepdim=True) if logits.shape[1] > k else 0.0)
    beyond = beyond + share.clamp(min=1e-12).log()
    none = logits.logsumexp(1, keepdim=True) - plain.logsumexp(1, keepdim=True) + (outside - share).log()
    return torch.log_softmax(torch.cat([inside, beyond, none], 1), 1)


def _utilities(lists: _Lists, numbers: Tensor) -> Tensor:
    """(L, n_shown): what the teacher makes of each passage that is not the answer."""
    k = lists.n_shown
    plain = numbers[2] * lists.scores[:, :k] - numbers[3] * lists.places[:, :k]
    return plain.masked_fill(~lists.is_there[:, :k], _NEVER)


def _log_likelihood(lists: _Lists, numbers: Tensor) -> Tensor:
    """(L, N + 1): the log-likelihood of each order, if its n-th passage is the answer; at last, if none is.

    With S_k the sum of exp(utility) of what is still to be placed at k, the answer a adds (exp(answer) − 1) exp(u_a) to
    it as long as it is not placed: so an order is as likely as without any answer, times a factor for each place.
    """
    utilities = _utilities(lists, numbers)
    left = torch.logcumsumexp(utilities.flip(1), 1).flip(1)  # log S_k
    base = ((utilities - left) * lists.is_placed).sum(1, keepdim=True)
    shares = (utilities[:, :, None] - left[:, None, :_PLACES]).clamp(max=0.0).exp()  # (L, answer, place)
    still = torch.ones(shares.shape[1:], dtype=torch.float64).tril() * lists.is_placed[:, None, :_PLACES]
    factor = numbers[1] * lists.is_placed - (torch.log1p(torch.expm1(numbers[1]) * shares) * still).sum(2)
    knowing = torch.logaddexp(factor + math.log(1 - _LAPSE), torch.tensor(math.log(_LAPSE), dtype=torch.float64))
    others = torch.zeros(len(base), lists.scores.shape[1] + 1 - lists.n_shown, dtype=torch.float64)
    return base + torch.cat([knowing, others], 1)


def _finds_planted(lists: _Lists, numbers: Tensor) -> Tensor:
    """How often the teacher puts an answer first, by the model, if any of the shown passages may be it alike."""
    plain = torch.softmax(_utilities(lists, numbers), 1)
    raised = numbers[1].exp() * plain / (1 + torch.expm1(numbers[1]) * plain)
    there = lists.is_there[:, : lists.n_shown]
    return (((1 - _LAPSE) * raised + _LAPSE * plain) * there).sum() / there.sum()
