"""What a teacher is worth on this corpus, found without labels and before the budget is spent.

A few questions are asked twice, the passages in two orders: does the teacher put the same passage first, and another
than the retrieval or the place in the prompt would? And a few answers are planted among passages drawn at random: does
it find them?
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from distill.llm.calls import Asker, Job, work_through
from distill.records import Assessment, CandidateList, Kind, Trust
from distill.teacher.aggregation import pair_agreement
from distill.teacher.asking import Order, n_shuffles
from distill.teacher.ranking import ask_order, place_shares
from distill.teacher.trust import (
    FULL_KAPPA,
    SIGNIFICANT,
    WEAK_BIAS,
    Probe,
    ProbeAnswer,
    Probed,
    ask_probe,
    decide,
    first_reliability,
    is_copy,
    kappa,
    position_test,
    share_at_least,
)
from indexes.errors import LLMError

N_QUESTIONS = 20
_WHAT_NOW: Mapping[Kind, str] = {
    "reversed": "It gives its orders the wrong way round, so they are not used: use another LLM.",
    "copying": "Its orders should not teach: use another LLM, or none, which costs nothing (--teacher none).",
}


def assess_teacher(
    records: Sequence[CandidateList],
    texts: Mapping[str, str],
    asker: Asker,
    mode: str,
    probes: Sequence[Probe],
    *,
    seed: int,
    n_questions: int = N_QUESTIONS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Assessment:
    """What the teacher is worth in `mode`, on `n_questions` of the candidate records drawn by `seed`, and on `probes`.

    The first of the two orders is asked for as `rank_candidates` does with that seed, so where the asker remembers
    replies it costs nothing later.
    """
    usable = [record for record in records if len(record.passages) > 1]
    sample = random.Random(seed).sample(usable, min(n_questions, len(usable)))  # noqa: S311
    shuffles = n_shuffles(mode)
    lists = [
        partial(ask_order, record, texts, shuffles=shuffles, seed=seed, repeat=n) for record in sample for n in range(2)
    ]
    plants = [partial(ask_probe, probe, seed=seed) for probe in probes] if sample else []
    jobs: list[Job[Order | ProbeAnswer]] = [*lists, *plants]
    found: dict[int, Order | ProbeAnswer | LLMError] = {}
    on_progress(0, len(jobs))
    for job, answer in work_through(asker, jobs) if jobs else ():
        found[job] = answer
        on_progress(len(found), len(jobs))
    orders = [each if isinstance(each, Order) else Order() for job, each in sorted(found.items()) if job < len(lists)]
    answers = [
        Answers(n=len(record.passages), orders=(first, second))
        for record, first, second in zip(sample, orders[::2], orders[1::2], strict=True)
    ]
    return assess(mode, answers, [each for each in found.values() if isinstance(each, ProbeAnswer)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A question's `n` passages as the teacher ordered them, asked twice."""

    n: int
    orders: tuple[Order, Order]

    @property
    def pair(self) -> tuple[Sequence[int], Sequence[int]]:
        """The two orders to compare."""
        return self.orders[0].order, self.orders[1].order

    @property
    def agreement(self) -> float:
        """Kendall τ of the two."""
        return pair_agreement(*self.pair, self.n)


def assess(mode: str, answers: Sequence[Answers], probe_answers: Sequence[ProbeAnswer]) -> Assessment:
    """What the `answers` of a sample of questions, and those to planted ones, say about their teacher."""
    orders = [order for each in answers for order in each.orders]
    answered = [each for each in answers if all(each.pair)]
    n = len(answered)
    n_same = sum(each.pair[0][0] == each.pair[1][0] for each in answered)
    chance = fmean([1 / each.n for each in answered] or [0.5])
    same = n_same / max(1, n)
    best_at = [pair for order in orders for pair in order.best_at]
    p, bias = position_test(best_at)
    taus = fmean([each.agreement for each in answered] or [0.0])
    starts = fmean([pair_agreement(order, range(each.n), each.n) for each in answered for order in each.pair] or [0.0])
    first_with_start = _share([order[0] == 0 for each in answered for order in each.pair])
    n_copied = sum(all(order[0] == 0 for order in each.pair) for each in answered)
    probed = Probed.of(probe_answers)
    top1, top1_weight = first_reliability(kappa(same, chance), fmean([each.n for each in answered] or [2]), n, probed)
    found = Assessment(
        mode=mode,
        n_questions=len(answers),
        n_probes=probed.n,
        kappa=kappa(same, chance),
        at_least=kappa(share_at_least(n_same, n), chance),
        best_agreement=same,
        probe_first=probed.n_first / probed.n if probed.n else None,
        self_agreement=taus,
        best_shown_at=tuple(place_shares(best_at)),
        position_p=p,
        position_bias=bias,
        agreement_with_start=starts,
        malformed=_share([order.status != "ok" for order in orders]),
        refused=_share([not order.order for order in orders]) if orders else 1.0,
        calls=sum(order.n_asked for order in orders) / max(1, len(orders)),
        top1=top1,
        top1_weight=top1_weight,
    )
    copies = is_copy(taus, starts, same, first_with_start, share_at_least(n_copied, n))
    trust, kind, reason = decide(found, probed, copies=copies)
    weight = {"use": 1.0, "weigh": _part(found, probed)}.get(trust, 0.0)
    sentence = _sentence(found, probed, trust, kind, reason)
    return replace(found, trust=trust, verdict_kind=kind, weight=weight, sentence=sentence)


def _part(found: Assessment, probed: Probed) -> float:
    """How much a list counts in part: as far as what is put first is steady, right, and not by its place."""
    share = probed.n_first / probed.n if probed.can_tell else 1.0
    is_placed = found.position_p < SIGNIFICANT and found.position_bias >= WEAK_BIAS
    return min(1.0, max(0.0, found.kappa) / FULL_KAPPA) * share * (1 - found.position_bias if is_placed else 1.0)


def _share(facts: Sequence[bool]) -> float:
    return sum(facts) / len(facts) if facts else 0.0


def _sentence(found: Assessment, probed: Probed, trust: Trust, kind: Kind, reason: str) -> str:
    n = found.n_questions
    if not n:
        return "No question has two candidates to put in order, so nothing can be said of the teacher."
    more = "give more questions to train on, or " if kind == "too few" and n < N_QUESTIONS else ""
    then: Mapping[Trust, str] = {
        "use": "Its orders count in full.",
        "weigh": "Its orders count in part.",
        "refuse": f"Its orders should not teach: {more}use a stronger LLM or another mode.",
    }
    plants = f", and a planted answer in {probed.n_first} of {probed.n} cases" if probed.n else ""
    return (
        f"Asked twice about {n} questions in mode {found.mode}, the passages shuffled, the teacher puts the same one "
        f"first at κ {found.kappa:.2f} (1 always, 0 chance; at least {found.at_least:.2f}){plants}; {reason}. "
        f"{_WHAT_NOW.get(kind, then[trust])}"
    )
