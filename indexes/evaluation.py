"""How well retrievers find what is relevant: qrels + runs → metrics, and whether a difference is real."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from indexes.errors import InputError, counted
from indexes.lexical import Searchable
from indexes.paths import slug, write_file
from indexes.types import Candidate, Query

Qrels = Mapping[str, Mapping[str, int]]  # question id -> document id -> grade
Run = Mapping[str, Mapping[str, float]]  # question id -> document id -> score, higher is better
MetricsByQuery = dict[str, dict[str, float]]  # question id -> metric -> value

DEFAULT_CUTOFFS = (1, 5, 10, 20)
FEW_QUERIES = 30  # with fewer no interval is given: a bootstrap of a handful is far too narrow, of two it may be 0 wide
_RANK_METRICS_CUTOFF = 10
_N_RESAMPLES = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean difference b - a of one metric over the same questions, its 95 % interval and its p-value."""

    metric: str
    n_queries: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float


def make_qrels(queries: Sequence[Query]) -> Qrels:
    """The relevance judgements of those `queries` that have any; raises `InputError` if none has."""
    qrels = {query.id: query.grades for query in queries if query.grades}
    if not qrels:
        raise InputError(
            'To evaluate, questions need "positives" (ids of relevant documents), but none of the '
            f"{len(queries)} questions has any. Such questions can only train."
        )
    return qrels


def unknown_positives(queries: Sequence[Query], documents: Collection[str]) -> str:
    """How many positives of `queries` name none of `documents`, as a sentence, "" if each names one.

    Raises `InputError` if none does: every metric would be 0, whatever is searched.
    """
    named = [document for query in queries for document, grade in query.grades.items() if grade > 0]
    unknown = [document for document in named if document not in documents]
    if not unknown:
        return ""
    sentence = (
        f"{len(unknown)} of {len(named)} positives name no document of this corpus (first: '{unknown[0]}'), whose "
        f"documents are called like '{min(documents, default='none at all')}'."
    )
    if len(unknown) == len(named):
        raise InputError(f"{sentence} Nothing can be judged; pick the corpus that the questions were made for.")
    return sentence + " Where a question asks for them, nothing finds them."


def run_of_candidates(candidates: Sequence[Candidate], k: int) -> dict[str, float]:
    """Document id → score for the first `k` documents, each at its best passage, scores strictly falling.

    trec_eval orders by score in single precision and breaks ties by its own rule. Scores that would tie there are
    lowered by the least step, so that every tool sees the order that was retrieved.
    """
    scores: dict[str, float] = {}
    last = np.float32(np.inf)
    for candidate in candidates:
        if candidate.passage.document_id in scores:
            continue
        if len(scores) == k:
            break
        last = min(np.float32(candidate.score), np.nextafter(last, np.float32(-np.inf)))
        scores[candidate.passage.document_id] = float(last)
    return scores


def evaluate_run(qrels: Qrels, run: Run, cutoffs: Sequence[int] = DEFAULT_CUTOFFS) -> MetricsByQuery:
    """Metrics by question: hit_rate@k and recall@k for each cut-off, mrr@10 and ndcg@10.

    A judged question for which the run has nothing counts 0 everywhere.
    """
    import pytrec_eval

    ks = sorted(set(cutoffs))
    joined = ",".join(str(k) for k in ks)
    measures = {
        f"success.{joined}",
        f"recall.{joined},{_RANK_METRICS_CUTOFF}",
        f"ndcg_cut.{_RANK_METRICS_CUTOFF}",
        "recip_rank",
    }
    judged = {query: dict(grades) for query, grades in qrels.items()}
    # An empty ranking makes pytrec_eval leave the question out; a document that nobody judged makes it count as 0.
    full = {query: dict(run.get(query) or {"": 0.0}) for query in judged}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(full)
    return {query: _named(found[query], ks) for query in judged}


def _named(found: Mapping[str, float], ks: Sequence[int]) -> dict[str, float]:
    hit_rates = {f"hit_rate@{k}": found[f"success_{k}"] for k in ks}
    recalls = {f"recall@{k}": found[f"recall_{k}"] for k in sorted({*ks, _RANK_METRICS_CUTOFF})}
    # Cut here, not before: trec_eval breaks ties in its own way, and a cut among equal scores would take others.
    is_late = found["recip_rank"] < 1 / (_RANK_METRICS_CUTOFF + 0.5)
    ranks = {"mrr@10": 0.0 if is_late else found["recip_rank"], "ndcg@10": found["ndcg_cut_10"]}
    return hit_rates | recalls | ranks


def mean_metrics(by_query: MetricsByQuery) -> dict[str, float]:
    """The mean of each metric over the questions."""
    metrics = next(iter(by_query.values()))
    return {metric: float(np.mean([values[metric] for values in by_query.values()])) for metric in metrics}


