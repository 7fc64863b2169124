"""A corpus over its manifest: its sources, documents, passages and originals, and the indexes built of it."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from indexes.errors import NotFoundError, StoreError, UnreadableFileError
from indexes.files import suffix_of
from indexes.filters import Facets
from indexes.manifest import (
    MANIFEST,
    add_source,
    connect,
    create_manifest,
    forget_source,
    next_generation,
    pages,
    read_meta,
    rows_as,
    transaction,
)
from indexes.paths import DataPaths, replacing
from indexes.readers.process import READING
from indexes.splitting import PassageSettings
from indexes.types import (
    CollectionInfo,
    CorpusInfo,
    Encoder,
    FileOutcome,
    IndexInfo,
    Passage,
    PromotionInfo,
    SourceInfo,
    Tokenizer,
    Vectors,
)

T = TypeVar("T")
_STORED = np.float16
_COLUMNS = "id, document_id, source, title, text, start, end, page, kind, date"
_WITH_VECTOR = "passages p JOIN vectors v ON v.fingerprint = ? AND v.content = p.content"
FILES = "files"


def hash_file(file: Path) -> str:
    """The identity of a file: a digest of its content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def original(folder: Path, source: str, content_hash: str) -> Path:
    """Where the original of a source is kept under a corpus's folder, by its content."""
    return folder / FILES / f"{content_hash}{suffix_of(source)}"


def original_of(connection: sqlite3.Connection, folder: Path, source: str) -> Path | None:
    """Where the original of a source is kept, None if the corpus has no such source."""
    row = connection.execute("SELECT content_hash FROM sources WHERE source = ?", (source,)).fetchone()
    return original(folder, source, row[0]) if row else None


_COUNT_CHANGE = "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'index_changes'"


def corpora(paths: DataPaths) -> list[Corpus]:
    """Every corpus under the data folder that can be read, by name; nothing of them is counted."""
    found = []
    for folder in _folders(paths):
        with suppress(StoreError):  # `list_corpora` says what is wrong with it
            corpus = Corpus(folder)
            corpus.indexes()
            found.append(corpus)
    return sorted(found, key=lambda corpus: corpus.name)


def list_corpora(paths: DataPaths) -> list[CorpusInfo]:
    """Every corpus under the data folder in figures, by name; one that cannot be read, with what is wrong with it."""
    found = []
    for folder in _folders(paths):
        try:
            found.append(Corpus(folder).info())
        except StoreError as error:
            found.append(CorpusInfo(name=folder.name, damage=str(error)))
    return sorted(found, key=lambda info: info.name)


def _folders(paths: DataPaths) -> list[Path]:
    return [manifest.parent for manifest in paths.corpora.glob(f"*/{MANIFEST}")] if paths.corpora.is_dir() else []


def _existing_folder(paths: DataPaths, name: str) -> Path:
    folder = paths.corpus(name)
    if not (folder / MANIFEST).is_file():
        known = ", ".join(f"'{corpus.name}'" for corpus in corpora(paths)) or "none yet"
        raise NotFoundError(
            f"There is no corpus '{name}' (there are: {known}). Make it with: python -m indexes add '{name}' PATH..."
        )
    return folder


