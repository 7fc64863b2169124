"""The teacher's orders that a ranker learns from, or is measured on."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from distill.jsonl import Record
from distill.ranker.agreement import first_place
from distill.ranker.ranker import Ranker
from distill.ranker.targets import rank_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Lists of candidates with the teacher's ranking of each by question id, and the passages' texts."""

    records: Sequence[Record]
    rankings: Mapping[str, Record]
    texts: Mapping[str, str]

    @property
    def targets(self) -> list[list[int]]:
        """The teacher's ranks of each list's candidates, as the losses take them."""
        return [rank_targets(record, self.rankings[record["id"]]) for record in self.records]

    @property
    def weights(self) -> list[float]:
        """How much each list counts."""
        return [float(self.rankings[record["id"]].get("weight", 1.0)) for record in self.records]

    def part(self, first: int, last: int | None) -> Orders:
        """The lists from `first` up to but without `last`."""
        return replace(self, records=self.records[first:last])

    def agreement_of(self, ranker: Ranker) -> float:
        """How high the ranker puts the teacher's first passages (`first_place`); 0 without lists."""
        return first_place(ranker.score(self.records, self.texts), self.targets, self.weights)

    def agreement_of_retrieval(self) -> float:
        """The same of the order that the candidates were retrieved in."""
        orders = [[-float(place) for place in range(len(record["candidates"]))] for record in self.records]
        return first_place(orders, self.targets, self.weights)


def informative_orders(
    records: Sequence[Record], rankings: Mapping[str, Record], texts: Mapping[str, str], *, seed: int
) -> Orders:
    """The lists that the teacher put in some order and whose order counts, with what it saw of them.

    They are shuffled by `seed`: questions come in the order of their file, which may be by topic.
    """
    seen = [_only_shown(record, rankings[record["id"]]) for record in records if record["id"] in rankings]
    usable = [record for record in seen if _says_something(record, rankings[record["id"]])]
    random.Random(seed).shuffle(usable)  # noqa: S311
    return Orders(records=usable, rankings=rankings, texts=texts)


def _only_shown(record: Record, ranking: Record) -> Record:
    """`record` with the candidates that the teacher saw, each passage once."""
    shown = set(ranking["shown"])
    once: dict[str, Record] = {}
    for candidate in record["candidates"]:
        if candidate["passage"] in shown:
            once.setdefault(candidate["passage"], candidate)
    return record | {"candidates": list(once.values())}


def _says_something(record: Record, ranking: Record) -> bool:
    placed = set(ranking["ranking"])
    candidates = record["candidates"]
    counts = ranking.get("weight", 1.0) > 0
    return counts and len(candidates) > 1 and any(candidate["passage"] in placed for candidate in candidates)
