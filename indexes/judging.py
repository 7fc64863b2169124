"""Several retrievers over the same judged questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from indexes.encoders import load_encoder
from indexes.evaluation import (
    DEFAULT_CUTOFFS,
    FEW_QUERIES,
    Comparison,
    MetricsByQuery,
    compare_runs,
    evaluate_run,
    make_qrels,
    mean_metrics,
    run_of_candidates,
    write_trec_qrels,
    write_trec_run,
)
from indexes.paths import DataPaths, slug
from indexes.search import RetrieverKind, open_search
from indexes.types import Candidate, Query

Search = Callable[[Sequence[str], int], list[list[Candidate]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Mean metrics by retriever, the same by question, and each retriever against the first in words."""

    n_queries: int
    metrics: dict[str, dict[str, float]]
    by_query: dict[str, MetricsByQuery]
    comparisons: tuple[str, ...]


def open_searches(
    paths: DataPaths, corpus: str, encoders: Sequence[str], kinds: Sequence[RetrieverKind] = ("dense",)
) -> dict[str, Search]:
    """Each kind of search of `corpus` by each encoder, by the name to show: the encoder's, lexical, or fused."""
    searches: dict[str, Search] = {}
    for kind in dict.fromkeys(kinds):
        for name in dict.fromkeys(encoders):
            shown = {"dense": name, "lexical": "lexical", "fused": f"fused with {name}"}[kind]
            if shown not in searches:
                searches[shown] = open_search(paths, corpus, kind, partial(load_encoder, name, paths)).search_many
    return searches


def judge(
    queries: Sequence[Query],
    searches: Mapping[str, Search],
    cutoffs: Sequence[int] = DEFAULT_CUTOFFS,
    run_out: Path | None = None,
) -> Judgement:
    """The judgement of each named search on those questions that have positives."""
    qrels = make_qrels(queries)
    judged = [query for query in queries if query.id in qrels]
    depth = max(*cutoffs, 10)
    by_query = {}
    for name, search in searches.items():
        run = _retrieve(judged, search, depth)
        by_query[name] = evaluate_run(qrels, run, cutoffs)
        if run_out:
            write_trec_run(run_out / f"{slug(name)}.run", run, name)
    if run_out:
        write_trec_qrels(run_out / "qrels.txt", qrels)
    return Judgement(
        n_queries=len(judged),
        metrics={name: mean_metrics(values) for name, values in by_query.items()},
        by_query=by_query,
        comparisons=tuple(_sentences(by_query)),
    )


def _retrieve(queries: Sequence[Query], search: Search, depth: int) -> dict[str, dict[str, float]]:
    # Passages of one document count once: looking three times as deep leaves enough of them in all but odd corpora.
    found = search([query.text for query in queries], 3 * depth)
    return {query.id: run_of_candidates(candidates, depth) for query, candidates in zip(queries, found, strict=True)}


def _sentences(by_query: dict[str, MetricsByQuery]) -> list[str]:
    first, *others = by_query
    return [_sentence(first, other, compare_runs(by_query[first], by_query[other])) for other in others]


def _sentence(first: str, other: str, c: Comparison) -> str:
    surely = (
        f"95 % interval {c.low:+.3f} to {c.high:+.3f}, paired permutation test p = {c.p_value:.4f}, "
        f"{c.n_queries} questions"
    )
    few = f"{c.n_queries} question{'s' * (c.n_queries != 1)}, too few to tell"
    return (
        f"{other} against {first}: {c.metric} {c.mean_a:.3f} → {c.mean_b:.3f}, difference {c.difference:+.3f} "
        f"({few if c.n_queries < FEW_QUERIES else surely})"
    )
