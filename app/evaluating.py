"""Every retriever of a corpus over the same judged questions, step by step, so that it can be shown and stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.shelf import IndexShelf, RetrieverChoice
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.evaluation import (
    Comparison,
    MetricsByQuery,
    Qrels,
    Run,
    compare_runs,
    evaluate_run,
    make_qrels,
    mean_metrics,
    run_of_candidates,
)
from indexes.lexical import LexicalIndex, Searchable
from indexes.mixes import DEFAULT_MIX, Mix, blend
from indexes.paths import DataPaths
from indexes.types import Candidate, Query

CURVE_CUTOFFS = (1, 2, 3, 5, 10, 15, 20)
LEXICAL = "Lexical (BM25)"
_DEPTH = 20
_N_PASSAGES = 3 * _DEPTH  # passages of one document count once: this deep there are enough of them
_N_KEPT = 10
_BATCH = 16
_SAMPLE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What each retriever (the first is the baseline) found for judged questions.

    `kept` has the first passages: retriever → question id → passage ids, best first.
    """

    corpus: str
    questions: tuple[Query, ...]
    runs: Mapping[str, Run]
    by_query: Mapping[str, MetricsByQuery]
    kept: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def retrievers(self) -> tuple[str, ...]:
        return tuple(self.runs)

    @property
    def qrels(self) -> Qrels:
        return make_qrels(self.questions)

    def means(self) -> dict[str, dict[str, float]]:
        """Retriever → metric → mean over the questions."""
        return {name: mean_metrics(values) for name, values in self.by_query.items()}

    def against_baseline(self, metric: str) -> dict[str, Comparison]:
        """Each retriever but the first, paired with the first, in `metric`."""
        first, *others = self.retrievers
        return {name: compare_runs(self.by_query[first], self.by_query[name], metric) for name in others}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many of the questions every retriever has been asked."""

    done: int
    total: int


def name_retrievers(choices: Sequence[RetrieverChoice]) -> dict[str, str]:
    """Name to show → encoder, for each index of a corpus."""
    return {choice.label: choice.encoder for choice in choices}


def open_indexes(shelf: IndexShelf, corpus: str, choices: Sequence[RetrieverChoice]) -> dict[str, Searchable]:
    """Name to show → index of `corpus`."""
    return {label: shelf.index(corpus, encoder) for label, encoder in name_retrievers(choices).items()}


def choose_questions(paths: DataPaths, corpus: str, queries: Sequence[Query], limit: int) -> tuple[Query, ...]:
    """At most `limit` of those `queries` that have relevant documents in `corpus`, drawn with a fixed seed, in order.

    Raises `InputError` if no question is judged, or the judgements are about documents of another corpus.
    """
    judged = [query for query in queries if query.grades]
    make_qrels(queries)  # says in a sentence when nothing is judged
    documents = {passage.document_id for passage in Corpus.open(paths, corpus).passages()}
    known = [query for query in judged if documents.intersection(query.grades)]
    if not known:
        wanted, there = next(iter(judged[0].grades)), min(documents, default="none at all")
        raise InputError(
            f"The questions name relevant documents such as '{wanted}', but corpus '{corpus}' has none of them; its "
            f"documents are called like '{there}'. Pick the corpus that the questions were made for."
        )
    if len(known) <= limit:
        return tuple(known)
    places = sorted(random.Random(_SAMPLE_SEED).sample(range(len(known)), limit))  # noqa: S311 - no secret
    return tuple(known[place] for place in places)


def evaluate(
    corpus: str,
    questions: Sequence[Query],
    indexes: Mapping[str, Searchable],
    lexical: Searchable,
    mixes: Mapping[str, Mix] | None = None,
) -> Iterator[Asked | Evaluation]:
    """How far it is after each batch of questions, and at the end the evaluation of every index, alone and fused with
    `lexical` (by the usual mix, or its own of `mixes`), which stands for itself too."""
    names = [*indexes, LEXICAL, *(fused_name(name) for name in indexes)]
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in names}
    kept: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in names}
    for first in range(0, len(questions), _BATCH):
        yield Asked(done=first, total=len(questions))
        batch = questions[first : first + _BATCH]
        for name, found in _search(batch, indexes, lexical, mixes or {}).items():
            for query, candidates in zip(batch, found, strict=True):
                runs[name][query.id] = run_of_candidates(candidates, _DEPTH)
                kept[name][query.id] = tuple(candidate.passage.id for candidate in candidates[:_N_KEPT])
    yield Asked(done=len(questions), total=len(questions))
    qrels = make_qrels(questions)
    by_query = {name: evaluate_run(qrels, run, CURVE_CUTOFFS) for name, run in runs.items()}
    yield Evaluation(corpus=corpus, questions=tuple(questions), runs=runs, by_query=by_query, kept=kept)


def fused_name(name: str) -> str:
    """The retriever that fuses the one called `name` with the lexical one."""
    return f"{name} + BM25, fused"


def _search(
    batch: Sequence[Query], indexes: Mapping[str, Searchable], lexical: Searchable, mixes: Mapping[str, Mix]
) -> dict[str, list[list[Candidate]]]:
    texts = [query.text for query in batch]
    words = lexical.search_many(texts, _N_PASSAGES)
    dense = {name: index.search_many(texts, _N_PASSAGES) for name, index in indexes.items()}
    fused = {
        fused_name(name): [
            blend(*pair, _N_PASSAGES, mixes.get(name, DEFAULT_MIX)) for pair in zip(found, words, strict=True)
        ]
        for name, found in dense.items()
    }
    return dense | {LEXICAL: words} | fused


def open_lexical(paths: DataPaths, corpus: str) -> Searchable:
    """The lexical twin of the indexes of `corpus`."""
    return LexicalIndex.open(paths, corpus)


# --- one question after another --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One question under two retrievers, in one metric."""

    query: Query
    left: float
    right: float

    @property
    def gain(self) -> float:
        return self.right - self.left


ORDERS = ("largest gains first", "largest losses first", "as asked")


def pair_up(evaluation: Evaluation, left: str, right: str, metric: str, order: str) -> list[Pair]:
    """Every question under both retrievers, in one of `ORDERS`; equal ones as they were asked."""
    a, b = evaluation.by_query[left], evaluation.by_query[right]
    pairs = [Pair(query=each, left=a[each.id][metric], right=b[each.id][metric]) for each in evaluation.questions]
    if order == ORDERS[0]:
        return sorted(pairs, key=lambda pair: -pair.gain)
    return sorted(pairs, key=lambda pair: pair.gain) if order == ORDERS[1] else pairs
