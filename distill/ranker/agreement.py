"""How far a ranker's scores agree with the teacher's orders, and how far its scores can be taken as probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.ranker.targets import PADDING, UNRANKED

_N_BINS = 10
_LOG_TEMPERATURES = (-6.0, 8.0)


def agreement(
    scores: Sequence[Sequence[float]], targets: Sequence[Sequence[int]], weights: Sequence[float] | None = None
) -> float:
    """Mean Kendall τ of scores and orders over the pairs that the teacher has put in order; 0 without any such pair.

    1 is the teacher's order, -1 its reverse; equal scores count as neither. Lists count by their `weights`. NaN if a
    score is.
    """
    total, weight = 0.0, 0.0
    for row, target, counts in zip(scores, targets, weights or [1.0] * len(scores), strict=True):
        margins = preference_margins(row, target)
        if len(margins):
            total += counts * float(np.sign(margins).mean())
            weight += counts
    return total / weight if weight else 0.0


def preference_margins(scores: Sequence[float], targets: Sequence[int]) -> NDArray[np.float64]:
    """For each pair of candidates that the teacher has put in order, the better one's score minus the other's."""
    values, ranks = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    placed = (ranks != PADDING) & (ranks != UNRANKED)
    better, worse = np.nonzero(placed[:, None] & (ranks[:, None] < ranks[None, :]))
    margins: NDArray[np.float64] = values[better] - values[worse]
    return margins


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well σ(score difference / temperature) tells how often the teacher prefers the passage with the higher score.

    `error` is the expected calibration error (Naeini et al., AAAI 2015; 10 bins) at temperature 1, `error_at_best` at
    `temperature`, at which the teacher's preferences are likeliest (Guo et al., ICML 2017).
    """

    n_pairs: int
    temperature: float
    error: float
    error_at_best: float


def calibrate(scores: Sequence[Sequence[float]], targets: Sequence[Sequence[int]]) -> Calibration | None:
    """The calibration of `scores` on the teacher's pairs; None without any pair."""
    from scipy.optimize import minimize_scalar

    margins = np.concatenate([np.zeros(0), *map(preference_margins, scores, targets)])
    if not len(margins):
        return None

    def surprise(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -margins / np.exp(log_temperature)).mean())

    found = minimize_scalar(surprise, bounds=_LOG_TEMPERATURES, method="bounded")
    temperature = float(np.exp(found.x))
    return Calibration(
        n_pairs=len(margins),
        temperature=temperature,
        error=_expected_error(margins),
        error_at_best=_expected_error(margins / temperature),
    )


def _expected_error(margins: NDArray[np.float64]) -> float:
    """Mean distance, over the pairs, of a bin's confidence from its share of pairs in the teacher's order."""
    confidence = 1.0 / (1.0 + np.exp(-np.abs(margins)))  # from 1/2 to 1
    right = np.where(margins > 0, 1.0, np.where(margins < 0, 0.0, 0.5))
    bins = np.minimum(((confidence - 0.5) * 2 * _N_BINS).astype(int), _N_BINS - 1)
    gaps = [abs((confidence[bins == b] - right[bins == b]).sum()) for b in range(_N_BINS)]
    return float(sum(gaps) / len(margins))
