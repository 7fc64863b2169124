"""The only door to Chroma: a client for where the vectors are, its collections, and its errors as sentences."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from indexes.corpus import Corpus
from indexes.encoders.precision import as_indexed
from indexes.errors import NotFoundError, StoreError, UserError
from indexes.locks import store_stamp
from indexes.paths import DataPaths, StoreSettings, slug
from indexes.types import CollectionInfo, Encoder, IndexInfo, Passage, Vectors

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection as Collection


MAX_K = 300  # beyond the width of the search, the graph misses neighbours; an index made before has 300
STORE_FORMAT = 1
# A search wider than Chroma's (100) misses hardly a true neighbour; insertions as wide as its own are wide enough for
# texts (benchmarks/exactness.py). With its 16 neighbours, passages that repeat each other can fall out of the graph.
_HNSW: Any = {"space": "ip", "max_neighbors": 32, "ef_construction": 100, "ef_search": 500}
_MAX_REQUEST = 1000  # Chroma bounds the size of one request
_CLIENTS = 4
_OPENING = Lock()  # Chroma's clients trip over each other when two are made at once


def connect(paths: DataPaths) -> ClientAPI:
    """A client of the store, opened once; the embedded one anew after anyone has written it."""
    with sentences(paths, "opening it"):
        if not paths.store.is_embedded:
            return _server(paths.store)
        paths.chroma.mkdir(parents=True, exist_ok=True)
        with _OPENING:
            return _embedded(str(paths.chroma.resolve()), store_stamp(paths), _inode(paths.chroma / "chroma.sqlite3"))


def _inode(file: Path) -> int:
    return file.stat().st_ino if file.exists() else 0


@lru_cache(maxsize=1)  # each holds its graphs in memory
def _embedded(folder: str, stamp: str, inode: int) -> ClientAPI:
    import chromadb
    from chromadb.api.shared_system_client import SharedSystemClient
    from chromadb.config import Settings

    # Chroma keeps one system for a folder and its graphs in memory: another process's writes would never show.
    # Whoever still holds a client from before goes on with it; otherwise its graphs go now. It is part of a cycle, so
    # that they would lie beside the new ones until Python happens to look.
    _embedded.cache_clear()
    SharedSystemClient.clear_system_cache()
    gc.collect()
    return chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))


@lru_cache(maxsize=_CLIENTS)
def _server(store: StoreSettings) -> ClientAPI:
    import chromadb
    from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings

    settings = Settings(anonymized_telemetry=False)
    if store.is_cloud:
        return chromadb.CloudClient(
            tenant=store.tenant, database=store.database, api_key=store.token, settings=settings
        )
    token = {"Authorization": f"Bearer {store.token}", "X-Chroma-Token": store.token} if store.token else None
    return chromadb.HttpClient(
        host=store.url.rstrip("/"),  # with its path, which a host and a port do not say
        port=store.port,
        ssl=store.is_ssl,
        headers=token,
        settings=settings,
        tenant=store.tenant or DEFAULT_TENANT,
        database=store.database or DEFAULT_DATABASE,
    )


@contextmanager
def sentences(paths: DataPaths, doing: str) -> Iterator[None]:
    """Whatever the store raises inside becomes a `StoreError` that says where the store is and what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        secret = paths.store.token
        reason = str(error).replace(secret, "…") if secret else str(error)
        reason = " ".join(reason.split())[:300].rstrip(".")
        if paths.store.is_embedded:
            raise StoreError(
                f"The vector store in {paths.chroma} failed at {doing}: {reason}. Check DATA_DIR's space and rights; "
                "python -m indexes doctor CORPUS names what is wrong in it."
            ) from error
        # The cause may hold the request with its token.
        raise StoreError(
            f"The Chroma server at {paths.store.url} failed at {doing}: {reason}. Check that it runs, CHROMA_URL, and "
            "CHROMA_TENANT, CHROMA_DATABASE and CHROMA_TOKEN if it asks for them."
        ) from None


def holds_vectors_of(info: IndexInfo, encoder: Encoder) -> bool:
    """Whether the vectors of an index are those that `encoder` would give."""
    return info.fingerprint == encoder.fingerprint and info.dimension == encoder.dimension


