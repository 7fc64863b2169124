"""How far a ranker's scores agree with the teacher's orders at the top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.ranker.targets import PADDING


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