def mean_interval(by_query: MetricsByQuery, metric: str = "ndcg@10") -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `metric` over the questions."""
    return _interval(np.array([by_query[query][metric] for query in sorted(by_query)]), np.random.default_rng(0))


def _interval(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    from scipy import stats

    if len(values) < 2 or np.all(values == values[0]):
        return float(values.mean()), float(values.mean())
    found: Any = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=_N_RESAMPLES, rng=rng, batch=500
    ).confidence_interval
    return float(found.low), float(found.high)


def compare_runs(a: MetricsByQuery, b: MetricsByQuery, metric: str = "ndcg@10") -> Comparison:
    """Whether b differs from a: paired permutation test (two-sided) and percentile bootstrap interval, by question."""
    from scipy import stats

    queries = sorted(a.keys() & b.keys())
    values_a = np.array([a[query][metric] for query in queries])
    values_b = np.array([b[query][metric] for query in queries])
    differences, rng, p_value = values_b - values_a, np.random.default_rng(0), 1.0
    if np.any(differences != 0) and len(queries) > 1:
        test: Any = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=_N_RESAMPLES, rng=rng, batch=500
        )
        p_value = float(test.pvalue)
    low, high = _interval(differences, rng)
    return Comparison(
        metric=metric,
        n_queries=len(queries),
        mean_a=float(values_a.mean()),
        mean_b=float(values_b.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=p_value,
    )


def write_trec_run(file: Path, run: Run, name: str) -> None:
    """Writes `run` as trec_eval reads it: `question Q0 document rank score name`."""
    tag = _word(name)
    lines = [
        f"{_word(query)} Q0 {_word(document)} {rank} {scores[document]:.9g} {tag}\n"
        for query, scores in run.items()
        for rank, document in enumerate(sorted(scores, key=scores.__getitem__, reverse=True), start=1)
    ]
    write_file(file, "".join(lines))


def write_trec_qrels(file: Path, qrels: Qrels) -> None:
    """Writes `qrels` as trec_eval reads them: `question 0 document grade`."""
    lines = [
        f"{_word(query)} 0 {_word(document)} {grade}\n"
        for query, grades in qrels.items()
        for document, grade in grades.items()
    ]
    write_file(file, "".join(lines))


def _word(text: str) -> str:
    """`text` with white space, which separates the columns of TREC files, written as in addresses: no two are alike."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), text) or "%"


N_KEPT = 10  # passages of a question that can be looked at again


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What each named search (the first is what others are held against) found for judged questions of a corpus.

    `by_query` has their metrics, `kept` the ids of the first passages: search → question id → ids, best first.
    """

    queries: Sequence[Query]
    by_query: Mapping[str, MetricsByQuery]
    runs: Mapping[str, Run] = field(default_factory=dict)
    kept: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    corpus: str = ""

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Search → metric → mean over the questions."""
        return {name: mean_metrics(values) for name, values in self.by_query.items()}

    def against_first(self, metric: str = "ndcg@10") -> dict[str, Comparison]:
        """Each search but the first, paired with the first."""
        first, *others = self.by_query
        return {name: compare_runs(self.by_query[first], self.by_query[name], metric) for name in others}

    @property
    def comparisons(self) -> tuple[str, ...]:
        """Each search against the first, in words."""
        first = next(iter(self.by_query))
        return tuple(_sentence(first, other, found) for other, found in self.against_first().items())


def judge(
    queries: Sequence[Query], searches: Mapping[str, Searchable], cutoffs: Sequence[int] = DEFAULT_CUTOFFS
) -> Judgement:
    """The judgement of each named search on those questions that have positives."""
    *_, found = judge_in_steps(queries, searches, cutoffs, n_at_once=max(1, len(queries)))
    assert isinstance(found, Judgement)  # noqa: S101 - the last one is
    return found


def judge_in_steps(
    queries: Sequence[Query],
    searches: Mapping[str, Searchable],
    cutoffs: Sequence[int],
    n_at_once: int,
    corpus: str = "",
) -> Iterator[int | Judgement]:
    """How many questions were asked, `n_at_once` by `n_at_once`, and at the end the judgement."""
    qrels = make_qrels(queries)
    judged = [query for query in queries if query.id in qrels]
    depth = max(*cutoffs, _RANK_METRICS_CUTOFF)
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in searches}
    kept: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in searches}
    for first in range(0, len(judged), n_at_once):
        yield first
        batch = judged[first : first + n_at_once]
        for name, search in searches.items():
            # Passages of one document count once: three times as deep there are enough of them in all but odd corpora.
            found = search.search_many([query.text for query in batch], 3 * depth)
            for query, candidates in zip(batch, found, strict=True):
                runs[name][query.id] = run_of_candidates(candidates, depth)
                kept[name][query.id] = tuple(each.passage.id for each in candidates[:N_KEPT])
    yield len(judged)
    by_query = {name: evaluate_run(qrels, run, cutoffs) for name, run in runs.items()}
    yield Judgement(queries=judged, by_query=by_query, runs=runs, kept=kept, corpus=corpus)


def write_trec(folder: Path, judgement: Judgement) -> None:
    """Writes a run of each search and the qrels into `folder`, as trec_eval reads them."""
    for name, run in judgement.runs.items():
        write_trec_run(folder / f"{slug(name)}.run", run, name)
    write_trec_qrels(folder / "qrels.txt", make_qrels(judgement.queries))


def _sentence(first: str, other: str, c: Comparison) -> str:
    surely = (
        f"95 % interval {c.low:+.3f} to {c.high:+.3f}, paired permutation test p = {c.p_value:.4f}, "
        f"{c.n_queries} questions"
    )
    few = f"{counted(c.n_queries, 'question')}, too few to tell"
    return (
        f"{other} against {first}: {c.metric} {c.mean_a:.3f} → {c.mean_b:.3f}, difference {c.difference:+.3f} "
        f"({few if c.n_queries < FEW_QUERIES else surely})"
    )
