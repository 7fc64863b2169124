"""Whether a taught retriever is to take the baseline's place, by held-out questions, and what would help if not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from indexes.evaluation import Comparison, compare_runs
from indexes.judging import Judgement

_METRIC = "ndcg@10"
_LEVEL = 0.05
# A difference d with the standard deviation s of its pairs is outside a 95 % interval in 4 of 5 tries from
# n = ((1.96 + 0.84) s / d)² pairs on (Sakai, "Statistical significance, power, and sample sizes", SIGIR 2016).
_POWER = 1.96 + 0.84
_HOPELESS = 20_000  # questions; nobody has so many judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the taught retriever is promoted, why in one sentence, and what to do next."""

    promoted: bool
    sentence: str
    advice: tuple[str, ...]
    n_questions: int


def decide(
    judgement: Judgement,
    *,
    baseline: str,
    distilled: str,
    fused_baseline: str,
    fused_distilled: str,
    origin: str,
    trust: str = "",
) -> Verdict:
    """The verdict on the retriever `distilled` of `judgement`, where the other names stand too.

    It is promoted if alone it is above `baseline` on nDCG@10 (the 95 % bootstrap interval of the difference above 0,
    and p < 0.05 in the paired permutation test, which five questions or fewer can never reach) and fused with BM25 it
    is not significantly below the fused baseline. `origin` says where the held-out questions are from; one that begins
    with "written" names the LLM's own, whose only right answer is their source passage. `trust` is the assessment's
    word on the teacher, "" without one.
    """
    if not judgement.n_queries:
        return _unjudged(trust)
    alone = compare_runs(judgement.by_query[baseline], judgement.by_query[distilled], _METRIC)
    fused = compare_runs(judgement.by_query[fused_baseline], judgement.by_query[fused_distilled], _METRIC)
    reason = _objection(alone, fused)
    written = origin.startswith("written")
    decision = f"the baseline stays, as {reason}" if reason else "the taught retriever is promoted"
    advice = _advice(judgement, baseline, distilled, alone, fused) if reason else []
    return Verdict(
        promoted=not reason,
        sentence=f"On {_questions(alone.n_queries, written)}, {_change(alone)}: {decision}.",
        advice=(*advice, *_about_teacher(trust, kept=bool(reason)), *_about_questions(written)),
        n_questions=alone.n_queries,
    )


def _unjudged(trust: str) -> Verdict:
    return Verdict(
        promoted=False,
        sentence="No held-out question says which documents answer it, so nothing could be measured: the baseline "
        "stays.",
        advice=(
            'Give held-out questions with "positives" (ids of the documents that answer them) and a "split" other '
            "than 'train' in the question file, at least 50 of them, or have the LLM write questions, which come with "
            "their source passage.",
            *_about_teacher(trust, kept=True),
        ),
        n_questions=0,
    )


def _objection(alone: Comparison, fused: Comparison) -> str:
    """Why the baseline stays, "" where it does not."""
    if alone.low <= 0:
        return "the difference may be chance" if alone.difference > 0 else "teaching has not made it better"
    if not alone.p_value < _LEVEL:
        return f"{_plural(alone.n_queries)} are too few to tell (paired permutation test p = {alone.p_value:.3f})"
    if fused.high < 0:
        return (
            f"fused with keyword search it is worse than the fused baseline ({_figures(fused)}), and fused is how it "
            "is best used"
        )
    return ""


def _questions(n: int, written: bool) -> str:
    if written:
        return f"{_plural(n)} that the LLM wrote (only the source passage counts as right) and it never saw"
    return f"{_plural(n)} it never saw"


def _plural(n: int) -> str:
    return f"{n:,} question{'s' * (n != 1)}"


def _change(c: Comparison) -> str:
    if c.difference == 0:
        return f"nDCG@10 stayed at {c.mean_a:.3f}" + _interval(c)
    digits = 3 if abs(c.difference) >= 0.001 else 5
    verb = "rose" if c.difference > 0 else "fell"
    return f"nDCG@10 {verb} from {c.mean_a:.{digits}f} to {c.mean_b:.{digits}f}" + _interval(c)


def _interval(c: Comparison) -> str:
    return f" (95 % interval {c.low:+.3f} to {c.high:+.3f})"


def _figures(c: Comparison) -> str:
    return f"nDCG@10 {c.mean_a:.3f} → {c.mean_b:.3f}, 95 % interval {c.low:+.3f} to {c.high:+.3f}"


def _advice(judgement: Judgement, baseline: str, distilled: str, alone: Comparison, fused: Comparison) -> list[str]:
    """What would help, given that the baseline stays."""
    if alone.low > 0 and fused.high < 0:
        return ["On the page the taught retriever can be picked all the same; without keyword search it is the better."]
    if alone.difference <= 0:
        return [
            "More held-out questions would not change this. Train on more questions, or put the passage known to "
            "answer a question first in the LLM's order (--positives first)."
        ]
    n = questions_needed(judgement, baseline, distilled)
    if n > _HOPELESS:
        return [
            f"The difference seen ({alone.difference:+.4f}) is so small that more than {_HOPELESS:,} judged questions "
            "would be needed to show it: train on more questions."
        ]
    return [
        f"If the difference seen ({alone.difference:+.3f}) is real, about {n:,} held-out questions would show it in 4 "
        f"of 5 tries; these were {alone.n_queries:,}. Training on more questions may make it larger."
    ]


def questions_needed(judgement: Judgement, baseline: str, distilled: str) -> int:
    """How many held-out questions would show the seen difference in 4 of 5 tries, more than there were.

    Raises `ValueError` where both are equal on average: no number would.
    """
    a, b = judgement.by_query[baseline], judgement.by_query[distilled]
    differences = np.array([b[query][_METRIC] - a[query][_METRIC] for query in a])
    mean = float(differences.mean())
    if mean == 0:
        raise ValueError("equal means have no number of questions that would tell them apart")
    deviation = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return max(math.ceil((_POWER * deviation / mean) ** 2), len(differences) + 1)


def _about_teacher(trust: str, *, kept: bool) -> list[str]:
    if trust == "refuse":
        return ["The LLM's orders are hardly better than chance (see Teacher): use a stronger LLM, or another --mode."]
    if trust == "weigh" and kept:
        return ["The LLM agrees with itself only in part (see Teacher): a stronger one may teach more."]
    return []


def _about_questions(written: bool) -> list[str]:
    if not written:
        return []
    return [
        "The LLM wrote these questions, and people may ask others: judge with real ones, of which it is known what "
        "answers them (--questions FILE), before you rely on this."
    ]
