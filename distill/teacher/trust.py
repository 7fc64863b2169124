"""Whether a teacher's orders can teach: what it puts first, and whether it finds answers that were planted."""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from distill.llm.calls import Asker
from distill.records import Assessment, CandidateList, Kind, Ranking, Trust
from distill.teacher.aggregation import pair_agreement
from distill.teacher.asking import order_question
from indexes.types import Passage

N_PROBES = 20
N_SHOWN = 10
_READ = 500  # characters of a passage that a question may be taken from: the rest may not be shown
_WORDS = range(6, 41)  # of a sentence that stands for a question


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question, passages, and which of them (from 0) is the plant."""

    id: str
    question: str
    passages: tuple[str, ...]
    plant: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """Whether the plant came first, or last, of the `n` passages that were shown."""

    n: int
    is_first: bool
    is_last: bool


def make_probes(
    records: Sequence[CandidateList],
    passages: Sequence[Passage],
    known: Mapping[str, Collection[str]],
    *,
    seed: int,
    n_probes: int = N_PROBES,
    n_shown: int = N_SHOWN,
) -> list[Probe]:
    """At most `n_probes`, drawn by `seed`; none where the corpus has fewer than two different passages.

    The plants are what the questions of the candidate `records` are `known` (passage ids by question) to be answered
    by; where that is not known, a passage is asked for by a sentence of its own.
    """
    draw = random.Random(f"{seed}:probes")  # noqa: S311
    by_text: dict[str, Passage] = {}
    same = {passage.id: by_text.setdefault(" ".join(passage.text.split()), passage) for passage in passages}
    distinct = list(by_text.values())
    asked = [
        (record.id, record.question, answers)
        for record in draw.sample(records, len(records))
        if (answers := [same[p] for p in known.get(record.id, ()) if p in same])
    ]
    probes: list[Probe] = []
    for identifier, question, answers in (*asked, *_of_themselves(distinct, draw)):
        if len(probes) == n_probes:
            break
        plant = draw.choice(answers)
        others = [passage for passage in distinct if passage not in answers]
        if others:
            probes.append(_planted(identifier, question, plant, others, n_shown, draw))
    return probes


def known_answers(
    positives: Mapping[str, Collection[str]], sources: Mapping[str, Collection[str]], passages: Sequence[Passage]
) -> dict[str, list[str]]:
    """The passages that answer a question, by its id: those it was written from, else its `positives`.

    A positive that is a document counts where it is one passage only: which of several answers is not known.
    """
    parts = Counter(passage.document_id for passage in passages)
    whole = {passage.document_id: passage.id for passage in passages if parts[passage.document_id] == 1}
    ids = {passage.id for passage in passages}
    found = {q: [p if p in ids else whole[p] for p in each if p in ids or p in whole] for q, each in positives.items()}
    return found | {question: list(each) for question, each in sources.items() if each}


def _of_themselves(passages: Sequence[Passage], draw: random.Random) -> Iterator[tuple[str, str, list[Passage]]]:
    for passage in draw.sample(passages, len(passages)):
        sentences = re.split(r"(?<=[.!?。])\s+|\n", passage.text[:_READ])
        fitting = [sentence for sentence in sentences if len(sentence.split()) in _WORDS]
        text = max(fitting, key=len) if fitting else passage.text[: _READ // 4]
        if text.strip():
            yield passage.id, " ".join(text.split()), [passage]


def _planted(
    identifier: str, question: str, plant: Passage, others: Sequence[Passage], n_shown: int, draw: random.Random
) -> Probe:
    """The plant among others, so many of them longer than it that length tells nothing."""
    pool = draw.sample(others, min(len(others), 5 * n_shown))
    n_others = min(n_shown - 1, len(pool))
    n_longer = draw.randint(0, n_others)
    longer = [passage for passage in pool if len(passage.full_text) > len(plant.full_text)]
    shorter = [passage for passage in pool if len(passage.full_text) <= len(plant.full_text)]
    ordered = [*longer[:n_longer], *shorter[: n_others - n_longer], *longer[n_longer:], *shorter[n_others - n_longer :]]
    texts = [passage.full_text for passage in ordered[:n_others]]
    place = draw.randint(0, n_others)
    texts.insert(place, plant.full_text)
    return Probe(id=identifier, question=question, passages=tuple(texts), plant=place)


async def ask_probe(probe: Probe, asker: Asker, *, seed: int) -> ProbeAnswer:
    """What the teacher makes of `probe`, asked once."""
    key, n = f"{seed}:probe:{probe.id}", len(probe.passages)
    said = (await order_question(asker, probe.question, probe.passages, key=key)).order
    return ProbeAnswer(n=n, is_first=said[:1] == (probe.plant,), is_last=len(said) == n and said[-1] == probe.plant)


SIGNIFICANT = 0.001
WEAK_BIAS = 0.25  # of 1, where one place of the prompt always wins
_STRONG_BIAS = 0.5
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
    from scipy.stats import binomtest

    return float(binomtest(n_hits, n).proportion_ci(0.9, "wilson").low) if n else 0.0


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


def decide(found: Assessment, probed: Probed, *, copies: bool) -> tuple[Trust, Kind, str]:
    """What to do with the teacher's orders, what kind of teacher it is, and why, by what was `found`."""
    is_placed = found.position_p < SIGNIFICANT
    if found.refused > _MOST_REFUSED:
        return "refuse", "silent", f"{found.refused:.0%} of its replies hold no order"
    if probed.is_reversed:
        return "refuse", "reversed", f"it puts the planted answer last ({probed.n_last} of {probed.n} times)"
    if is_placed and found.position_bias >= _STRONG_BIAS:
        return "refuse", "placed", "the place in the prompt decides what it puts first"
    finds = share_at_least(probed.n_first, probed.n) >= _FOUND_AT_LEAST
    if found.at_least <= 0 and not (finds and found.kappa > _SOME_KAPPA):
        if found.kappa >= FULL_KAPPA:
            return "refuse", "too few", "on so little that cannot be told from chance"
        return "refuse", "chance", "that cannot be told from chance"
    if probed.can_tell and not probed.is_passed:
        return "refuse", "blind", "it does not find a planted answer better than chance would"
    if copies:
        return "refuse", "copying", "its orders are those of the retrieval, and worth nothing beside it"
    if is_placed and found.position_bias >= WEAK_BIAS:
        return "weigh", "placed", "the place in the prompt has a part in what it puts first"
    if not probed.can_tell:
        return "weigh", "unproven", "the corpus is too small to plant answers in, so whether it is right is not known"
    if found.kappa < FULL_KAPPA or found.at_least <= 0:
        return "weigh", "unsteady", "what it puts first holds more than chance, but is unsteady"
    if not finds:
        return "weigh", "unsteady", "it misses many planted answers"
    return "use", "sound", "it knows what it prefers, and finds what answers"


