"""Whether a teacher's orders can teach, from what it puts first: pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from distill.teacher.probes import ProbeAnswer

Trust = Literal["use", "weigh", "refuse"]
Kind = Literal["sound", "unsteady", "unproven", "placed", "reversed", "copying", "blind", "chance", "too few", "silent"]

SIGNIFICANT = 0.001
WEAK_BIAS = 0.25  # of 1, where one place of the prompt always wins
_STRONG_BIAS = 0.5
_SURE = 1.645  # standard errors: 95 %, one-sided
FULL_KAPPA = 0.4  # moderate agreement (Landis & Koch 1977)
_SOME_KAPPA = 0.1  # enough to count a little where plants are found, though chance could bring it
_FOLLOWS = 0.4  # of τ with the retrieval: below it nothing is a copy
_AS_A_COPY = 0.98  # of what a copy with noise would have
_CHANCE_HITS = 0.05  # of first places: noise may hit the same passage twice
_COPIED_AT_LEAST = 0.85  # with 95 % confidence: 20 of 20
_MOST_REFUSED = 0.5
_LUCKY_PROBE = 0.01  # how likely chance may pass the probe
_FOUND_AT_LEAST = 0.5  # of the plants, with 95 % confidence, for full trust


def share_at_least(n_hits: int, n: int) -> float:
    """What a share is at least with 95 % confidence, one-sided (Wilson 1927); 0 of nothing."""
    if not n:
        return 0.0
    share, z2 = n_hits / n, _SURE**2
    root = math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, (share + z2 / (2 * n) - _SURE * root) / (1 + z2 / n))


def kappa(agreement: float, chance: float) -> float:
    """How much of the agreement that chance leaves open is there: 0 chance, 1 always (Cohen 1960)."""
    return (agreement - chance) / (1 - chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """How many of `n` plants came first, and last, where chance has each there with probability `chance`."""

    n: int
    n_first: int
    n_last: int
    chance: float

    @classmethod
    def of(cls, answers: Sequence[ProbeAnswer]) -> Probed:
        """The sum of `answers`."""
        return cls(
            n=len(answers),
            n_first=sum(each.is_first for each in answers),
            n_last=sum(each.is_last for each in answers),
            chance=fmean([1 / each.n for each in answers] or [1.0]),
        )

    @property
    def can_tell(self) -> bool:
        """Whether chance would not find every plant."""
        return self.chance**self.n < _LUCKY_PROBE

    @property
    def is_passed(self) -> bool:
        """Whether more plants came first than chance would put there."""
        return self._luck(self.n_first) < _LUCKY_PROBE

    @property
    def is_reversed(self) -> bool:
        """Whether more came last than chance would put there, and more than came first."""
        return self.n_last > self.n_first and self._luck(self.n_last) < SIGNIFICANT

    def _luck(self, n_hits: int) -> float:
        from scipy.stats import binom

        return float(binom.sf(n_hits - 1, self.n, self.chance))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What a sample says about a teacher; `Assessment` has the words for it."""

    kappa: float
    kappa_at_least: float
    position_p: float
    position_bias: float
    copies: bool
    refused: float
    probed: Probed


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


def is_copy(
    self_agreement: float, with_start: float, same_first: float, first_with_start: float, copied_at_least: float
) -> bool:
    """Whether orders are the retrieval's but for noise, or put first what it puts first nearly always.

    Orders that repeat another with noise correlate with each other as the square of how they correlate with it
    (Spearman 1904); the correlation that a Kendall τ stands for is sin(π τ / 2).
    """
    if copied_at_least > _COPIED_AT_LEAST:
        return True
    if with_start < _FOLLOWS:
        return False
    own, others = (math.sin(math.pi / 2 * min(1.0, tau)) for tau in (max(self_agreement, 0.01), with_start))
    return others >= _AS_A_COPY * math.sqrt(own) and first_with_start >= same_first - _CHANCE_HITS


def decide(signs: Signs) -> tuple[Trust, Kind, str]:
    """What to do with the teacher's orders, what kind of teacher it is, and why."""
    probed = signs.probed
    if signs.refused > _MOST_REFUSED:
        return "refuse", "silent", f"{signs.refused:.0%} of its replies hold no order"
    if probed.is_reversed:
        return "refuse", "reversed", f"it puts the planted answer last ({probed.n_last} of {probed.n} times)"
    if signs.position_p < SIGNIFICANT and signs.position_bias >= _STRONG_BIAS:
        return "refuse", "placed", "the place in the prompt decides what it puts first"
    finds = share_at_least(probed.n_first, probed.n) >= _FOUND_AT_LEAST
    if signs.kappa_at_least <= 0 and not (finds and signs.kappa > _SOME_KAPPA):
        if signs.kappa >= FULL_KAPPA:
            return "refuse", "too few", "on so little that cannot be told from chance"
        return "refuse", "chance", "that cannot be told from chance"
    if probed.can_tell and not probed.is_passed:
        return "refuse", "blind", "it does not find a planted answer better than chance would"
    if signs.copies:
        return "refuse", "copying", "its orders are those of the retrieval, and worth nothing beside it"
    if signs.position_p < SIGNIFICANT and signs.position_bias >= WEAK_BIAS:
        return "weigh", "placed", "the place in the prompt has a part in what it puts first"
    if not probed.can_tell:
        return "weigh", "unproven", "the corpus is too small to plant answers in, so whether it is right is not known"
    if signs.kappa < FULL_KAPPA or signs.kappa_at_least <= 0:
        return "weigh", "unsteady", "what it puts first holds more than chance, but is unsteady"
    if not finds:
        return "weigh", "unsteady", "it misses many planted answers"
    return "use", "sound", "it knows what it prefers, and finds what answers"


def first_reliability(kappa: float, n_passages: float, n_questions: int, probed: Probed) -> tuple[float, float]:
    """(how often what the teacher puts first is right, how many observations that is worth), for priors.

    Two answers that are right with probability r and otherwise anywhere agree by κ = ((n r − 1) / (n − 1))². Of that r
    and the share of plants found the smaller is taken, each drawn towards chance by one observation. It is worth half
    of what was asked: steady errors show in no agreement, and a plant is easier to find than an answer among what was
    retrieved.
    """
    chance = 1 / max(2.0, n_passages)
    steady = chance + (1 - chance) * math.sqrt(max(0.0, kappa))
    found = [((steady * n_questions + chance) / (n_questions + 1), n_questions / 2)]
    if probed.n:
        found.append(((probed.n_first + probed.chance) / (probed.n + 1), probed.n / 2))
    return min(found)