class Corpus:
    """The files, passages and indexes of one corpus, in a SQLite manifest; each change is one transaction."""

    def __init__(self, folder: Path, opened: sqlite3.Connection | None = None) -> None:
        self.folder = folder
        self._opened = opened
        meta = read_meta(folder / MANIFEST, opened)
        self.name = meta["name"]
        self.uid = meta["uid"]
        self.settings = PassageSettings(max_tokens=int(meta["max_tokens"]), overlap_tokens=int(meta["overlap_tokens"]))

    @classmethod
    def open(cls, paths: DataPaths, name: str | Corpus) -> Corpus:
        """The corpus called `name`, or one that is open already; `NotFoundError` with the names there are."""
        return name if isinstance(name, Corpus) else cls(_existing_folder(paths, name))

    @classmethod
    @contextmanager
    def reading(cls, paths: DataPaths, name: str) -> Iterator[Corpus]:
        """The corpus called `name` over one connection for all that is read of it, in one thread."""
        folder = _existing_folder(paths, name)
        with closing(connect(folder / MANIFEST)) as opened:
            yield cls(folder, opened)

    @classmethod
    def open_or_create(cls, paths: DataPaths, name: str, encoder: Encoder) -> Corpus:
        """The corpus called `name`, made if need be with passages as long as `encoder` can read (256 at most)."""
        folder = paths.corpus(name)
        if not (folder / MANIFEST).is_file():
            create_manifest(folder, name.strip(), PassageSettings(max_tokens=min(256, encoder.max_tokens)))
        return cls(folder)

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """The manifest, for one transaction."""
        with transaction(self.folder / MANIFEST, self._opened) as connection:
            yield connection

    def add_file(self, source: str, file: Path, tokenizer: Tokenizer, gone: Container[str] = ()) -> FileOutcome:
        """What became of `file`, which is now in the manifest under `source`, its old passages replaced.

        If a source among `gone` is the same content, it gets this name.
        """
        try:
            content_hash = hash_file(file)
            with self.connect() as connection:
                connection.execute("BEGIN IMMEDIATE")
                before = original_of(connection, self.folder, source)
                outcome = add_source(connection, source, file, content_hash, tokenizer, self.settings, gone)
                kept = original(self.folder, source, content_hash)
                if not kept.is_file():
                    with replacing(kept) as partial:
                        shutil.copyfile(file, partial)
        except (UnreadableFileError, PermissionError, IsADirectoryError) as error:
            is_told = isinstance(error, UnreadableFileError)
            reason = str(error) if is_told else "The file may not be read; check its rights."
            return FileOutcome(source=source, status="failed", reason=reason)
        if before and outcome.status != "unchanged":
            self._drop_original(before)
        return outcome

    def _drop_original(self, kept: Path) -> None:
        """Deletes an original that no source is any more."""
        content_hash = kept.name.split(".")[0]
        with self.connect() as connection:
            named = connection.execute("SELECT source FROM sources WHERE content_hash = ?", (content_hash,)).fetchall()
        if all(original(self.folder, source, content_hash) != kept for (source,) in named):
            kept.unlink(missing_ok=True)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(query, values).fetchall()

    def _nouns(self, noun: Callable[..., T], query: str, *values: object) -> list[T]:
        with self.connect() as connection:
            return [*rows_as(noun, connection.execute(query, values))]

    def originals(self) -> dict[str, Path]:
        """Where the original of each source is kept."""
        rows = self._rows("SELECT source, content_hash FROM sources ORDER BY source")
        return {source: original(self.folder, source, content_hash) for source, content_hash in rows}

    def original_of(self, source: str) -> Path | None:
        """Where the original of `source` is kept, None if there is no such source."""
        with self.connect() as connection:
            return original_of(connection, self.folder, source)

    def stray_files(self) -> list[Path]:
        """What is kept and no source names, as an add or a delete leaves it that was killed."""
        wanted = set(self.originals().values())
        return [file for file in sorted((self.folder / FILES).glob("*")) if file not in wanted]

    def remove_source(self, source: str) -> None:
        """Forgets a source with its documents, passages and kept original; `NotFoundError` if there is none."""
        with self.connect() as connection:
            kept = original_of(connection, self.folder, source)
            if kept is None:
                raise NotFoundError(
                    f"Corpus '{self.name}' has no source '{source}'. List them with: python -m indexes list --json"
                )
            next_generation(connection)
            forget_source(connection, source)
        self._drop_original(kept)

    def info(self) -> CorpusInfo:
        """The corpus in figures."""
        counts = ", ".join(f"(SELECT COUNT(*) FROM {table})" for table in ("sources", "documents", "passages"))  # noqa: S608
        ((n_sources, n_documents, n_passages),) = self._rows(f"SELECT {counts}")
        return CorpusInfo(
            name=self.name,
            n_sources=n_sources,
            n_documents=n_documents,
            n_passages=n_passages,
            indexes=tuple(self.indexes()),
            language=self.meta("language") or "",
        )

    def sources(self) -> list[SourceInfo]:
        """The sources by name."""
        query = (
            "SELECT source, n_documents, (SELECT COUNT(*) FROM passages p WHERE p.source = s.source) AS n_passages, "
            "n_bytes, reading < ? AS is_older FROM sources s ORDER BY source"
        )
        return [replace(each, is_older=bool(each.is_older)) for each in self._nouns(SourceInfo, query, READING)]

    def document_ids(self) -> set[str]:
        """The ids of all documents."""
        return {row[0] for row in self._rows("SELECT id FROM documents")}

    def older_sources(self) -> list[str]:
        """The sources that an older version of this program has read, by name."""
        return [row[0] for row in self._rows("SELECT source FROM sources WHERE reading < ? ORDER BY source", READING)]

    def passages(self) -> Iterator[Passage]:
        """Every passage, by document and place in it."""
        with self.connect() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM passages ORDER BY source, rowid")  # noqa: S608
            yield from rows_as(Passage, rows)

    def size(self) -> tuple[int, float]:
        """How many passages there are, and the mean length of their texts in characters, by some from all over."""
        ((n_passages, last),) = self._rows("SELECT COUNT(*), MAX(rowid) FROM passages")
        some = range(1, (last or 0) + 1, 1 + (last or 0) // 500)  # SQLite bounds the number of parameters
        mean = "SELECT AVG(LENGTH(text)) FROM passages"
        ((found,),) = self._rows(f"{mean} WHERE rowid IN ({', '.join('?' * len(some))})", *some)
        return n_passages, found or self._rows(mean)[0][0] or 0.0

    def passage_ids_by_length(self) -> list[str]:
        """Ids of all passages, shortest text first, so that a batch of neighbours needs little padding."""
        return [row[0] for row in self._rows("SELECT id FROM passages ORDER BY length(title) + length(text), id")]

    def get_passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages with these ids, in this order; ids that are gone are left out."""
        found: dict[str, Passage] = {}
        for some in pages(ids):
            marks = ", ".join("?" * len(some))
            rows = self._nouns(Passage, f"SELECT {_COLUMNS} FROM passages WHERE id IN ({marks})", *some)  # noqa: S608
            found |= {passage.id: passage for passage in rows}
        return [found[identifier] for identifier in ids if identifier in found]

    def passages_without_vector(self, fingerprint: str) -> list[str]:
        """Ids of passages to embed: one for each content that has no vector with this fingerprint, shortest text first,
        so that a batch of neighbours needs little padding.
        """
        query = (
            "SELECT MIN(id), MIN(length(title) + length(text)) AS size FROM passages p WHERE NOT EXISTS "
            "(SELECT 1 FROM vectors v WHERE v.fingerprint = ? AND v.content = p.content) GROUP BY content "
            "ORDER BY size, 1"
        )
        return [row[0] for row in self._rows(query, fingerprint)]

    def passages_with_vector(self, fingerprint: str) -> list[str]:
        """Ids of the passages that have a vector with this fingerprint."""
        return [row[0] for row in self._rows(f"SELECT p.id FROM {_WITH_VECTOR} ORDER BY p.id", fingerprint)]  # noqa: S608

    def read_vectors(self, fingerprint: str, ids: Sequence[str]) -> dict[str, Vectors]:
        """The vector (D,) of each of these passages that has one, by id."""
        found: dict[str, Vectors] = {}
        for some in pages(ids):
            marks = ", ".join("?" * len(some))
            query = f"SELECT p.id, v.vector FROM {_WITH_VECTOR} WHERE p.id IN ({marks})"  # noqa: S608
            rows = self._rows(query, fingerprint, *some)
            found |= {row[0]: np.frombuffer(row[1], dtype=_STORED).astype(np.float32) for row in rows}
        return found

    def write_vectors(self, fingerprint: str, ids: Sequence[str], vectors: Vectors) -> None:
        """Keeps the unit vectors (N, D) of these passages; a passage that is gone has none to keep."""
        rows = [(fingerprint, row.tobytes(), name) for name, row in zip(ids, vectors.astype(_STORED), strict=True)]
        with self.connect() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors SELECT ?, content, ? FROM passages WHERE id = ?", rows
            )

    def delete_vectors(self, fingerprint: str, ids: Sequence[str]) -> None:
        """Deletes the vectors of these passages."""
        query = "DELETE FROM vectors WHERE fingerprint = ? AND content IN (SELECT content FROM passages WHERE id = ?)"
        with self.connect() as connection:
            connection.executemany(query, [(fingerprint, name) for name in ids])

    def drop_unused_vectors(self) -> None:
        """Deletes the vectors of whose content there is no passage any more."""
        self._rows("DELETE FROM vectors WHERE NOT EXISTS (SELECT 1 FROM passages p WHERE p.content = vectors.content)")

    def collection(self, fingerprint: str, store: str) -> CollectionInfo | None:
        """The collection in `store` that the vectors with this fingerprint were copied to, None if there is none."""
        query = "SELECT * FROM collections WHERE fingerprint = ? AND store = ?"
        return next(iter(self._nouns(CollectionInfo, query, fingerprint, store)), None)

    def places(self, store: str) -> list[str]:
        """Where the collections in `store` are."""
        return [row[0] for row in self._rows("SELECT place FROM collections WHERE store = ?", store)]

    def record_collection(self, info: CollectionInfo) -> None:
        """Makes `info` the collection of its vectors: the atomic step by which a new copy takes over."""
        row = (info.fingerprint, info.store, info.place, info.generation, info.n_passages, info.stamp)
        self._rows("INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?, ?, ?)", *row)

    def forget_collection(self, fingerprint: str, store: str) -> None:
        """Takes a collection that is to be deleted off the list."""
        self._rows("DELETE FROM collections WHERE fingerprint = ? AND store = ?", fingerprint, store)

    def document(self, document_id: str) -> list[Passage]:
        """The passages of one document, in their order."""
        rows = self._rows("SELECT id FROM passages WHERE document_id = ? ORDER BY rowid", document_id)
        return self.get_passages([row[0] for row in rows])

    def facets(self) -> list[Facets]:
        """Each combination of source, type and date that passages have."""
        return self._nouns(Facets, "SELECT DISTINCT source, kind, date FROM passages")

    def content_hash(self) -> str:
        """A digest of all sources, which changes whenever the passages do."""
        rows = self._rows("SELECT source, content_hash FROM sources ORDER BY source")
        return hashlib.blake2b(repr(rows).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def generation(self) -> int:
        """How often the passages have changed."""
        return int(self.meta("generation") or 0)

    def version(self) -> str:
        """What an open index is valid for: another text once a passage or an index of this corpus has changed."""
        return f"{self.meta('uid')}-{self.meta('generation')}-{self.meta('index_changes')}"

    def meta(self, key: str) -> str | None:
        """What is noted under `key`, None if nothing is."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def language(self) -> str | None:
        """The language that most of the corpus is in, as it was noted; None if passages have changed since."""
        return self.meta("language") if self.meta("language_at") == self.meta("generation") else None

    def note_language(self, language: str) -> None:
        """Notes the language that most of the corpus is in, as its passages are now."""
        with self.connect() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('language', ?)", (language,))
            connection.execute(
                "INSERT OR REPLACE INTO meta SELECT 'language_at', value FROM meta WHERE key = 'generation'"
            )

    def changed_since(self, generation: int) -> list[str]:
        """Ids of the passages that are new or may have other facets since that generation."""
        return [row[0] for row in self._rows("SELECT id FROM passages WHERE revision > ? ORDER BY id", generation)]

    def indexes(self) -> list[IndexInfo]:
        """The complete indexes of this corpus, by encoder name."""
        return self._nouns(IndexInfo, "SELECT * FROM indexes ORDER BY encoder")

    def promotions(self) -> list[PromotionInfo]:
        """Every promotion that this corpus has seen, withdrawn ones too, newest first."""
        return self._nouns(PromotionInfo, "SELECT * FROM promotions ORDER BY number DESC")

    def promoted(self) -> PromotionInfo | None:
        """The promotion that counts: the last one that was not withdrawn and whose index is still there."""
        indexed = {info.encoder for info in self.indexes()}
        return next((each for each in self.promotions() if not each.withdrawn_at and each.encoder in indexed), None)

    def record_index(self, info: IndexInfo) -> None:
        """Makes `info` the index of its encoder: the one atomic step by which new vectors take over.

        Who has the same vectors has as many.
        """
        row = (info.encoder, info.fingerprint, info.dimension, info.n_passages)
        with self.connect() as connection:
            connection.execute("INSERT OR REPLACE INTO indexes VALUES (?, ?, ?, ?)", row)
            connection.execute("UPDATE indexes SET n_passages = ? WHERE fingerprint = ?", (row[3], row[1]))
            connection.execute(_COUNT_CHANGE)

    def forget_index(self, encoder: str) -> None:
        """Takes the index of `encoder` off the list."""
        with self.connect() as connection:
            connection.execute("DELETE FROM indexes WHERE encoder = ?", (encoder,))
            connection.execute(_COUNT_CHANGE)
