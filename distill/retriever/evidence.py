"""What a teacher's order says about which passage answers a question, beside what the ranker says; without labels.

How much an order should count depends on how often the teacher errs, and on how often the ranker does. Both show in how
the two disagree, as with observers whose errors nobody knows (Dawid & Skene 1979). In each list one passage is taken to
be the answer. The ranker's scores say how likely each of them is, and the teacher draws its order place by place
(Plackett-Luce) from utilities that are higher for the answer. Of this model the four numbers are taken under which all
orders together are likeliest, whichever passages the answers are. How likely an order would be if a passage were the
answer is then what the order says for that passage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.jsonl import Record

# Our choices; RESULTS.md has how they do on real orders of gpt-3.5-turbo and on simulated ones of every quality.
_START = (1.0, 1.0, 0.1, 0.5)  # confidence, answer, ranker, retrieval: a teacher that is trusted a little
_SURE = (1.0, 5.0, 0.1, 3.0)  # where the search begins once more, as it can end at a doubtful teacher
# Lists that the start weighs as much as, for each. Orders at random come as well from a teacher that knows nothing as
# from a ranker that does not: only this says which of the two it is.
_PULLS = (30.0, 10.0, 30.0, 10.0)
_LAPSE = 0.05  # share of orders taken to say nothing at all: bounds what one of them can say
_MOST_FITTED = 1000  # lists; more say nothing new about four numbers
_NEVER = -1e9  # a logit of what is not there


def weigh_orders(scores: Sequence[Record], rankings: Mapping[str, Record]) -> dict[str, dict[str, float]]:
    """What each order says for each scored passage it was shown, by question and passage.

    It is a log-likelihood in units of the ranker's scores, to be added to them: only differences within a list mean
    anything. An order of weight w counts w times; one that places none of two scored passages says nothing.
    """
    pairs = [(each, rankings[each["id"]]) for each in scores if each["id"] in rankings]
    lists = [found for each, ranking in pairs if (found := _ordered(each, ranking))]
    if not lists:
        return {}
    numbers = _fit(_Lists.of(lists[:_MOST_FITTED]))
    said: dict[str, dict[str, float]] = {}
    for first in range(0, len(lists), _MOST_FITTED):
        batch = lists[first : first + _MOST_FITTED]
        likelihood = _log_likelihood(_Lists.of(batch), numbers) / numbers[0]
        for each, row in zip(batch, likelihood.tolist(), strict=True):
            said[each.id] = {passage: each.weight * row[place] for place, passage in enumerate(each.passages)}
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered:
    """A list as the teacher put it: its passages in the teacher's order, then those shown that it did not place."""

    id: str
    passages: tuple[str, ...]
    scores: tuple[float, ...]
    places: tuple[int, ...]  # in the retrieval
    n_placed: int
    weight: float


def _ordered(scores: Record, ranking: Record) -> _Ordered | None:
    """The scored passages that the teacher was shown; None if there are fewer than two, or none that it placed."""
    shown = set(ranking["shown"])
    score_of = {p: score for p, score in zip(scores["passages"], scores["scores"], strict=True) if p in shown}
    place_of = {passage: place for place, passage in enumerate(score_of)}
    placed = [passage for passage in dict.fromkeys(ranking["ranking"]) if passage in score_of]
    weight = float(ranking.get("weight", 1.0))
    if len(score_of) < 2 or not placed or not weight:
        return None
    passages = tuple(dict.fromkeys([*placed, *score_of]))
    return _Ordered(
        id=scores["id"],
        passages=passages,
        scores=tuple(score_of[passage] for passage in passages),
        places=tuple(place_of[passage] for passage in passages),
        n_placed=len(placed),
        weight=weight,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lists:
    """L lists of at most N passages, each in its teacher's order."""

    scores: Tensor  # (L, N), less each list's mean
    places: Tensor  # (L, N), log(1 + place in the retrieval)
    is_there: Tensor  # (L, N), False where a list is shorter
    is_placed: Tensor  # (L, N)
    weights: Tensor  # (L,)

    @classmethod
    def of(cls, lists: Sequence[_Ordered]) -> _Lists:
        lengths = torch.tensor([[len(each.passages)] for each in lists])
        numbers = torch.arange(int(lengths.max()))[None]
        is_there = numbers < lengths
        scores = _padded([each.scores for each in lists])
        return cls(
            scores=(scores - scores.sum(1, keepdim=True) / lengths) * is_there,
            places=torch.log1p(_padded([each.places for each in lists])),
            is_there=is_there,
            is_placed=numbers < torch.tensor([[each.n_placed] for each in lists]),
            weights=torch.tensor([each.weight for each in lists], dtype=torch.float64),
        )


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    tensors = [torch.tensor(row, dtype=torch.float64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def _fit(lists: _Lists) -> Tensor:
    """The numbers (4,) of the likeliest model, held near `_START`:

    - confidence: what the ranker's scores are multiplied by to be logits of which passage is the answer;
    - answer: how much higher the teacher's utility of the answer is;
    - ranker: what its utility of any passage rises by with the ranker's score of it;
    - retrieval: what it falls by with log(1 + place in the retrieval), places from 0.
    """
    start, pulls = torch.tensor(_START, dtype=torch.float64), torch.tensor(_PULLS, dtype=torch.float64)

    def numbers(x: Tensor) -> Tensor:
        """The first two are above 0, and x moves their logarithms."""
        return torch.cat([start[:2] * x[:2].exp(), start[2:] + x[2:]])

    def loss(x: Tensor) -> Tensor:
        now = numbers(x)
        prior = torch.log_softmax((now[0] * lists.scores).masked_fill(~lists.is_there, _NEVER), 1)
        likelihood = torch.logsumexp(prior + _log_likelihood(lists, now), 1) @ lists.weights
        return (pulls @ x**2 - likelihood) / len(lists.weights)

    sure = torch.tensor(_SURE, dtype=torch.float64)
    begun = (torch.zeros_like(start), torch.cat([(sure / start)[:2].log(), (sure - start)[2:]]))
    return numbers(min((_descend(loss, x) for x in begun), key=lambda x: float(loss(x)))).detach()


def _descend(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where `loss` is least near `start`."""
    x = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return x.detach()


def _log_likelihood(lists: _Lists, numbers: Tensor) -> Tensor:
    """(L, N): the log-likelihood of each order, up to a constant of its list, if its n-th passage is the answer."""
    _, answer, ranker, retrieval = numbers
    n = lists.scores.shape[1]
    plain = (ranker * lists.scores - retrieval * lists.places).masked_fill(~lists.is_there, _NEVER)
    utilities = plain[:, None, :] + answer * torch.eye(n, dtype=torch.float64)  # (L, answer, place in the order)
    left = torch.logcumsumexp(utilities.flip(2), 2).flip(2)  # of what was still to be placed
    whole = ((utilities - left) * lists.is_placed[:, None, :]).sum(2).masked_fill(~lists.is_there, _NEVER)
    lapsed = torch.logsumexp(whole, 1, keepdim=True) - lists.is_there.sum(1, keepdim=True).log()
    return torch.logaddexp(whole + math.log(1 - _LAPSE), lapsed + math.log(_LAPSE))