def shared_collection(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Collection | None:
    """The collection of an index whose passages have the vectors that `encoder` would give them, its own one first."""
    fitting = [info for info in corpus.indexes() if holds_vectors_of(info, encoder)]
    for info in sorted(fitting, key=lambda info: info.encoder != encoder.name):
        try:
            return existing_collection(paths, info)
        except NotFoundError:
            continue  # listed, but gone: it is built anew
    return None


def open_collection(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Collection:
    """The collection that `encoder` fills for `corpus`, made if need be; the manifest knows of it first."""
    name = collection_name(corpus, encoder)
    metadata = {
        "format": STORE_FORMAT,
        "uid": corpus.uid,
        "corpus": corpus.name,
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "dimension": encoder.dimension,
        "normalized": True,
    }
    begun = CollectionInfo(name=name, encoder=encoder.name, fingerprint=encoder.fingerprint, synced=corpus.generation())
    corpus.begin_collection(begun)
    with sentences(paths, f"making the collection of corpus '{corpus.name}'"):
        return connect(paths).get_or_create_collection(
            name, configuration={"hnsw": _HNSW}, metadata=metadata, embedding_function=None
        )


def collection_name(corpus: Corpus, encoder: Encoder) -> str:
    """The name of the collection, which no other corpus has, in this data folder or in another on the same server."""
    parts = "\x1f".join((corpus.uid, corpus.name, encoder.name, encoder.fingerprint))
    digest = hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{slug(corpus.name)}-{digest}"  # 40 + 1 + 16 characters at most; Chroma allows 63


def existing_collection(paths: DataPaths, info: IndexInfo) -> Collection:
    """The collection of an index; `NotFoundError` if it is gone, `StoreError` if a newer version wrote it."""
    from chromadb.errors import NotFoundError as ChromaNotFoundError

    with sentences(paths, f"opening the index by encoder '{info.encoder}'"):
        try:
            collection = connect(paths).get_collection(info.collection, embedding_function=None)
        except ChromaNotFoundError as error:
            raise NotFoundError(
                f"The index by encoder '{info.encoder}' is listed, but its collection '{info.collection}' is gone from "
                f"{paths.store.url or paths.chroma}. Run `python -m indexes add` for this corpus and encoder to "
                "rebuild it."
            ) from error
    written = (collection.metadata or {}).get("format", STORE_FORMAT)
    if isinstance(written, int) and written > STORE_FORMAT:
        raise StoreError(
            f"The index by encoder '{info.encoder}' was written by a newer version (format {written}, this one reads "
            f"{STORE_FORMAT}). Update this program, or build the index again in another DATA_DIR."
        )
    return collection


def drop_unless_used(paths: DataPaths, corpus: Corpus, collection: str) -> None:
    """Deletes `collection` if no index of `corpus` points at it; a collection is of one corpus only."""
    if not any(info.collection == collection for info in corpus.indexes()):
        drop_collection(paths, collection)
        corpus.end_collection(collection)


def drop_collection(paths: DataPaths, collection: str) -> None:
    """Deletes `collection`; one that is gone already is what was wanted."""
    from chromadb.errors import NotFoundError as ChromaNotFoundError

    with sentences(paths, f"deleting the collection '{collection}'"):
        try:
            connect(paths).delete_collection(collection)
        except ChromaNotFoundError:
            return


def stored_collections(paths: DataPaths) -> list[Collection]:
    """Every collection of the store."""
    with sentences(paths, "listing its collections"):
        client, found = connect(paths), list[Any]()
        while page := client.list_collections(limit=_MAX_REQUEST, offset=len(found)):
            found += page
        return found


def write_passages(collection: Collection, passages: Sequence[Passage], vectors: Vectors) -> None:
    """Puts passages with their unit vectors (N, D) into the collection, over what it has under the same ids."""
    try:
        for first in range(0, len(passages), _MAX_REQUEST):
            some = passages[first : first + _MAX_REQUEST]
            collection.upsert(
                ids=[passage.id for passage in some],
                embeddings=vectors[first : first + _MAX_REQUEST],
                documents=[passage.text for passage in some],
                metadatas=[passage_metadata(passage) for passage in some],
            )
    except Exception as error:
        raise StoreError(
            f"Writing {len(passages)} passages to the vector store failed: {error}. Free some disk space and run the "
            "same command again; it goes on where it stopped."
        ) from error


def passage_metadata(passage: Passage) -> dict[str, Any]:
    """What a passage is stored with beside its text."""
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


def metadata_update(passage: Passage) -> dict[str, Any]:
    """What is written over the metadata of a stored passage: a page that it no longer has is taken out."""
    return {"page": None} | passage_metadata(passage)


def delete_ids(collection: Collection, ids: Sequence[str]) -> None:
    """Takes these passages out of the collection."""
    for first in range(0, len(ids), _MAX_REQUEST):
        collection.delete(ids=list(ids[first : first + _MAX_REQUEST]))


def note_settled(paths: DataPaths, corpus: Corpus) -> None:
    """Notes that every index of `corpus` is in step with it now, unless one is not, because its encoder is gone."""
    behind = {each.name for each in corpus.collections() if each.synced != corpus.generation()}
    if paths.store.is_embedded and not any(info.collection in behind for info in corpus.indexes()):
        with suppress(OSError):  # a full disk: the store is looked at next time
            _note(paths, corpus).write_text(json.dumps(_state(paths, corpus)), encoding="utf-8")


def is_settled(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> bool:
    """Whether `corpus` has an index that `encoder` would give, and neither the corpus nor any file of the embedded
    store was written since the indexes were in step."""
    if not paths.store.is_embedded:
        return False
    try:
        noted = json.loads(_note(paths, corpus).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if noted != _state(paths, corpus):
        return False
    own = [info for info in corpus.indexes() if info.encoder == encoder.name]
    wanted = as_indexed(encoder, [info.fingerprint for info in own]).fingerprint
    return any((info.fingerprint, info.dimension) == (wanted, encoder.dimension) for info in own)


def _state(paths: DataPaths, corpus: Corpus) -> list[object]:
    """What changes with any write to the passages and indexes of `corpus`, or to the store's tables and graphs."""
    facts = []
    for file in sorted(file for file in paths.chroma.rglob("*") if file.is_file()):
        stat = file.stat()
        facts.append([str(file.relative_to(paths.chroma)), stat.st_ino, stat.st_size, stat.st_mtime_ns])
    return [corpus.version(), facts]


def _note(paths: DataPaths, corpus: Corpus) -> Path:
    return paths.locks / f"{corpus.folder.name}.settled"
