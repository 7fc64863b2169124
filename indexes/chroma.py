"""An encoder's index of a corpus: a Chroma collection, opened, searched, deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.corpus import Corpus
from indexes.errors import EncoderMismatchError, NotFoundError
from indexes.filters import EVERYTHING, Facets, PassageFilter, chroma_where
from indexes.locks import is_being_written
from indexes.paths import DataPaths
from indexes.precision import comparable
from indexes.reconciling import stored_ids
from indexes.records import IndexInfo
from indexes.store import (
    MAX_K,
    delete_ids,
    drop_unless_used,
    existing_collection,
    sentences,
)
from indexes.types import Candidate, Encoder, Passage, Vectors

if TYPE_CHECKING:
    from indexes.store import Collection

__all__ = ["MAX_K", "PassageIndex", "delete_index", "delete_indexes", "find_index", "remove_passages"]

_log = logging.getLogger(__name__)
_MAX_RESULTS_AT_ONCE = 10_000  # Chroma looks results up in SQLite, which bounds the variables of one statement


class PassageIndex:
    """The passages of one corpus as vectors of one encoder."""

    def __init__(
        self,
        corpus: str,
        encoder: Encoder,
        collection: Collection,
        *,
        paths: DataPaths | None = None,
        reopen: Callable[[], Collection] | None = None,
        notice: str = "",
        facets: Callable[[], Sequence[Facets]] = tuple,
    ) -> None:
        self.corpus = corpus
        self.encoder = encoder
        self.notice = notice
        self._collection = collection
        self._paths = paths or DataPaths(Path())
        self._reopen = reopen
        self._facets = facets

    @classmethod
    def open(cls, paths: DataPaths, corpus: str, encoder: Encoder) -> PassageIndex:
        """The complete index of `corpus` by `encoder`.

        Raises `NotFoundError` if none was built, `EncoderMismatchError` if the encoder has changed since. An index that
        has not as many passages as the manifest says still answers; `notice` is the sentence about it.
        """
        manifest = Corpus.open(paths, corpus)
        info = find_index(manifest, encoder)
        if info is None:
            raise NotFoundError(
                f"Corpus '{manifest.name}' has no index by encoder '{encoder.name}'. Build it with: "
                f"{_rebuild_command(manifest.name, encoder.name)}"
            )
        if not comparable(info.fingerprint, encoder.fingerprint) or info.dimension != encoder.dimension:
            raise EncoderMismatchError(
                f"The index of corpus '{manifest.name}' was made by encoder '{info.encoder}' with fingerprint "
                f"{info.fingerprint} ({info.dimension} dimensions), but the encoder at hand has {encoder.fingerprint} "
                f"({encoder.dimension} dimensions): its vectors do not fit. Rebuild with: "
                f"{_rebuild_command(manifest.name, encoder.name)}"
            )
        collection = existing_collection(paths, info)
        notice = _count_notice(paths, manifest, info, collection)
        return cls(
            manifest.name,
            encoder,
            collection,
            paths=paths,
            reopen=lambda: existing_collection(paths, info),
            notice=notice,
            facets=manifest.facets,
        )

    @property
    def n_passages(self) -> int:
        """How many passages are indexed."""
        return int(self._collection.count())

    def search(self, question: str, k: int = 10, where: PassageFilter = EVERYTHING) -> list[Candidate]:
        """The `k` passages nearest to `question` among those that fit `where`, best first."""
        return self.search_many([question], k, where)[0]

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` (at most `MAX_K`) nearest passages of each question among those that fit `where`, best first."""
        return self.search_vectors(self.encoder.encode_queries(questions), k, where)

    def search_vectors(self, vectors: Vectors, k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` nearest passages of each unit vector (B, D), best first; equal scores by passage id."""
        n_results = min(k, MAX_K)  # Chroma gives fewer where there are fewer; counting them first costs as much again
        clause = chroma_where(where, self._facets()) if where else {}
        if n_results < 1 or len(vectors) == 0 or clause is None:
            return [[] for _ in vectors]
        at_once = max(1, _MAX_RESULTS_AT_ONCE // n_results)
        return [
            candidates
            for first in range(0, len(vectors), at_once)
            for candidates in self._query(vectors[first : first + at_once], n_results, clause)
        ]

    def _query(self, vectors: Vectors, n_results: int, clause: Any) -> Iterator[list[Candidate]]:
        try:
            found = self._ask(vectors, n_results, clause)
        except Exception:  # another process deleted or rebuilt what was open: what is there now answers
            if self._reopen is None:
                raise
            self._collection = self._reopen()
            with sentences(self._paths, "searching"):
                found = self._ask(vectors, n_results, clause)
        columns = (found["ids"], found["documents"] or [], found["metadatas"] or [], found["distances"] or [])
        return (_candidates(*row) for row in zip(*columns, strict=True))

    def _ask(self, vectors: Vectors, n_results: int, clause: Any) -> Any:
        return self._collection.query(
            query_embeddings=vectors,
            n_results=n_results,
            where=clause or None,
            include=["documents", "metadatas", "distances"],
        )

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The stored vectors of these passages, shape (N, D), in this order."""
        by_id: dict[str, Vectors] = {}
        for first in range(0, len(ids), _MAX_RESULTS_AT_ONCE):
            found = self._collection.get(ids=list(ids[first : first + _MAX_RESULTS_AT_ONCE]), include=["embeddings"])
            by_id |= zip(found["ids"], np.asarray(found["embeddings"], dtype=np.float32), strict=True)
        return np.stack([by_id[identifier] for identifier in ids])


def remove_passages(paths: DataPaths, corpus: Corpus) -> None:
    """Takes what the manifest no longer has out of every index of `corpus`; nothing is embedded."""
    wanted = set(corpus.passage_ids_by_length())
    for info in corpus.indexes():
        collection = existing_collection(paths, info)
        with sentences(paths, "removing passages"):
            delete_ids(collection, sorted(set(stored_ids(collection)) - wanted))
        corpus.record_index(replace(info, n_passages=int(collection.count())), corpus.generation())


def delete_indexes(paths: DataPaths, corpus: Corpus) -> None:
    """Deletes every index of `corpus`."""
    for info in corpus.indexes():
        delete_index(paths, corpus, info.encoder)


def delete_index(paths: DataPaths, corpus: Corpus, encoder: str) -> None:
    """Deletes the index by the encoder of this name; vectors that another index shares stay."""
    for info in corpus.indexes():
        if info.encoder == encoder:
            corpus.forget_index(encoder)
            drop_unless_used(paths, corpus, info.collection)


def find_index(corpus: Corpus, encoder: Encoder) -> IndexInfo | None:
    """The index of `corpus` by an encoder of this name; None if none was built."""
    return next((info for info in corpus.indexes() if info.encoder == encoder.name), None)


def _count_notice(paths: DataPaths, corpus: Corpus, info: IndexInfo, collection: Collection) -> str:
    """What is to be said of an index that its manifest does not agree with; nothing while someone writes it."""
    with sentences(paths, "counting passages"):
        n_stored = int(collection.count())
    if n_stored == info.n_passages or is_being_written(paths, corpus.name):
        return ""
    notice = (
        f"The index of corpus '{corpus.name}' by '{info.encoder}' holds {n_stored} passages where its manifest says "
        f"{info.n_passages}: an `add` did not end. Complete it with: {_rebuild_command(corpus.name, info.encoder)}"
    )
    _log.warning(notice)
    return notice


def _rebuild_command(corpus: str, encoder: str) -> str:
    return f"python -m indexes add '{corpus}' --encoder '{encoder}'"


def _candidates(
    ids: Sequence[str], texts: Sequence[str], metadatas: Sequence[Any], distances: Sequence[float]
) -> list[Candidate]:
    found = [
        Candidate(passage=Passage(id=identifier, text=text, **metadata), score=1.0 - float(distance))
        for identifier, text, metadata, distance in zip(ids, texts, metadatas, distances, strict=True)
        if text is not None and metadata is not None  # deleted by another process since this one read the graph
    ]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.passage.id))
