"""What would help where a taught retriever was not promoted, as sentences to act on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from indexes.evaluation import Comparison

LEVEL = 0.05  # of the paired permutation test
# A difference d with the standard deviation s of its pairs is outside a 95 % interval in 4 of 5 tries from
# n = ((1.96 + 0.84) s / d)² pairs on (Sakai, "Statistical significance, power, and sample sizes", SIGIR 2016).
_POWER = 1.96 + 0.84
_HOPELESS = 20_000  # questions; nobody has so many judged


def what_helps(
    differences: Sequence[float], alone: Comparison, fused: Comparison, ceiling: Comparison | None
) -> tuple[str, ...]:
    """What would help, given that the baseline stays.

    `alone` and `fused` compare the taught retriever with the baseline, by themselves and fused with BM25; `ceiling`
    the ranker as a re-ranker with the baseline; `differences` are those of `alone` by question.
    """
    near = _about_ceiling(alone, ceiling)
    if alone.low > 0 and fused.high < 0:
        return (
            "On the page the taught retriever can be picked all the same; without keyword search it is the better.",
        )
    if alone.difference <= 0:
        return (
            "More held-out questions would not change this. Train on more questions, or put the passage known to "
            "answer a question first in the LLM's order (--positives first).",
            *near,
        )
    if alone.low > 0 and alone.p_value < LEVEL:
        return ("It can be picked on the page all the same. Judge it on more or other questions.", *near)
    return (_more_questions(differences, alone), *near)


def _more_questions(differences: Sequence[float], alone: Comparison) -> str:
    n = questions_needed(differences)
    if n > _HOPELESS:
        return (
            f"The difference seen ({alone.difference:+.4f}) is so small that more than {_HOPELESS:,} judged questions "
            "would be needed to show it: train on more questions."
        )
    return (
        f"If the difference seen ({alone.difference:+.3f}) is real, about {n:,} held-out questions would show it in 4 "
        f"of 5 tries; these were {alone.n_queries:,}. Training on more questions may make it larger."
    )


def questions_needed(differences: Sequence[float]) -> int:
    """How many held-out questions would show the mean of `differences` in 4 of 5 tries, more than there were.

    Raises `ValueError` where it is 0: no number would.
    """
    mean = float(np.mean(differences))
    if mean == 0:
        raise ValueError("equal means have no number of questions that would tell them apart")
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return max(math.ceil((_POWER * deviation / mean) ** 2), len(differences) + 1)


def _about_ceiling(alone: Comparison, ceiling: Comparison | None) -> tuple[str, ...]:
    """That the ranker has little more to teach: the retriever can become what the ranker is, not more."""
    if ceiling is None or ceiling.low > 0:
        return ()
    return (
        f"The ceiling is near: even the ranker that taught it, re-ranking the fused candidates, is not surely better "
        f"than the baseline (nDCG@10 {ceiling.mean_b:.3f} against {alone.mean_a:.3f}). Another teacher, another --mode "
        "or another --ranker may raise it.",
    )


def without_questions() -> str:
    """What to give where nothing could be judged."""
    return (
        'Give held-out questions with "positives" (ids of the documents that answer them) and a "split" other than '
        "'train' in the question file, at least 50 of them, or have the LLM write questions, which come with their "
        "source passage."
    )


def about_teacher(trust: str, *, kept: bool) -> tuple[str, ...]:
    """What the assessment of the teacher ("use", "weigh", "refuse", "" for none) suggests."""
    if trust == "refuse":
        return (
            "The LLM's orders are not fit to teach (see Teacher, which says why): use a stronger LLM, another --mode, "
            "or more questions where there were few.",
        )
    if trust == "weigh" and kept:
        return (
            "The LLM's orders count only in part (see Teacher): a stronger one, or another --mode, may teach more.",
        )
    return ()


def about_questions(written: bool, *, kept: bool) -> tuple[str, ...]:
    """What to do about questions that the LLM has written."""
    if not written:
        return ()
    judge = (
        "The LLM wrote these questions, and people may ask others: judge with real ones, of which it is known what "
        "answers them (--questions FILE), before you rely on this."
    )
    like = "Show the writer 3 to 20 real questions (--like FILE): what is in the askers' own style teaches more."
    return (judge, like) if kept else (judge,)
