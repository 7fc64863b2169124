"""What a ranker's head weighs: for each candidate the model's score, the dense and the lexical one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from distill.jsonl import Record

Features = NDArray[np.float64]  # (N, 3): model, dense, lexical
ModelScores = Callable[[Sequence[Record]], Iterable[Sequence[float]]]  # for each record one score for each candidate
OnScored = Callable[[int, int], None]  # (questions done, questions in all)

_QUESTIONS_AT_ONCE = 4  # bounds the memory that token vectors take, and how long nothing is heard of the scoring


def signals_of(
    records: Sequence[Record], model_scores: ModelScores, on_scored: OnScored | None = None
) -> list[Features]:
    """For each record the signals of its N candidates, (N, 3); the model scores some questions at a time."""
    found: list[Features] = []
    for first in range(0, len(records), _QUESTIONS_AT_ONCE):
        batch = records[first : first + _QUESTIONS_AT_ONCE]
        found += [signals(record, scores) for record, scores in zip(batch, model_scores(batch), strict=True)]
        if on_scored:
            on_scored(len(found), len(records))
    return found


def signals(record: Record, model_scores: Sequence[float]) -> Features:
    """The three signals of each of the record's N candidates, (N, 3)."""
    dense, lexical = scalar_signals(record)
    return np.column_stack([model_scores, dense, lexical]).astype(np.float64)


def scalar_signals(record: Record) -> tuple[list[float], list[float]]:
    """The dense and the lexical score of each candidate; lexical ones as shares of the best, as BM25 has no scale."""
    candidates = record["candidates"]
    best = max((candidate["lexical"] for candidate in candidates), default=0.0)
    lexical = [candidate["lexical"] / best if best > 0 else 0.0 for candidate in candidates]
    return [candidate["dense"] for candidate in candidates], lexical
