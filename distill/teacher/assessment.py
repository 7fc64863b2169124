"""What a teacher is worth on this corpus, found without labels and before the budget is spent.

A few questions are asked twice, the passages in two orders. Where the two replies disagree about as much as chance
would, or the place in the prompt decides, the teacher's orders are noise however well formed they are.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from distill.jsonl import Record
from distill.llm.asking import Asker, work_through
from distill.teacher.aggregation import pair_agreement
from distill.teacher.modes import Mode, parse_mode
from distill.teacher.ranking import agreement_weight, ask_order, candidate_ids, place_shares
from distill.teacher.talk import Asks, Limits, Order
from distill.teacher.trust import SIGNIFICANT, TOO_FEW, WEAK_BIAS, Trust, decide, mean_at_least, position_test

N_QUESTIONS = 20
_DEFAULT_LIMITS = Limits()
_RANK: Mapping[Trust, int] = {"refuse": 0, "weigh": 1, "use": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How a teacher does in one mode on a sample of questions, each asked twice with the passages shuffled.

    `self_agreement`: mean Kendall τ of the two orders of a question, `at_least` with 95 % confidence. `best_agreement`:
    share of questions where both name the same best. `best_shown_at`: share of each place of the prompt among the
    passages put first; `position_p` is its χ² test against equal shares and `position_bias` the strength (Cramér's V:
    0 none, 1 always the same place). `agreement_with_start`: mean τ with the order of retrieval. `malformed`: share of
    orders that were not as asked for, `refused`: of those that held nothing. `calls`: requests for a question.
    `weight`: how much a list of this teacher counts that has no agreement of its own.
    """

    mode: str
    n_questions: int
    self_agreement: float
    at_least: float
    best_agreement: float
    best_shown_at: tuple[float, ...]
    position_p: float
    position_bias: float
    agreement_with_start: float
    malformed: float
    refused: float
    calls: float
    trust: Trust
    weight: float
    sentence: str


def assess_teacher(
    records: Sequence[Record],
    texts: Mapping[str, str],
    asker: Asker,
    mode: Mode | str,
    *,
    seed: int,
    n_questions: int = N_QUESTIONS,
    limits: Limits = _DEFAULT_LIMITS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Assessment:
    """What the teacher is worth in `mode`, on `n_questions` of the candidate records drawn by `seed`.

    The first of the two orders is asked for as `rank_candidates` does with that seed, so where the asker remembers
    replies it costs nothing later.
    """
    mode = parse_mode(mode) if isinstance(mode, str) else mode
    usable = [record for record in records if len(candidate_ids(record)) > 1]
    sample = random.Random(seed).sample(usable, min(n_questions, len(usable)))  # noqa: S311
    # By pairs each is shown in both orders anyway, and a second time they would be the same prompts.
    repeats = 1 if mode.name == "pairwise" else 2
    jobs = [_asked(record, texts, mode, seed, limits, repeat) for record in sample for repeat in range(repeats)]
    found: dict[int, Order] = {}
    on_progress(0, len(sample))
    for job, order in work_through(asker, jobs) if jobs else ():
        found[job] = order
        if len(found) % repeats == 0:
            on_progress(len(found) // repeats, len(sample))
    answers = [
        Answers(
            n=len(candidate_ids(record)),
            orders=tuple(found[place * repeats + repeat] for repeat in range(repeats)),
        )
        for place, record in enumerate(sample)
    ]
    return assess(str(mode), answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A question's `n` passages as the teacher ordered them, asked twice; once in a mode that asks both ways itself."""

    n: int
    orders: tuple[Order, ...]

    @property
    def pair(self) -> tuple[Sequence[int], Sequence[int]]:
        """The two orders to compare."""
        if len(self.orders) > 1:
            return self.orders[0].order, self.orders[1].order
        return self.orders[0].passes[0], self.orders[0].passes[1]

    @property
    def agreement(self) -> float:
        """Kendall τ of the two."""
        own = self.orders[0].agreement
        return own if len(self.orders) == 1 and own is not None else pair_agreement(*self.pair, self.n)


def _asked(
    record: Record, texts: Mapping[str, str], mode: Mode, seed: int, limits: Limits, repeat: int
) -> Callable[[Asks], Awaitable[Order]]:
    async def ask(asker: Asks) -> Order:
        return await ask_order(record, texts, asker, mode, seed=seed, limits=limits, repeat=repeat)

    return ask


def assess(mode: str, answers: Sequence[Answers]) -> Assessment:
    """What the `answers` of a sample of questions say about their teacher."""
    orders = [order for each in answers for order in each.orders]
    answered = [each for each in answers if all(each.pair)]
    taus = [each.agreement for each in answered]
    best_at = [pair for order in orders for pair in order.best_at]
    p, bias = position_test(best_at)
    mean, at_least = mean_at_least(taus, fmean([each.n for each in answered] or [2]))
    starts = [pair_agreement(order.order, range(each.n), each.n) for each in answers for order in each.orders]
    refused = _share([not order.order for order in orders]) if orders else 1.0
    with_start = fmean(starts or [0.0])
    trust, reason = decide(mean, at_least, p, bias, with_start, refused)
    discount = 1 - bias if p < SIGNIFICANT and bias >= WEAK_BIAS else 1.0
    weight = 0.0 if trust == "refuse" else 1.0 if trust == "use" else agreement_weight(mean) * discount
    return Assessment(
        mode=mode,
        n_questions=len(answers),
        self_agreement=round(mean, 4),
        at_least=round(at_least, 4),
        best_agreement=round(_share([each.pair[0][0] == each.pair[1][0] for each in answered]), 4),
        best_shown_at=tuple(round(share, 4) for share in place_shares(best_at)),
        position_p=p,
        position_bias=round(bias, 4),
        agreement_with_start=round(with_start, 4),
        malformed=round(_share([order.status != "ok" for order in orders]), 4),
        refused=round(refused, 4),
        calls=round(sum(order.n_asked for order in orders) / max(1, len(orders)), 2),
        trust=trust,
        weight=round(weight, 4),
        sentence=_sentence(mode, len(answers), mean, trust, reason),
    )


def _share(facts: Sequence[bool]) -> float:
    return sum(facts) / len(facts) if facts else 0.0


def _sentence(mode: str, n: int, mean: float, trust: Trust, reason: str) -> str:
    if not n:
        return "No question has two candidates to put in order, so nothing can be said of the teacher."
    more = "give more questions to train on, or " if reason == TOO_FEW and n < N_QUESTIONS else ""
    then: Mapping[Trust, str] = {
        "use": "Its orders count in full.",
        "weigh": "Its orders count in part.",
        "refuse": f"Its orders should not teach: {more}use a stronger LLM or another mode.",
    }
    return (
        f"Asked twice about {n} questions in mode {mode}, the passages shuffled, the teacher agrees with itself at "
        f"Kendall τ {mean:.2f} (1 always, 0 chance); {reason}. {then[trust]}"
    )


def choose_mode(assessments: Sequence[Assessment]) -> Assessment:
    """The assessment whose mode to use: of those most trusted, most self-agreement for a call; the cheapest of equals.

    If all are refused the result is refused as well.
    """
    if not assessments:
        raise ValueError("There is no assessment to choose from.")

    def worth(each: Assessment) -> tuple[int, float, float]:
        return _RANK[each.trust], round(each.self_agreement / max(1.0, each.calls), 2), -each.calls

    return max(assessments, key=worth)
