"""The only door to Chroma: the vectors of a manifest, copied into a collection that is made again when it is not whole.

In the embedded store each collection has a folder of its own, which is written once, aside, and then takes over: a
kill leaves the one before, and readers never see half of one. On a server a collection is brought in step in place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from indexes.corpus import Corpus
from indexes.errors import NotFoundError, StoreError, UserError
from indexes.locks import holding, is_being_written
from indexes.manifest import pages
from indexes.paths import DataPaths, StoreSettings, can_write, scratch
from indexes.types import CollectionInfo, IndexInfo, Passage

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection as Collection


MAX_K = 300  # beyond the width of the search, the graph misses neighbours
# A search wider than Chroma's (100) misses hardly a true neighbour; insertions as wide as its own are wide enough for
# texts (benchmarks/exactness.py). With its 16 neighbours, passages that repeat each other can fall out of the graph.
_HNSW: Any = {"space": "ip", "max_neighbors": 32, "ef_construction": 100, "ef_search": 500}
_NAME = "vectors"  # of the one collection in a folder
_FACETS = ("source", "kind", "date")  # what Chroma filters by
_MOST_OPEN = 16  # clients of the embedded store; each takes 4 MB, 6 threads and 11 descriptors beside its graph
_TABLES, _WRITTEN_LAST = "chroma.sqlite3", "index_metadata.pickle"
_log = logging.getLogger(__name__)


class _Clients:
    """Clients of folders, the one that was asked for last at the end; who is put out goes on with an error, and asks
    again.
    """

    def __init__(self) -> None:
        self._open: dict[str, Client] = {}
        self._lock = Lock()  # Chroma's clients trip over each other when two are made at once

    def get(self, folder: Path) -> Client:
        """The client of `folder`; clients of folders that are gone are closed."""
        import chromadb

        with self._lock:
            for each in [each for each in self._open if not Path(each).is_dir()]:
                self._open.pop(each).close()
            client = self._open.pop(str(folder), None)
            client = client or cast("Client", chromadb.PersistentClient(folder, _settings().model_copy()))
            self._open[str(folder)] = client
            while len(self._open) > _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            return client

    def close(self, folder: Path) -> None:
        """Writes what the client of `folder` still holds, and frees its graph."""
        with self._lock:
            if client := self._open.pop(str(folder), None):
                client.close()


_CLIENTS = _Clients()


@cache
def _settings() -> Any:
    """What each client gets a copy of; reading what the environment says takes a fifth of a small add."""
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


@lru_cache(maxsize=4)
def connect(store: StoreSettings) -> ClientAPI:
    """A client of the server that `store` names."""
    import chromadb
    from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT

    settings = _settings().model_copy()
    if store.is_cloud:
        return chromadb.CloudClient(
            tenant=store.tenant, database=store.database, api_key=store.token, settings=settings
        )
    token = {"Authorization": f"Bearer {store.token}", "X-Chroma-Token": store.token} if store.token else None
    return chromadb.HttpClient(
        host=store.url.rstrip("/"),  # with its scheme, its port and the path of a proxy
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
                f"The vector store in {paths.chroma} failed at {doing}: {reason}. Check DATA_DIR's space and rights. "
                "Nothing is lost: it is a copy of what the manifests have."
            ) from error
        # The cause may hold the request with its token.
        raise StoreError(
            f"The Chroma server at {paths.store.url} failed at {doing}: {reason}. Check that it runs, CHROMA_URL, and "
            "CHROMA_TENANT, CHROMA_DATABASE and CHROMA_TOKEN if it asks for them."
        ) from None


def open_collection(paths: DataPaths, corpus: Corpus, fingerprint: str, *, anew: bool = False) -> Collection:
    """The collection of the vectors with this fingerprint. One that is gone, corrupt or (`anew`) fails is made again
    from the manifest, and nothing is embedded; one that is behind answers as it is.
    """
    kept = _kept(paths, corpus, fingerprint)
    is_changing = bool(kept) and not paths.store.is_embedded and is_being_written(paths, corpus.name)
    if anew or not (is_changing or _is_whole(paths, corpus, kept)):
        _log.warning("The collection of corpus '%s' is not here or not whole: it is made of the manifest.", corpus.name)
        refresh(paths, corpus, fingerprint, anew=anew)
        kept = _kept(paths, corpus, fingerprint)
    if kept is None:
        raise NotFoundError(f"The vectors of corpus '{corpus.name}' were deleted just now. Search again.")
    with suppress(NotFoundError):
        return _get(paths, kept)
    return _get(paths, _kept(paths, corpus, fingerprint) or kept)  # who writes has put another in its place since


def is_current(paths: DataPaths, corpus: Corpus, info: IndexInfo) -> bool:
    """Whether the collection of an index is whole and has its passages as the manifest has them now."""
    return not is_behind(paths, corpus, info) and _is_whole(paths, corpus, _kept(paths, corpus, info.fingerprint))


def is_behind(paths: DataPaths, corpus: Corpus, info: IndexInfo) -> bool:
    """Whether passages or vectors have changed since the collection of an index was brought in step."""
    kept = _kept(paths, corpus, info.fingerprint)
    return kept is None or (kept.generation, kept.n_passages) != (corpus.generation(), info.n_passages)


def refresh(paths: DataPaths, corpus: Corpus, fingerprint: str, encoder: str = "", *, anew: bool = False) -> None:
    """Brings the collection of these vectors in step with the manifest; what is not whole, or `anew`, is made again.

    `encoder` is who made them, by default one of those that are known to.
    """
    with _alone(paths, corpus):  # readers who find it corrupt do this, too
        kept = _kept(paths, corpus, fingerprint)
        kept = kept if not anew and _is_whole(paths, corpus, kept) else None
        generation = corpus.generation()
        wanted = corpus.passages_with_vector(fingerprint)
        if kept and (kept.generation, kept.n_passages) == (generation, len(wanted)):
            return  # who waited finds it done
        place = _new_place(paths, corpus, fingerprint)
        if anew and not paths.store.is_embedded:
            _delete_on_server(paths, place)
        try:
            with sentences(paths, f"bringing it in step with corpus '{corpus.name}'"):
                if paths.store.is_embedded and kept:
                    _copy(paths.chroma / kept.place, paths.chroma / place)
                known = (info.encoder for info in corpus.indexes() if info.fingerprint == fingerprint)
                collection = _make(paths, corpus, place, f"{encoder or next(known, 'an encoder')} ({fingerprint})")
                for _ in _bring_in_step(collection, corpus, fingerprint, wanted, kept.generation if kept else -1):
                    check_space(paths)
                stamp = _finish(paths, place, collection)
            made = CollectionInfo(
                fingerprint=fingerprint,
                store=paths.store.url,
                place=place,
                generation=generation,
                n_passages=len(wanted),
                stamp=stamp,
            )
            corpus.record_collection(made)
        except BaseException:
            if paths.store.is_embedded:
                _delete(paths.chroma / place)
            raise
        _sweep(paths, corpus)


def drop_collection(paths: DataPaths, corpus: Corpus, fingerprint: str) -> None:
    """Deletes the collection of these vectors; one that is gone already is what was wanted."""
    with _alone(paths, corpus):
        kept = _kept(paths, corpus, fingerprint)
        corpus.forget_collection(fingerprint, paths.store.url)
        if kept and not paths.store.is_embedded:
            _delete_on_server(paths, kept.place)
        _sweep(paths, corpus)


def drop_collections(paths: DataPaths, folder: Path, corpus: Corpus | None) -> None:
    """Deletes every collection of the corpus in `folder`; of one whose manifest is damaged, those on a server stay."""
    for place in corpus.places(paths.store.url) if corpus and not paths.store.is_embedded else ():
        _delete_on_server(paths, place)
    _delete(paths.chroma / folder.name)


def _sweep(paths: DataPaths, corpus: Corpus) -> None:
    """Deletes the folders of the embedded store that are no collection of `corpus` any more, or never were."""
    places = corpus.places("")
    for folder in (paths.chroma / corpus.folder.name).glob("*"):
        if f"{corpus.folder.name}/{folder.name}" not in places:
            _delete(folder)


def _delete(folder: Path) -> None:
    _CLIENTS.close(folder)
    shutil.rmtree(folder, ignore_errors=True)  # what somebody has open may stay until next time


def _alone(paths: DataPaths, corpus: Corpus) -> AbstractContextManager[None]:
    return holding(paths, f"{corpus.folder.name}.vectors", f"bringing the index of corpus '{corpus.name}' in step")


def _kept(paths: DataPaths, corpus: Corpus, fingerprint: str) -> CollectionInfo | None:
    return corpus.collection(fingerprint, paths.store.url)


def _new_place(paths: DataPaths, corpus: Corpus, fingerprint: str) -> str:
    """A folder under the embedded store that nobody has; on a server, the name that no other corpus has there."""
    if paths.store.is_embedded:
        return f"{corpus.folder.name}/{uuid.uuid4().hex}"
    parts = "\x1f".join((corpus.uid, corpus.name, fingerprint)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(parts, digest_size=8).hexdigest()
    return f"{corpus.folder.name}-{digest}"  # 40 + 1 + 16 characters at most; Chroma allows 63


def _copy(folder: Path, new: Path) -> None:
    """Copies a collection that somebody may be opening, which writes to Chroma's tables."""
    shutil.copytree(folder, new, ignore=shutil.ignore_patterns(f"{_TABLES}*"))
    with closing(sqlite3.connect(folder / _TABLES)) as old, closing(sqlite3.connect(new / _TABLES)) as copied:
        old.backup(copied)


