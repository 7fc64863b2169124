"""What stage 2 trains on, by method: score records made of a ranker's scores, of the LLM's orders, or of both.

A target record is a score record, {"id", "question", "passages", "scores"}, with a "weight" in [0, 1]; stage 2 turns
its scores into a distribution by a softmax over the teacher temperature. All functions are pure.

- `intermediate`: the ranker's scores, which the LLM's orders have taught, and beside them what those orders say.
- `direct`: the LLM's order itself, its places turned into scores; no ranker.
- `contrastive`: the LLM's first passage against all others; no ranker, and of the order nothing but its head.
- `pseudo_label`: after GPL (arXiv 2112.07577): margins of a ranker that no LLM has taught, between the passage that a
  question was written from (else the ranker's best) and the others. Train it with the objective "margin-mse".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from distill.jsonl import Record
from distill.retriever.doubtful import Doubtful

Method = Literal["intermediate", "direct", "contrastive", "pseudo-label"]

SHARPNESS = 2.0  # what a place's utility is multiplied by in `direct`: the first of ten outweighs the second by 2.2
_NEVER = -10_000.0  # a logit whose probability is 0 at any temperature in use, and that JSON can hold


def utility(place: int) -> float:
    """What a passage is worth at `place` (from 1 on) of an order: -log2(place + 1), from -1 down, by ever less.

    The logarithm of nDCG's discount: after a softmax the first places differ much and the last ones hardly.
    """
    return -math.log2(place + 1)


def order_utilities(ranking: Record) -> dict[str, float]:
    """Utility by passage of everything that the LLM was shown; {} where it gave no order.

    What it left out shares the mean utility of the places that remain: lower than all that it placed, and no order is
    invented among the rest.
    """
    placed = list(dict.fromkeys(ranking["ranking"]))
    shown = list(dict.fromkeys(ranking["shown"]))
    left_out = [passage for passage in shown if passage not in set(placed)]
    if not placed:
        return {}
    utilities = {passage: utility(place) for place, passage in enumerate(placed, start=1)}
    if left_out:
        places = range(len(placed) + 1, len(placed) + len(left_out) + 1)
        utilities |= dict.fromkeys(left_out, math.fsum(map(utility, places)) / len(left_out))
    return utilities


def add_to_scores(scores: Record, said: Mapping[str, float], temperature: float = 1.0) -> Record:
    """`scores` plus what an order has `said` for the passages that it was shown.

    An order says nothing about what it never saw. So the probability (at `temperature`) of the shown passages together
    stays what the ranker gave them, and the order moves it among them only: that of each other passage is unchanged.
    """
    shown = [place for place, passage in enumerate(scores["passages"]) if passage in said]
    old = [scores["scores"][place] for place in shown]
    new = [s + said[scores["passages"][place]] for s, place in zip(old, shown, strict=True)]
    if old == new:
        return scores
    shift = _log_sum(old, temperature) - _log_sum(new, temperature)
    moved = list(scores["scores"])
    for place, score in zip(shown, new, strict=True):
        moved[place] = score + shift
    return scores | {"scores": moved}


def _log_sum(logits: Sequence[float], temperature: float) -> float:
    """temperature · log Σ exp(logit / temperature)."""
    most = max(logits)
    return most + temperature * math.log(math.fsum(math.exp((logit - most) / temperature) for logit in logits))


def said_by_places(rankings: Mapping[str, Record], blend: float) -> dict[str, dict[str, float]]:
    """What each order says, as `blend` times its weight times the utilities of its places, by question and passage."""
    return {
        identifier: {p: blend * ranking.get("weight", 1.0) * value for p, value in order_utilities(ranking).items()}
        for identifier, ranking in rankings.items()
    }


def intermediate(
    scores: Sequence[Record], said: Mapping[str, Mapping[str, float]] | None = None, *, temperature: float = 1.0
) -> list[Record]:
    """The ranker's scores of all questions, and with them what the LLM's orders have `said` of their passages."""
    return [add_to_scores(each, (said or {}).get(each["id"], {}), temperature) for each in scores]


def direct(candidates: Sequence[Record], rankings: Mapping[str, Record], sharpness: float = SHARPNESS) -> list[Record]:
    """`sharpness` times the utilities of the LLM's orders; questions without an order are out."""
    return [
        _target(each, utilities, ranking, [sharpness * value for value in utilities.values()])
        for each, ranking, utilities in _ordered(candidates, rankings)
    ]


def contrastive(
    candidates: Sequence[Record], rankings: Mapping[str, Record], doubtful: Doubtful | None = None
) -> list[Record]:
    """All probability on the LLM's first passage, none on the others that it was shown; no order, no target.

    `doubtful` passages are no negatives, see `doubtful_passages`.
    """
    targets = []
    for each, ranking, utilities in _ordered(candidates, rankings):
        first = ranking["ranking"][0]
        apart = (doubtful or {}).get(each["id"], frozenset()) - {first}
        kept = [passage for passage in utilities if passage not in apart]
        targets.append(_target(each, kept, ranking, [0.0 if passage == first else _NEVER for passage in kept]))
    return targets


def pseudo_label(
    scores: Sequence[Record], positives: Mapping[str, str] | None = None, doubtful: Doubtful | None = None
) -> list[Record]:
    """`scores` of a ranker that no LLM has taught, with a "positive" in each record: the passage in `positives` (by
    question) where it is a candidate, else the best. The objective "margin-mse" takes its margins over the others, of
    which `doubtful` passages are none.
    """
    targets = []
    for each in scores:
        positive = (positives or {}).get(each["id"])
        if positive not in each["passages"]:
            positive = max(zip(each["scores"], each["passages"], strict=True))[1]
        apart = (doubtful or {}).get(each["id"], frozenset()) - {positive}
        kept = [pair for pair in zip(each["passages"], each["scores"], strict=True) if pair[0] not in apart]
        passages, values = [list(column) for column in zip(*kept, strict=True)]
        targets.append(each | {"positive": positive, "passages": passages, "scores": values})
    return targets


def _ordered(
    candidates: Sequence[Record], rankings: Mapping[str, Record]
) -> list[tuple[Record, Record, dict[str, float]]]:
    """(candidate record, ranking, utilities) of the questions for which the LLM gave an order."""
    pairs = [(each, rankings[each["id"]]) for each in candidates if each["id"] in rankings]
    found = [(each, ranking, order_utilities(ranking)) for each, ranking in pairs]
    return [(each, ranking, utilities) for each, ranking, utilities in found if utilities]


def _target(record: Record, passages: Iterable[str], ranking: Record, scores: Sequence[float]) -> Record:
    return {
        "id": record["id"],
        "question": record["question"],
        "passages": list(passages),
        "scores": list(scores),
        "weight": ranking.get("weight", 1.0),
    }