_FEW_ORDERS = 100
_SURELY = 3.0  # standard errors: chance passes once in 700
_SAME_ORDER = 0.95  # Kendall τ with the order of retrieval


def judge_given(records: Sequence[CandidateList], rankings: Sequence[Ranking]) -> tuple[Trust, Kind, str]:
    """What to do with orders of a teacher that cannot be asked, what kind of teacher it is, and a sentence for people.

    The order of retrieval is the witness: it knows something of the question, so orders that know something too put
    first what it puts first more often than chance would. "" for fewer than 100 orders.
    """
    order_of = {ranking.id: ranking for ranking in rankings}
    gains, taus = [], []
    for record in (each for each in records if each.id in order_of):
        ranking = order_of[record.id]
        passages = [p for p in record.passages if p in ranking.shown]
        placed = [passages.index(p) for p in ranking.ranking if p in passages]
        if placed and len(passages) > 1:
            chance = fmean(1 / place for place in range(1, len(passages) + 1))
            gains.append(1 / (1 + placed[0]) - chance)
            taus.append(pair_agreement(placed, range(len(passages)), len(passages)))
    if len(gains) < _FEW_ORDERS:
        return "", "", ""
    gain, error = fmean(gains), stdev(gains) / math.sqrt(len(gains))
    kind: Kind = ""
    if gain + _SURELY * error < 0:
        kind, why = "reversed", "they put first what retrieval puts last: they run from the worst to the best"
    elif gain - _SURELY * error <= 0:
        kind, why = "chance", "what they put first has no more to do with what retrieval puts first than chance has"
    elif fmean(taus) > _SAME_ORDER:
        kind, why = "copying", "they are the order of retrieval, and worth nothing beside it"
    if not kind:
        return "", "", ""
    return "refuse", kind, f"The {len(gains):,} orders should not teach: {why}."


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