def _make(paths: DataPaths, corpus: Corpus, place: str, encoder: str) -> Collection:
    client, name = _client(paths, place)
    told = {"uid": corpus.uid, "corpus": corpus.name, "encoder": encoder}
    how: Any = {"hnsw": _HNSW, "embedding_function": _refusal(encoder)}
    return client.get_or_create_collection(name, configuration=how, metadata=told, embedding_function=None)


def _refusal(encoder: str) -> Any:
    """What embeds texts for other clients of Chroma: nothing. By its name a collection says whose vectors it has.

    Without it they would embed a question by Chroma's own model, and get neighbours that mean nothing.
    """
    from chromadb.api.types import EmbeddingFunction

    class Refusal(EmbeddingFunction[Any]):
        def __init__(self) -> None:
            pass

        def __call__(self, input: Any) -> Any:
            raise ValueError(f"These vectors are of {encoder}: embed by it, and ask with query_embeddings.")

        @staticmethod
        def name() -> str:
            return encoder

        def get_config(self) -> dict[str, Any]:
            return {}

        @staticmethod
        def build_from_config(config: dict[str, Any]) -> EmbeddingFunction[Any]:
            return Refusal()

    return Refusal()


def _get(paths: DataPaths, kept: CollectionInfo) -> Collection:
    """The collection that is there; `NotFoundError` if it is gone."""
    from chromadb.errors import NotFoundError as ChromaNotFoundError

    with sentences(paths, "opening it"):
        try:
            client, name = _client(paths, kept.place)
            return client.get_collection(name, embedding_function=None)
        except ChromaNotFoundError as error:
            raise NotFoundError(f"The collection '{kept.place}' is gone just now. Search again.") from error


