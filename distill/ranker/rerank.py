"""A run's ranker as a re-ranker: a search whose best hits stand in the ranker's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from distill.json_files import Record, read_json
from distill.ranker.ranker import Ranker, load_ranker
from indexes.encoders.loading import load_encoder
from indexes.errors import NotFoundError
from indexes.evaluation import Search
from indexes.filters import EVERYTHING, PassageFilter
from indexes.paths import DataPaths
from indexes.retrievers import RetrieverKind, open_search
from indexes.types import Candidate, Encoder, Vectors

DEPTH = 20  # hits that are put in order; each costs a pass through the ranker's model
# Beside an encoder that orders have taught too: its cosines tell more than the base's, and more hits hold the answer.
# Our choices, cross-validated on training questions (docs/log.md, 2026-11-26).
_TAUGHT_DEPTH = 50
_TAUGHT_DENSE = 20.0


class DenseScores(Protocol):
    """An index that knows the vectors of its passages; `indexes.passage_index.PassageIndex` is one."""

    @property
    def encoder(self) -> Encoder: ...
    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The vectors of these passages, in this order, shape (N, D)."""
        ...


class LexicalScores(Protocol):
    """An index that scores passages by their words; `indexes.lexical.LexicalIndex` is one."""

    def scores(self, question: str, passage_ids: Sequence[str]) -> list[float]:
        """The lexical score of each of these passages for `question`."""
        ...


class Reranker:
    """A `Searchable` over another search: the first `depth` hits of that one, in the ranker's order.

    `first` is any search, such as `index.search_many` or `partial(search_fused, index, lexical)`. `index` and `lexical`
    give the scores that stand beside the model's own; take those whose candidates the ranker was trained on.
    """

    def __init__(
        self, first: Search, ranker: Ranker, index: DenseScores, lexical: LexicalScores, *, depth: int = DEPTH
    ) -> None:
        self._first = first
        self._ranker = ranker
        self._index = index
        self._lexical = lexical
        self._depth = depth

    def search(self, question: str, k: int = 10) -> list[Candidate]:
        """The `k` best passages for `question`, best first."""
        return self.search_many([question], k)[0]

    def search_many(self, questions: Sequence[str], k: int) -> list[list[Candidate]]:
        """The `k` best passages of each question, best first, scored by the ranker's logits.

        Where more than `depth` are asked for, the others follow as the first search had them, scored below.
        """
        found = self._first(questions, max(k, self._depth))
        heads = [candidates[: self._depth] for candidates in found]
        texts = {c.passage.id: c.passage.full_text for candidates in heads for c in candidates}
        scores = self._ranker.score(self._records(questions, heads), texts)
        return [_reordered(candidates, row, self._depth)[:k] for candidates, row in zip(found, scores, strict=True)]

    def _records(self, questions: Sequence[str], heads: Sequence[Sequence[Candidate]]) -> list[Record]:
        vectors = self._index.encoder.encode_queries(questions)
        return [
            self._record(question, vector, candidates)
            for question, vector, candidates in zip(questions, vectors, heads, strict=True)
        ]

    def _record(self, question: str, vector: Vectors, candidates: Sequence[Candidate]) -> Record:
        ids = [candidate.passage.id for candidate in candidates]
        dense = (self._index.vectors(ids) @ vector).tolist() if ids else []
        rows = zip(ids, dense, self._lexical.scores(question, ids), strict=True)
        return {"question": question, "candidates": [{"passage": i, "dense": d, "lexical": b} for i, d, b in rows]}


def taught_reranker(first: Search, ranker: Ranker, index: DenseScores, lexical: LexicalScores) -> Reranker:
    """The re-ranker over a taught encoder's `index`, by the ranker of the run that taught it, which stays as it is."""
    with_cosines = copy(ranker)
    with_cosines.head = replace(ranker.head, dense=max(ranker.head.dense, _TAUGHT_DENSE))
    return Reranker(first, with_cosines, index, lexical, depth=_TAUGHT_DEPTH)


def _reordered(candidates: Sequence[Candidate], scores: Sequence[float], depth: int) -> list[Candidate]:
    """The scored candidates by score, equal ones as they stood, then the others below them."""
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    best = [Candidate(passage=candidates[place].passage, score=scores[place]) for place in order]
    floor = best[-1].score if best else 0.0
    rest = [Candidate(passage=c.passage, score=floor - n) for n, c in enumerate(candidates[depth:], start=1)]
    return best + rest


def open_trained(
    paths: DataPaths,
    run: str,
    kind: RetrieverKind = "fused",
    where: PassageFilter = EVERYTHING,
    *,
    encoder: Callable[[str, DataPaths], Encoder] = load_encoder,
    ranker: Callable[[Path], Ranker] = load_ranker,
) -> Reranker:
    """The search of the run's corpus by `kind`, re-ranked by the run's ranker: with the encoder that the run has
    taught, or with its base as long as it has taught none.

    Raises `NotFoundError` if the run is not there or has trained no ranker yet.
    """
    from indexes.lexical import LexicalIndex
    from indexes.passage_index import PassageIndex

    folder = paths.run(run)
    config = read_json(folder / "config.json")
    if not (config and (folder / "ranker" / "head.json").is_file()):
        known = ", ".join(f"'{each.parent.parent.name}'" for each in sorted(paths.runs.glob("*/ranker/head.json")))
        raise NotFoundError(f"There is no run '{run}' with a trained ranker (there are: {known or 'none yet'}).")
    is_taught = paths.encoder(run).is_dir()
    corpus, own = str(config["corpus"]), encoder(run if is_taught else str(config["base"]), paths)
    first = open_search(paths, corpus, kind, lambda: own)
    index, lexical = PassageIndex.open(paths, corpus, own), LexicalIndex.open(paths, corpus)
    put_in_order = taught_reranker if is_taught else Reranker
    return put_in_order(partial(first.search_many, where=where), ranker(folder / "ranker"), index, lexical)
