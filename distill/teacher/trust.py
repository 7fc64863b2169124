"""Whether a teacher's orders can teach, from how steady they are: pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

from distill.teacher.ranking import CHANCE_AGREEMENT, FULL_AGREEMENT

Trust = Literal["use", "weigh", "refuse"]

TOO_FEW = "on so little that cannot be told from chance"
SIGNIFICANT = 0.001
WEAK_BIAS = 0.25  # of 1, where one place of the prompt always wins
_STRONG_BIAS = 0.5
_SURE = 1.645  # standard errors: 95 %, one-sided
_LEAST_SURE_AGREEMENT = 0.1
_MOST_REFUSED = 0.5


def mean_at_least(taus: Sequence[float], n_passages: float) -> tuple[float, float]:
    """The mean, and what it is at least with 95 % confidence.

    The spread is taken to be no smaller than that of τ between random orders of so many passages (Kendall 1938).
    """
    if not taus:
        return 0.0, -1.0
    by_chance = math.sqrt(2 * (2 * n_passages + 5) / (9 * n_passages * (n_passages - 1)))
    spread = max(by_chance, stdev(taus) if len(taus) > 1 else 0.0)
    return fmean(taus), fmean(taus) - _SURE * spread / math.sqrt(len(taus))


def position_test(best_at: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """(p of a χ² test, Cramér's V) of the places that the best passages were shown at, against equal shares.

    `best_at` has (place, number of passages shown); prompts of different lengths are tested apart and added up.
    """
    from scipy.stats import chi2

    by_length: dict[int, Counter[int]] = defaultdict(Counter)
    for place, length in best_at:
        if length > 1:
            by_length[length][place] += 1
    statistic = freedom = greatest = 0.0
    for length, counts in by_length.items():
        expected = counts.total() / length
        statistic += sum((counts[place] - expected) ** 2 / expected for place in range(length))
        freedom += length - 1
        greatest += counts.total() * (length - 1)
    if not greatest:
        return 1.0, 0.0
    return float(chi2.sf(statistic, freedom)), math.sqrt(statistic / greatest)


def decide(mean: float, at_least: float, p: float, bias: float, with_start: float, refused: float) -> tuple[Trust, str]:
    """What to do with the teacher's orders, and why."""
    if refused > _MOST_REFUSED:
        return "refuse", f"{refused:.0%} of its replies hold no order"
    if p < SIGNIFICANT and bias >= _STRONG_BIAS:
        return "refuse", "the place in the prompt decides what it puts first"
    if mean < CHANCE_AGREEMENT:
        return "refuse", "that cannot be told from chance"
    if at_least < _LEAST_SURE_AGREEMENT:
        return "refuse", TOO_FEW
    if p < SIGNIFICANT and bias >= WEAK_BIAS:
        return "weigh", "the place in the prompt has a part in what it puts first"
    if with_start >= mean:
        return "weigh", "the order of retrieval foretells its orders as well as it does itself: it adds little to it"
    if mean < FULL_AGREEMENT:
        return "weigh", "its orders hold more than chance, but are unsteady"
    return "use", "it knows what it prefers"