def _client(paths: DataPaths, place: str) -> tuple[ClientAPI, str]:
    """The client for a place, and the name of the collection there."""
    if paths.store.is_embedded:
        folder = paths.chroma / place
        return _CLIENTS.get(folder if can_write(paths.root) else _copied(folder)), _NAME
    return connect(paths.store), place


def _copied(folder: Path) -> Path:
    """A copy of a collection that can be read where Chroma can write, which it does to open one."""
    copy = scratch() / folder.name
    if folder.is_dir() and not copy.is_dir():
        shutil.copytree(folder, copy)
    return copy


def _bring_in_step(
    collection: Collection, corpus: Corpus, fingerprint: str, wanted: Sequence[str], generation: int
) -> Iterator[None]:
    """Writes page by page what `collection`, in step with `generation`, lacks or has otherwise, and takes out what is
    not wanted.
    """
    present = set(collection.get(include=[])["ids"])
    changed = set(corpus.changed_since(generation))
    for page in pages([name for name in wanted if name not in present]):
        yield
        vectors = corpus.read_vectors(fingerprint, page)
        if passages := corpus.get_passages(list(vectors)):
            stacked = np.stack([vectors[passage.id] for passage in passages])
            collection.add(ids=[p.id for p in passages], embeddings=stacked, metadatas=_facets(passages))
    for page in pages([name for name in wanted if name in present and name in changed]):
        if passages := corpus.get_passages(page):
            collection.update(ids=[p.id for p in passages], metadatas=_facets(passages))
    for page in pages(sorted(present.difference(wanted))):
        collection.delete(ids=page)


