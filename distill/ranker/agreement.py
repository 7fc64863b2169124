"""The orders that a ranker learns from, and how far its scores agree with them at the top."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.candidates import PADDING, rank_targets
from distill.ranker.ranker import Ranker
from distill.records import CandidateList, Ranking, Retrieved


def first_place(
    scores: Sequence[Sequence[float]], targets: Sequence[Sequence[int]], weights: Sequence[float] | None = None
) -> float:
    """The mean reciprocal place, by `scores`, of the passage that the teacher put first among those it saw; 0 without
    lists. 1 is the teacher's own choice each time; equal scores share the mean of their places.

    The first place alone: what a teacher puts last follows the order it was shown more than the question. Lists count
    by their `weights`. NaN if a score is.
    """
    found = [_reciprocal_place(row, target) for row, target in zip(scores, targets, strict=True)]
    counting = [(value, w) for value, w in zip(found, weights or [1.0] * len(found), strict=True) if value is not None]
    total = sum(w for _, w in counting)
    return sum(value * w for value, w in counting) / total if total else 0.0


def _reciprocal_place(scores: Sequence[float], targets: Sequence[int]) -> float | None:
    """None where the teacher placed nothing."""
    values, ranks = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if not (ranks == 0).any():
        return None
    first = values[ranks == 0][0]
    if np.isnan(values).any():
        return float("nan")
    seen = values[ranks != PADDING]
    return float(1.0 / (1.0 + (seen > first).sum() + ((seen == first).sum() - 1) / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Lists of candidates with the teacher's ranking of each by question id, and the passages' texts."""

    records: Sequence[CandidateList]
    rankings: Mapping[str, Ranking]
    texts: Mapping[str, str]

    @property
    def targets(self) -> list[list[int]]:
        """The teacher's ranks of each list's candidates, as the losses take them."""
        return [rank_targets(record, self.rankings[record.id]) for record in self.records]

    @property
    def weights(self) -> list[float]:
        """How much each list counts."""
        return [self.rankings[record.id].weight for record in self.records]

    def part(self, first: int, last: int | None) -> Orders:
        """The lists from `first` up to but without `last`."""
        return replace(self, records=self.records[first:last])

    def agreement_of(self, ranker: Ranker) -> float:
        """How high the ranker puts the teacher's first passages (`first_place`); 0 without lists."""
        return first_place(ranker.score(self.records, self.texts), self.targets, self.weights)

    def agreement_of_retrieval(self) -> float:
        """The same of the order that the candidates were retrieved in."""
        orders = [[-float(place) for place in range(len(record.candidates))] for record in self.records]
        return first_place(orders, self.targets, self.weights)


def informative_orders(
    records: Sequence[CandidateList], rankings: Mapping[str, Ranking], texts: Mapping[str, str], *, seed: int
) -> Orders:
    """The lists that the teacher put in some order and whose order counts, with what it saw of them.

    They are shuffled by `seed`: questions come in the order of their file, which may be by topic.
    """
    seen = [_only_shown(record, rankings[record.id]) for record in records if record.id in rankings]
    usable = [record for record in seen if _says_something(record, rankings[record.id])]
    random.Random(seed).shuffle(usable)  # noqa: S311
    return Orders(records=usable, rankings=rankings, texts=texts)


def _only_shown(record: CandidateList, ranking: Ranking) -> CandidateList:
    """`record` with the candidates that the teacher saw, each passage once."""
    shown = set(ranking.shown)
    once: dict[str, Retrieved] = {}
    for candidate in record.candidates:
        if candidate.passage in shown:
            once.setdefault(candidate.passage, candidate)
    return replace(record, candidates=tuple(once.values()))


def _says_something(record: CandidateList, ranking: Ranking) -> bool:
    placed = set(ranking.ranking)
    candidates = record.candidates
    return ranking.weight > 0 and len(candidates) > 1 and any(candidate.passage in placed for candidate in candidates)


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
