"""An encoder's index of a corpus: a Chroma collection, opened, searched, deleted, kept in step with the manifest."""

from __future__ import annotations

import hashlib
import logging
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.chroma import (
    MAX_K,
    delete_ids,
    drop_collection,
    drop_unless_used,
    existing_collection,
    metadata_update,
    sentences,
    write_passages,
)
from indexes.corpus import Corpus
from indexes.encoders.precision import comparable
from indexes.errors import EncoderMismatchError, NotFoundError, StoreError
from indexes.filters import EVERYTHING, Facets, PassageFilter, chroma_where
from indexes.locks import child_command, is_being_written
from indexes.paths import DataPaths
from indexes.types import Candidate, Encoder, IndexInfo, Passage, Vectors

if TYPE_CHECKING:
    from indexes.chroma import Collection


PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Passages that a collection lacks (shortest first) and those that it should not have any more."""

    n_wanted: int
    missing: list[str]
    orphans: list[str]


def compare(corpus: Corpus, collection: Collection) -> Difference:
    """What the manifest and the collection do not both have, by passage id."""
    wanted = corpus.passage_ids_by_length()
    present = set(stored_ids(collection))
    missing = [identifier for identifier in wanted if identifier not in present]
    return Difference(n_wanted=len(wanted), missing=missing, orphans=sorted(present.difference(wanted)))


def stored_ids(collection: Collection) -> list[str]:
    """The ids of every passage in the collection."""
    return list(collection.get(include=[])["ids"])


def is_in_step(corpus: Corpus, info: IndexInfo, collection: Collection) -> bool:
    """Whether an index has every passage as the manifest has it, told by counts alone."""
    synced = next((each.synced for each in corpus.collections() if each.name == info.collection), -1)
    return synced == corpus.generation() and int(collection.count()) == info.n_passages


def reuse_vectors(corpus: Corpus, collection: Collection, difference: Difference) -> list[str]:
    """Ids that still lack a vector, after those whose text stood elsewhere have got the vector that it had there.

    A passage that moved (another file name, another place in its document) has a new id; what the encoder reads of it
    is the same, so its vector is too.
    """
    if not difference.orphans or not difference.missing:
        return difference.missing
    waiting: defaultdict[bytes, list[str]] = defaultdict(list)
    for first in range(0, len(difference.missing), PAGE):
        for passage in corpus.get_passages(difference.missing[first : first + PAGE]):
            waiting[_content(passage.title, passage.text)].append(passage.id)
    done: set[str] = set()
    for page in pages(difference.orphans):
        found = collection.get(ids=page, include=["embeddings", "documents", "metadatas"])
        texts, metadatas = found["documents"] or [], found["metadatas"] or []
        vectors = np.asarray(found["embeddings"], dtype=np.float32)
        keys = [_content(str(m.get("title", "")), text) for m, text in zip(metadatas, texts, strict=True)]
        moved = [(identifier, row) for row, key in enumerate(keys) for identifier in waiting.pop(key, [])]
        passages = corpus.get_passages([identifier for identifier, _ in moved])
        rows = [row for _, row in moved]
        for some in range(0, len(passages), PAGE):
            write_passages(collection, passages[some : some + PAGE], vectors[rows[some : some + PAGE]])
        done.update(passage.id for passage in passages)
    return [identifier for identifier in difference.missing if identifier not in done]


def refresh_metadata(corpus: Corpus, collection: Collection) -> None:
    """Gives passages that kept their text and got other metadata (their place, their source) the present ones."""
    synced = next((each.synced for each in corpus.collections() if each.name == collection.name), 0)
    if synced == corpus.generation():
        return
    for page in pages(corpus.changed_since(synced)):
        passages = corpus.get_passages(page)
        metadatas: list[Any] = [metadata_update(passage) for passage in passages]
        collection.update(ids=[passage.id for passage in passages], metadatas=metadatas)


def drop_orphans(collection: Collection, difference: Difference) -> None:
    """Takes out what the manifest has not."""
    delete_ids(collection, difference.orphans)


def pages(ids: Sequence[str]) -> Iterator[list[str]]:
    """`ids` in parts of a size that the manifest and the store answer at once."""
    for first in range(0, len(ids), PAGE):
        yield list(ids[first : first + PAGE])


def _content(title: str, text: str) -> bytes:
    return hashlib.blake2b(f"{title}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


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
    def open(cls, paths: DataPaths, corpus: str | Corpus, encoder: Encoder) -> PassageIndex:
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


_TORN = 3  # exit status
_CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}
_N_SEARCHED = 5000  # passages that are to find themselves; of more, so many from all over the corpus
_MOST_LOST = 0.2  # of them; a whole graph may miss some that are all alike (5 % of 1,300 sentences with one template)
_UNIT_TOLERANCE = 0.01  # as the doctor's
_FOUND = 0.99  # the score of a passage that finds itself or one like it


def mark_unfinished(paths: DataPaths, corpus: Corpus) -> None:
    """Notes that collections of `corpus` are being written."""
    if paths.store.is_embedded:
        _mark(paths, corpus).parent.mkdir(parents=True, exist_ok=True)
        _mark(paths, corpus).touch()


def mark_finished(paths: DataPaths, corpus: Corpus) -> None:
    """Notes that nothing is being written any more."""
    _mark(paths, corpus).unlink(missing_ok=True)


def is_unfinished(paths: DataPaths, corpus: Corpus) -> bool:
    """Whether the last writer of collections of `corpus` died, or one is at work."""
    return _mark(paths, corpus).exists()


def drop_torn(paths: DataPaths, corpus: Corpus) -> list[str]:
    """The encoders whose collections of `corpus` were torn by a writer that did not end well; they are deleted, so
    that an update builds them anew. After a writer that did end well nothing is looked at.
    """
    if not is_unfinished(paths, corpus):
        return []
    torn = [each for each in corpus.collections() if is_torn(paths, each.name, each.encoder)]
    for each in torn:
        drop_collection(paths, each.name)
    return [each.encoder for each in torn]


def is_torn(paths: DataPaths, collection: str, encoder: str) -> bool:
    """Whether the graph of `collection`, in the embedded store, fails or has lost passages; found out by a process that
    may crash."""
    command = child_command(__name__, str(paths.root.resolve()), collection)
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode not in {0, _TORN, *_CRASHES}:
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise StoreError(
            f"The index by '{encoder}' was being written when a program died, and cannot be examined: "
            f"{reason}. Try again; nothing was changed."
        )
    return done.returncode != 0


def main(root: str, name: str) -> None:
    """Ends this process with a status that says whether the graph is torn."""
    sys.exit(0 if _is_sound(DataPaths(Path(root)), name) else _TORN)


def _is_sound(paths: DataPaths, name: str) -> bool:
    try:
        collection = existing_collection(
            paths, IndexInfo(encoder="", fingerprint="", dimension=0, n_passages=0, collection=name)
        )
    except NotFoundError:
        return True  # there is none to be torn
    try:
        collection.count()  # brings the graph in step with what was written, or fails
        return _has_all(collection)
    except Exception:  # noqa: BLE001  # the store has its own errors for each way in which a graph can be torn
        return False


def _has_all(collection: Collection) -> bool:
    """Whether each passage has a unit vector, and most are found by it."""
    n_searched = n_lost = 0
    ids = stored_ids(collection)
    for page in pages(ids):
        vectors = np.asarray(collection.get(ids=page, include=["embeddings"])["embeddings"], dtype=np.float32)
        if len(vectors) != len(page) or not (np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _UNIT_TOLERANCE).all():
            return False
        some = vectors[:: max(1, len(ids) // _N_SEARCHED)]
        nearest = collection.query(query_embeddings=some, n_results=1, include=["distances"])["distances"] or []
        n_searched += len(some)
        n_lost += sum(not row or 1 - row[0] < _FOUND for row in nearest)
    return n_lost <= _MOST_LOST * n_searched


def _mark(paths: DataPaths, corpus: Corpus) -> Path:
    return paths.locks / f"{corpus.folder.name}.unfinished"