def _facets(passages: Sequence[Passage]) -> list[Any]:
    return [{facet: getattr(passage, facet) for facet in _FACETS} for passage in passages]


def _finish(paths: DataPaths, place: str, collection: Collection) -> str:
    """What is there when all is written: of a folder its files, on a server the number of passages."""
    n_passages = collection.count()  # Chroma writes its graph when it is next asked
    if not paths.store.is_embedded:
        return str(n_passages)
    _CLIENTS.close(paths.chroma / place)
    return json.dumps([_files(paths.chroma / place), _digest(paths.chroma / place)])


def _is_whole(paths: DataPaths, corpus: Corpus, kept: CollectionInfo | None) -> bool:
    """Whether a collection is as it was when it was written. Chroma is not asked to open files that are not: it would
    crash, or answer with other passages.
    """
    if kept is None:
        return False
    if not paths.store.is_embedded:
        with suppress(NotFoundError), sentences(paths, "counting passages"):
            return str(_get(paths, kept).count()) == kept.stamp
        return False
    folder = paths.chroma / kept.place
    files, digest = json.loads(kept.stamp)
    now = [list(file) for file in _files(folder)]
    if now == files:
        return True
    if [file[:2] for file in now] != [file[:2] for file in files] or _digest(folder) != digest:
        return False
    with suppress(StoreError):  # the folder was copied: its files have other times
        corpus.record_collection(replace(kept, stamp=json.dumps([now, digest])))
    return True


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file that counts: the tables, whose time changes when they are opened, and a graph
    that is complete. The graph of less than some 1,000 passages is not; Chroma makes it whenever it opens the tables.
    """
    tables = [(_TABLES, file.stat().st_size, 0) for file in folder.glob(_TABLES)]
    stats = [(str(file.relative_to(folder)), file.stat()) for file in _graph(folder)]
    return tables + [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _digest(folder: Path) -> str:
    """A digest of the complete graph."""
    digest = hashlib.blake2b(digest_size=16)
    for file in _graph(folder):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _graph(folder: Path) -> list[Path]:
    return sorted(file for last in folder.glob(f"*/{_WRITTEN_LAST}") for file in last.parent.iterdir())


def _delete_on_server(paths: DataPaths, name: str) -> None:
    from chromadb.errors import NotFoundError as ChromaNotFoundError

    with sentences(paths, f"deleting the collection '{name}'"), suppress(ChromaNotFoundError):
        connect(paths.store).delete_collection(name)


_RESERVE = 2**26  # bytes; half a minute's writing, and far more than opening the store takes
_MAX_SHARE = 4  # of a small disk, no more than this part is kept free


def check_space(paths: DataPaths) -> None:
    """Raises a sentence when DATA_DIR's disk is all but full: SQLite needs room even to be read."""
    if not has_room(paths):
        usage = shutil.disk_usage(paths.root)
        reserve = _reserve(usage.total)
        raise StoreError(
            f"The disk of {paths.root} has {usage.free / 2**20:.0f} MiB left, and {reserve / 2**20:.0f} MiB are kept "
            "free so that what is there can be searched. Free some space and run the same command again; it goes on "
            "where it stopped."
        )


def has_room(paths: DataPaths) -> bool:
    """Whether DATA_DIR's disk is not all but full."""
    usage = shutil.disk_usage(paths.root)
    return usage.free >= _reserve(usage.total)


def _reserve(total: int) -> int:
    return min(_RESERVE, total // _MAX_SHARE)
