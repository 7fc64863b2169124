"""What stage 2 trains on: for each question its scored passages with the logarithms of their targets. Pure.

A target record is a score record, {"id", "question", "passages", "scores"}, with an optional "weight"; stage 2 takes a
softmax of its scores. Whatever else teaches (`benchmarks/methods.py` has other ways) writes such records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from distill.jsonl import Record
from distill.retriever.evidence import Evidence, posteriors, ranker_posteriors

_LEAST = 1e-6  # a probability below it is as good as none, and its logarithm can be held by JSON


def by_evidence(scores: Sequence[Record], orders: Mapping[str, Record], evidence: Evidence) -> list[Record]:
    """How likely each passage is the answer, of the questions with an order and of those that the ranker alone can
    speak of: where it is found to say nothing, a question without an order teaches nothing.
    """
    said = posteriors(scores, orders, evidence=evidence)
    rest = [each for each in scores if each["id"] not in said]
    said |= ranker_posteriors(rest, evidence)
    return [_target(each, said[each["id"]]) for each in scores if each["id"] in said]


def by_scores(scores: Sequence[Record], n: int | None = None) -> list[Record]:
    """The ranker's scores as they are, of the first `n` candidates."""
    return [each | {key: each[key][:n] for key in ("passages", "scores")} for each in scores]


def _target(record: Record, probabilities: Mapping[str, float]) -> Record:
    values = [round(math.log(max(probabilities.get(p, 0.0), _LEAST)), 4) for p in record["passages"]]
    return record | {"scores": values}
