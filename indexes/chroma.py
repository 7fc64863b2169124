"""An encoder's index of a corpus: a Chroma collection, opened, searched, deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.corpus import Corpus, IndexInfo
from indexes.errors import EncoderMismatchError, NotFoundError, StoreError
from indexes.paths import DataPaths, slug
from indexes.types import Candidate, Encoder, Passage, Vectors

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

_MAX_RESULTS_AT_ONCE = 10_000  # Chroma looks results up in SQLite, which bounds the variables of one statement
MAX_K = 300  # beyond the width of the search, the graph misses neighbours
# Wider than Chroma's defaults (16, 100, 100): on these settings hardly a true neighbour is missed.
_HNSW: Any = {"space": "ip", "max_neighbors": 32, "ef_construction": 200, "ef_search": MAX_K}


class PassageIndex:
    """The passages of one corpus as vectors of one encoder."""

    def __init__(self, corpus: str, encoder: Encoder, collection: Collection) -> None:
        self.corpus = corpus
        self.encoder = encoder
        self._collection = collection

    @classmethod
    def open(cls, paths: DataPaths, corpus: str, encoder: Encoder) -> PassageIndex:
        """The complete index of `corpus` by `encoder`.

        Raises `NotFoundError` if none was built, `EncoderMismatchError` if the encoder has changed since.
        """
        manifest = Corpus.open(paths, corpus)
        info = find_index(manifest, encoder)
        if info is None:
            raise NotFoundError(
                f"Corpus '{manifest.name}' has no index by encoder '{encoder.name}'. Build it with: "
                f"{_rebuild_command(manifest.name, encoder.name)}"
            )
        if info.fingerprint != encoder.fingerprint or info.dimension != encoder.dimension:
            raise EncoderMismatchError(
                f"The index of corpus '{manifest.name}' was made by encoder '{info.encoder}' with fingerprint "
                f"{info.fingerprint} ({info.dimension} dimensions), but the encoder at hand has {encoder.fingerprint} "
                f"({encoder.dimension} dimensions): its vectors do not fit. Rebuild with: "
                f"{_rebuild_command(manifest.name, encoder.name)}"
            )
        return cls(manifest.name, encoder, _existing(paths, info))

    @property
    def n_passages(self) -> int:
        """How many passages are indexed."""
        return int(self._collection.count())

    def search(self, question: str, k: int = 10) -> list[Candidate]:
        """The `k` passages nearest to `question`, best first."""
        return self.search_many([question], k)[0]

    def search_many(self, questions: Sequence[str], k: int) -> list[list[Candidate]]:
        """The `k` (at most `MAX_K`) nearest passages of each question, best first."""
        return self.search_vectors(self.encoder.encode_queries(questions), k)

    def search_vectors(self, vectors: Vectors, k: int) -> list[list[Candidate]]:
        """The `k` nearest passages of each unit vector (B, D), best first; equal scores by passage id."""
        n_results = min(k, MAX_K, self.n_passages)
        if n_results == 0 or len(vectors) == 0:
            return [[] for _ in vectors]
        at_once = max(1, _MAX_RESULTS_AT_ONCE // n_results)
        return [
            candidates
            for first in range(0, len(vectors), at_once)
            for candidates in self._query(vectors[first : first + at_once], n_results)
        ]

    def _query(self, vectors: Vectors, n_results: int) -> Iterator[list[Candidate]]:
        found = self._collection.query(
            query_embeddings=vectors, n_results=n_results, include=["documents", "metadatas", "distances"]
        )
        columns = (found["ids"], found["documents"] or [], found["metadatas"] or [], found["distances"] or [])
        return (_candidates(*row) for row in zip(*columns, strict=True))

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
        collection = _existing(paths, info)
        delete_ids(collection, sorted(set(collection.get(include=[])["ids"]) - wanted))


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
    return next((info for info in corpus.indexes() if info.encoder == encoder.name), None)


def _rebuild_command(corpus: str, encoder: str) -> str:
    return f"python -m indexes add '{corpus}' --encoder '{encoder}'"


def _client(paths: DataPaths) -> ClientAPI:
    import chromadb
    from chromadb.config import Settings

    try:
        paths.chroma.mkdir(parents=True, exist_ok=True)
        return chromadb.PersistentClient(str(paths.chroma), Settings(anonymized_telemetry=False))
    except Exception as error:
        raise StoreError(
            f"The vector store in {paths.chroma} cannot be opened: {error}. Check DATA_DIR's space and rights."
        ) from error


def _holds_vectors_of(info: IndexInfo, encoder: Encoder) -> bool:
    return info.fingerprint == encoder.fingerprint and info.dimension == encoder.dimension


def shared_collection(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Collection | None:
    """The collection of an index whose passages have the vectors that `encoder` would give them, its own one first."""
    fitting = [info for info in corpus.indexes() if _holds_vectors_of(info, encoder)]
    for info in sorted(fitting, key=lambda info: info.encoder != encoder.name):
        try:
            return _existing(paths, info)
        except StoreError:
            continue  # listed, but gone: it is built anew
    return None


def open_collection(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Collection:
    metadata = {
        "corpus": corpus.name,
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "dimension": encoder.dimension,
        "normalized": True,
    }
    return _client(paths).get_or_create_collection(
        collection_name(corpus, encoder), configuration={"hnsw": _HNSW}, metadata=metadata, embedding_function=None
    )


def collection_name(corpus: Corpus, encoder: Encoder) -> str:
    parts = "\x1f".join((corpus.name, encoder.name, encoder.fingerprint))
    digest = hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{slug(corpus.name)}-{digest}"  # 40 + 1 + 16 characters at most; Chroma allows 63


def _existing(paths: DataPaths, info: IndexInfo) -> Collection:
    from chromadb.errors import NotFoundError as ChromaNotFoundError

    try:
        return _client(paths).get_collection(info.collection, embedding_function=None)
    except (ChromaNotFoundError, ValueError) as error:
        raise StoreError(
            f"The index by encoder '{info.encoder}' is listed, but its collection '{info.collection}' is gone from "
            f"{paths.chroma}. Run `python -m indexes add` for this corpus and encoder to rebuild it."
        ) from error


def drop_unless_used(paths: DataPaths, corpus: Corpus, collection: str) -> None:
    """Deletes `collection` if no index of `corpus` points at it; a collection is of one corpus only."""
    if any(info.collection == collection for info in corpus.indexes()):
        return
    from chromadb.errors import NotFoundError as ChromaNotFoundError

    try:
        _client(paths).delete_collection(collection)
    except (ChromaNotFoundError, ValueError):
        return  # gone already: that is what was wanted


def write_passages(collection: Collection, passages: Sequence[Passage], vectors: Vectors) -> None:
    """Puts passages with their unit vectors (N, D) into the collection, over what it has under the same ids."""
    if not passages:
        return
    try:
        collection.upsert(
            ids=[passage.id for passage in passages],
            embeddings=vectors,
            documents=[passage.text for passage in passages],
            metadatas=[_metadata(passage) for passage in passages],
        )
    except Exception as error:
        raise StoreError(
            f"Writing {len(passages)} passages to the vector store failed: {error}. Free some disk space and run the "
            "same command again; it goes on where it stopped."
        ) from error


def _metadata(passage: Passage) -> dict[str, Any]:
    values = {
        "document_id": passage.document_id,
        "source": passage.source,
        "title": passage.title,
        "start": passage.start,
        "end": passage.end,
        "page": passage.page,
        "kind": passage.kind,
        "date": passage.date,
    }
    return {key: value for key, value in values.items() if value is not None}


def delete_ids(collection: Collection, ids: list[str]) -> None:
    for first in range(0, len(ids), 1000):  # Chroma bounds the size of one request
        collection.delete(ids=ids[first : first + 1000])


def _candidates(
    ids: Sequence[str], texts: Sequence[str], metadatas: Sequence[Any], distances: Sequence[float]
) -> list[Candidate]:
    found = [
        Candidate(passage=Passage(id=identifier, text=text, **metadata), score=1.0 - float(distance))
        for identifier, text, metadata, distance in zip(ids, texts, metadatas, distances, strict=True)
    ]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.passage.id))
