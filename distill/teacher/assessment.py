"""What a teacher is worth on this corpus, found without labels and before the budget is spent.

A few questions are asked twice, the passages in two orders: does the teacher put the same passage first, and another
than the retrieval or the place in the prompt would? And a few answers are planted among passages drawn at random: does
it find them?
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from distill.llm.calls import Asker, work_through
from distill.records import Assessment, CandidateList, Kind, Trust
from distill.teacher.aggregation import pair_agreement
from distill.teacher.asking import Asks, Limits, Order, n_shuffles
from distill.teacher.ranking import ask_order, place_shares
from distill.teacher.trust import (
    FULL_KAPPA,
    SIGNIFICANT,
    WEAK_BIAS,
    Probe,
    ProbeAnswer,
    Probed,
    Signs,
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
_DEFAULT_LIMITS = Limits()
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
    limits: Limits = _DEFAULT_LIMITS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Assessment:
    """What the teacher is worth in `mode`, on `n_questions` of the candidate records drawn by `seed`, and on `probes`.

    The first of the two orders is asked for as `rank_candidates` does with that seed, so where the asker remembers
    replies it costs nothing later.
    """
    usable = [record for record in records if len(record.passages) > 1]
    sample = random.Random(seed).sample(usable, min(n_questions, len(usable)))  # noqa: S311
    how: dict[str, Any] = {"seed": seed, "limits": limits}
    of_list = how | {"shuffles": n_shuffles(mode)}
    lists = [partial(ask_order, record, texts, repeat=repeat, **of_list) for record in sample for repeat in range(2)]
    plants = [partial(ask_probe, probe, **how) for probe in probes] if sample else []
    jobs: list[Callable[[Asks], Awaitable[Order | ProbeAnswer]]] = [*lists, *plants]
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
    n_passages, n = fmean([each.n for each in answered] or [2]), len(answered)
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
    signs = Signs(
        kappa=kappa(same, chance),
        kappa_at_least=kappa(share_at_least(n_same, n), chance),
        position_p=p,
        position_bias=bias,
        copies=is_copy(taus, starts, same, first_with_start, share_at_least(n_copied, n)),
        refused=_share([not order.order for order in orders]) if orders else 1.0,
        probed=probed,
    )
    trust, kind, reason = decide(signs)
    top1, top1_weight = first_reliability(signs.kappa, n_passages, n, probed)
    return Assessment(
        mode=mode,
        n_questions=len(answers),
        n_probes=probed.n,
        kappa=round(signs.kappa, 4),
        at_least=round(signs.kappa_at_least, 4),
        best_agreement=round(same, 4),
        probe_first=round(probed.n_first / probed.n, 4) if probed.n else None,
        probe_last=round(probed.n_last / probed.n, 4) if probed.n else None,
        self_agreement=round(taus, 4),
        best_shown_at=tuple(round(share, 4) for share in place_shares(best_at)),
        position_p=p,
        position_bias=round(bias, 4),
        agreement_with_start=round(starts, 4),
        first_with_start=round(first_with_start, 4),
        malformed=round(_share([order.status != "ok" for order in orders]), 4),
        refused=round(signs.refused, 4),
        calls=round(sum(order.n_asked for order in orders) / max(1, len(orders)), 2),
        trust=trust,
        verdict_kind=kind,
        weight=round(_weight(trust, signs), 4),
        top1=round(top1, 4),
        top1_weight=top1_weight,
        sentence=_sentence(mode, len(answers), signs, trust, kind, reason),
    )


def _weight(trust: Trust, signs: Signs) -> float:
    """How much a list counts: in part, as far as what is put first is steady, right, and not by its place."""
    if trust != "weigh":
        return 1.0 if trust == "use" else 0.0
    found = signs.probed.n_first / signs.probed.n if signs.probed.can_tell else 1.0
    discount = 1 - signs.position_bias if signs.position_p < SIGNIFICANT and signs.position_bias >= WEAK_BIAS else 1.0
    return min(1.0, max(0.0, signs.kappa) / FULL_KAPPA) * found * discount


def _share(facts: Sequence[bool]) -> float:
    return sum(facts) / len(facts) if facts else 0.0


def _sentence(mode: str, n: int, signs: Signs, trust: Trust, kind: Kind, reason: str) -> str:
    if not n:
        return "No question has two candidates to put in order, so nothing can be said of the teacher."
    more = "give more questions to train on, or " if kind == "too few" and n < N_QUESTIONS else ""
    then: Mapping[Trust, str] = {
        "use": "Its orders count in full.",
        "weigh": "Its orders count in part.",
        "refuse": f"Its orders should not teach: {more}use a stronger LLM or another mode.",
    }
    probed = signs.probed
    found = f", and a planted answer in {probed.n_first} of {probed.n} cases" if probed.n else ""
    return (
        f"Asked twice about {n} questions in mode {mode}, the passages shuffled, the teacher puts the same one first "
        f"at κ {signs.kappa:.2f} (1 always, 0 chance; at least {signs.kappa_at_least:.2f}){found}; {reason}. "
        f"{_WHAT_NOW.get(kind, then[trust])}"
    )
