"""Ways to teach without a ranker between, which the method is compared with: each makes the targets of stage 2.

- `direct`: the order itself, its places turned into probabilities.
- `contrastive`: the teacher's first passage against all others that it was shown.

Both write what `distill.retriever.lists` describes; a run takes targets that lie in its folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from distill.records import Ranking, ScoreList

_SHARPNESS = 2.0  # the first of ten then outweighs the second by 2.2
_NEVER = -13.8  # the logarithm of a millionth


def direct(orders: Mapping[str, Ranking], questions: Mapping[str, str]) -> list[ScoreList]:
    """The targets of each question with an order: softmax(-2 · log2(place + 1)), what was left out sharing the mean of
    the places that remain.
    """
    return [_target(order, questions, _by_place(order)) for order in orders.values()]


def contrastive(orders: Mapping[str, Ranking], questions: Mapping[str, str]) -> list[ScoreList]:
    """All probability on the teacher's first passage, none on the others that it was shown."""
    return [
        _target(order, questions, {p: 0.0 if p == order.ranking[0] else _NEVER for p in _passages(order)})
        for order in orders.values()
    ]


METHODS = {"direct": direct, "contrastive": contrastive}


def _by_place(order: Ranking) -> dict[str, float]:
    placed, n = list(dict.fromkeys(order.ranking)), len(_passages(order))
    left = [_utility(place) for place in range(len(placed) + 1, n + 1)]
    rest = math.fsum(left) / len(left) if left else 0.0
    places = {passage: _utility(place) for place, passage in enumerate(placed, start=1)}
    return {passage: places.get(passage, rest) for passage in _passages(order)}


def _utility(place: int) -> float:
    return -_SHARPNESS * math.log2(place + 1)


def _passages(order: Ranking) -> list[str]:
    return list(dict.fromkeys([*order.ranking, *order.shown]))


def _target(order: Ranking, questions: Mapping[str, str], logits: Mapping[str, float]) -> ScoreList:
    return ScoreList(
        id=order.id,
        question=questions[order.id],
        passages=tuple(logits),
        scores=tuple(logits.values()),
        weight=order.weight,
    )
