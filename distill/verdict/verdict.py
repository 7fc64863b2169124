"""Whether a taught retriever is to take the baseline's place, by questions that were held out."""

from __future__ import annotations

from dataclasses import dataclass

from distill.verdict.advice import LEVEL, about_questions, about_teacher, what_helps, without_questions
from indexes.evaluation import Comparison, compare_runs, mean_metrics
from indexes.judging import Judgement

METRIC = "ndcg@10"
# What must remain of a gain on questions that the LLM wrote: they share the style of those that trained. Our choice,
# after one run on ObliQA that gained 0.054 on 42 written ones and 0.013 (-0.005 to +0.031) on 300 that people asked.
_WRITTEN_MARGIN = 0.02


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
    reranked: str = "",
    standing: str = "",
    n_earlier: int = 0,
) -> Verdict:
    """The verdict on the retriever `distilled` of `judgement`, where the other names stand too.

    It is promoted if alone it is above `baseline` on nDCG@10 (the 95 % bootstrap interval of the difference above 0,
    and p < 0.05 in the paired permutation test, which five questions or fewer can never reach), fused with BM25 it is
    not significantly below the fused baseline, and `standing`, the retriever promoted before ("" for none), does not
    find as much or more.

    `origin` says where the held-out questions are from; one that begins with "written" names the LLM's own, whose only
    right answer is their source passage, and for which the interval has to lie above a margin. `n_earlier` other runs
    were judged on these questions: the best of many is ahead by luck more easily, so p has to be below
    0.05 / (n_earlier + 1) (Bonferroni). `trust` is the assessment's word on the teacher, `reranked` the ranker over
    the fused candidates, which shows how near the ceiling is; "" without one.
    """
    stays = f"'{standing}' stays promoted" if standing else "the baseline stays"
    if not judgement.n_queries:
        sentence = f"No held-out question says which documents answer it, so nothing could be measured: {stays}."
        advice = (without_questions(), *about_teacher(trust, kept=True))
        return Verdict(promoted=False, sentence=sentence, advice=advice, n_questions=0)
    alone = _compare(judgement, baseline, distilled)
    fused = _compare(judgement, fused_baseline, fused_distilled)
    ceiling = _compare(judgement, baseline, reranked) if reranked else None
    written = origin.startswith("written")
    outdone = _outdone(judgement, standing, distilled) if standing not in ("", distilled) else ""
    reason = _doubt(alone, written, n_earlier) or _harm(fused) or outdone
    decision = f"{stays}, as {reason}" if reason else "the taught retriever is promoted"
    advice = what_helps(differences(judgement, baseline, distilled), alone, fused, ceiling) if reason else ()
    return Verdict(
        promoted=not reason,
        sentence=f"On {_questions(alone.n_queries, written)}, {_change(alone)}: {decision}.",
        advice=(*advice, *about_teacher(trust, kept=bool(reason)), *about_questions(written, kept=bool(reason))),
        n_questions=alone.n_queries,
    )


def differences(judgement: Judgement, baseline: str, distilled: str) -> list[float]:
    """By how much nDCG@10 of `distilled` is above that of `baseline`, by question."""
    a, b = judgement.by_query[baseline], judgement.by_query[distilled]
    return [b[query][METRIC] - a[query][METRIC] for query in a]


def _compare(judgement: Judgement, a: str, b: str) -> Comparison:
    return compare_runs(judgement.by_query[a], judgement.by_query[b], METRIC)


def _doubt(alone: Comparison, written: bool, n_earlier: int) -> str:
    """Why it is not certain that it is better than the baseline, "" where it is."""
    if alone.low <= 0:
        return "the difference may be chance" if alone.difference > 0 else "teaching has not made it better"
    if not alone.p_value < LEVEL:
        return f"{_plural(alone.n_queries)} are too few to tell (paired permutation test p = {alone.p_value:.3f})"
    level = LEVEL / (n_earlier + 1)
    if not alone.p_value < level:
        runs = "1 other run" if n_earlier == 1 else f"{n_earlier:,} other runs"
        return (
            f"{runs} were judged on these questions too, and the best of several is ahead by luck more easily: "
            f"p < {level:.4f} is asked for, and it is {alone.p_value:.4f}"
        )
    if written and alone.low <= _WRITTEN_MARGIN:
        return (
            "questions by an LLM are like those that trained, so that what is gained on them shrinks on real ones: "
            f"the interval has to lie above {_WRITTEN_MARGIN:+.2f}"
        )
    return ""


def _harm(fused: Comparison) -> str:
    if fused.high >= 0:
        return ""
    return (
        f"fused with keyword search it is worse than the fused baseline (nDCG@10 {fused.mean_a:.3f} → "
        f"{fused.mean_b:.3f}{_interval(fused, ', {}')}), and fused is how it is best used"
    )


def _outdone(judgement: Judgement, standing: str, distilled: str) -> str:
    """That the retriever which is promoted already is as good or better, "" where it is not."""
    new, old = (mean_metrics(judgement.by_query[name])[METRIC] for name in (distilled, standing))
    return f"it finds as much or more (nDCG@10 {old:.3f} against {new:.3f})" if old >= new else ""


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


def _interval(c: Comparison, around: str = " ({})") -> str:
    return around.format(f"95 % interval {c.low:+.3f} to {c.high:+.3f}")
