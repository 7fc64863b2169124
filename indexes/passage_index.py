"""An encoder's index of a corpus: its vectors, searched in a collection of Chroma, its passages from the manifest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.chroma import MAX_K, drop_collection, is_behind, open_collection, sentences
from indexes.corpus import Corpus
from indexes.encoders.torch import comparable
from indexes.errors import EncoderMismatchError, NotFoundError
from indexes.filters import EVERYTHING, PassageFilter, chroma_where
from indexes.locks import is_being_written
from indexes.observing import step
from indexes.paths import DataPaths
from indexes.types import Candidate, Encoder, IndexInfo, Vectors

if TYPE_CHECKING:
    from indexes.chroma import Collection


_log = logging.getLogger(__name__)
_MAX_RESULTS_AT_ONCE = 10_000  # Chroma looks results up in SQLite, which bounds the variables of one statement


class PassageIndex:
    """The passages of one corpus as vectors of one encoder."""

    def __init__(self, paths: DataPaths, corpus: Corpus, encoder: Encoder, info: IndexInfo, collection: Collection):
        self.encoder = encoder
        self.notice = _notice(paths, corpus, info)
        self._paths = paths
        self._corpus = corpus
        self._fingerprint = info.fingerprint
        self._collection = collection

    @classmethod
    def open(cls, paths: DataPaths, corpus: str | Corpus, encoder: Encoder) -> PassageIndex:
        """The complete index of `corpus` by `encoder`.

        Raises `NotFoundError` if none was built, `EncoderMismatchError` if the encoder has changed since. An index that
        lacks what was added since still answers; `notice` is the sentence about it.
        """
        opened = Corpus.open(paths, corpus)
        info = find_index(opened, encoder)
        if info is None:
            raise NotFoundError(
                f"Corpus '{opened.name}' has no index by encoder '{encoder.name}'. Build it with: "
                f"{_rebuild_command(opened.name, encoder.name)}"
            )
        if not comparable(info.fingerprint, encoder.fingerprint) or info.dimension != encoder.dimension:
            raise EncoderMismatchError(
                f"The index of corpus '{opened.name}' was made by encoder '{info.encoder}' with fingerprint "
                f"{info.fingerprint} ({info.dimension} dimensions), but the encoder at hand has {encoder.fingerprint} "
                f"({encoder.dimension} dimensions): its vectors do not fit. Rebuild with: "
                f"{_rebuild_command(opened.name, encoder.name)}"
            )
        return cls(paths, opened, encoder, info, open_collection(paths, opened, info.fingerprint))

    @property
    def n_passages(self) -> int:
        """How many passages are indexed."""
        with sentences(self._paths, "counting passages"):
            return int(self._collection.count())

    def search(self, question: str, k: int = 10, where: PassageFilter = EVERYTHING) -> list[Candidate]:
        """The `k` passages nearest to `question` among those that fit `where`, best first."""
        return self.search_many([question], k, where)[0]

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` (at most `MAX_K`) nearest passages of each question among those that fit `where`, best first."""
        with step("embed", encoder=self.encoder.name):
            vectors = self.encoder.encode_queries(questions)
        return self.search_vectors(vectors, k, where)

    def search_vectors(self, vectors: Vectors, k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` nearest passages of each unit vector (B, D), best first; equal scores by passage id."""
        n_results = min(k, MAX_K)  # Chroma gives fewer where there are fewer; counting them first costs as much again
        clause = chroma_where(where, self._corpus.facets()) if where else {}
        if n_results < 1 or len(vectors) == 0 or clause is None:
            return [[] for _ in vectors]
        at_once = max(1, _MAX_RESULTS_AT_ONCE // n_results)
        return [
            candidates
            for first in range(0, len(vectors), at_once)
            for candidates in self._query(vectors[first : first + at_once], n_results, clause)
        ]

    def _query(self, vectors: Vectors, n_results: int, clause: Any) -> list[list[Candidate]]:
        found = self._ask(vectors, n_results, clause)
        pairs = [
            [(name, 1.0 - float(distance)) for name, distance in zip(*row, strict=True)]
            for row in zip(found["ids"], found["distances"] or [], strict=True)
        ]
        wanted = sorted({name for row in pairs for name, _ in row})
        passages = {passage.id: passage for passage in self._corpus.get_passages(wanted)}  # without those just deleted
        return [
            sorted(
                (Candidate(passage=passages[name], score=score) for name, score in row if name in passages),
                key=lambda candidate: (-candidate.score, candidate.passage.id),
            )
            for row in pairs
        ]

    def _ask(self, vectors: Vectors, n_results: int, clause: Any) -> Any:
        def ask() -> Any:
            return self._collection.query(
                query_embeddings=vectors, n_results=n_results, where=clause or None, include=["distances"]
            )

        for anew in (False, True):
            try:
                return ask()
            except Exception:  # noqa: BLE001  # another process replaced what was open; or it is corrupt inside
                self._collection = open_collection(self._paths, self._corpus, self._fingerprint, anew=anew)
        with sentences(self._paths, "searching"):
            return ask()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The stored vectors of these passages, shape (N, D), in this order."""
        found = self._corpus.read_vectors(self._fingerprint, ids)
        return np.stack([found[identifier] for identifier in ids])


def delete_index(paths: DataPaths, corpus: Corpus, encoder: str) -> None:
    """Deletes the index by the encoder of this name; vectors that another index shares stay."""
    for info in corpus.indexes():
        if info.encoder == encoder:
            corpus.forget_index(encoder)
            drop_vectors(paths, corpus, info.fingerprint)


def drop_vectors(paths: DataPaths, corpus: Corpus, fingerprint: str) -> None:
    """Deletes the vectors with this fingerprint and their collection, unless an index still has them."""
    if all(info.fingerprint != fingerprint for info in corpus.indexes()):
        with corpus.connect() as connection:
            connection.execute("DELETE FROM vectors WHERE fingerprint = ?", (fingerprint,))
        drop_collection(paths, corpus, fingerprint)


def find_index(corpus: Corpus, encoder: Encoder) -> IndexInfo | None:
    """The index of `corpus` by an encoder of this name; None if none was built."""
    return next((info for info in corpus.indexes() if info.encoder == encoder.name), None)


def _notice(paths: DataPaths, corpus: Corpus, info: IndexInfo) -> str:
    """What is to be said of an index that is behind its manifest; nothing while someone writes it."""
    if not is_behind(paths, corpus, info) or is_being_written(paths, corpus.name):
        return ""
    notice = (
        f"The index of corpus '{corpus.name}' by '{info.encoder}' is older than its files: an `add` did not end. "
        f"Complete it with: {_rebuild_command(corpus.name, info.encoder)}"
    )
    _log.warning(notice)
    return notice


def _rebuild_command(corpus: str, encoder: str) -> str:
    return f"python -m indexes add '{corpus}' --encoder '{encoder}'"
