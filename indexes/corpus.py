"""A corpus and its manifest: which sources, documents and passages it has, and which indexes were built of it.

The manifest is the truth; a Chroma collection is derived from it and can be rebuilt at any time.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from indexes.documents import read_documents
from indexes.errors import InputError, NotFoundError, StoreError, UnreadableFileError
from indexes.formats import kind_of, suffix_of
from indexes.passages import PassageSettings, split_document
from indexes.paths import DataPaths
from indexes.types import Encoder, Passage, Tokenizer

FORMAT_VERSION = 1
_MANIFEST = "manifest.sqlite"
_COLUMNS = "id, document_id, source, title, text, start, end, page, kind, date"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sources (
    source TEXT PRIMARY KEY, content_hash TEXT NOT NULL, n_bytes INTEGER NOT NULL, n_documents INTEGER NOT NULL);
CREATE TABLE documents (id TEXT PRIMARY KEY, source TEXT NOT NULL);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE passages (
    id TEXT PRIMARY KEY, document_id TEXT NOT NULL, source TEXT NOT NULL, ordinal INTEGER NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, page INTEGER,
    kind TEXT NOT NULL DEFAULT '', date TEXT NOT NULL DEFAULT '');
CREATE INDEX passages_by_source ON passages (source);
CREATE INDEX passages_by_document ON passages (document_id, ordinal);
CREATE TABLE indexes (
    encoder TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, dimension INTEGER NOT NULL, n_passages INTEGER NOT NULL,
    collection TEXT NOT NULL);
"""
_PROMOTIONS = """
CREATE TABLE IF NOT EXISTS promotions (
    number INTEGER PRIMARY KEY, encoder TEXT NOT NULL, run TEXT NOT NULL, promoted_at TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL DEFAULT '')
"""

Status = Literal["read", "unchanged", "replaced", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file: `reason` is a sentence when it failed."""

    source: str
    status: Status
    n_documents: int = 0
    n_passages: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """One file of a corpus."""

    source: str
    n_documents: int
    n_passages: int
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """One index of a corpus and the encoder that made it."""

    encoder: str
    fingerprint: str
    dimension: int
    n_passages: int
    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionInfo:
    """That a run's encoder was made the one to search this corpus with; times are UTC in ISO 8601, "" for never."""

    number: int
    encoder: str
    run: str
    promoted_at: str
    withdrawn_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusInfo:
    """A corpus in figures."""

    name: str
    n_sources: int
    n_documents: int
    n_passages: int
    indexes: tuple[IndexInfo, ...]


def list_corpora(paths: DataPaths) -> list[CorpusInfo]:
    """Every corpus under the data folder, by name."""
    manifests = sorted(paths.corpora.glob(f"*/{_MANIFEST}")) if paths.corpora.is_dir() else []
    return sorted((Corpus(manifest.parent).info() for manifest in manifests), key=lambda info: info.name)


class Corpus:
    """The files, passages and indexes of one corpus, in a SQLite manifest; each change is one transaction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._connect() as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            has_promotions = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'promotions'").fetchone()
            has_kinds = _has_kinds(connection)
        if int(meta["format"]) > FORMAT_VERSION:
            raise StoreError(
                f"The corpus in {folder} was written by a newer version (format {meta['format']}, this one reads "
                f"{FORMAT_VERSION}). Update this program, or use another DATA_DIR."
            )
        if not has_promotions:  # a manifest from before there were any; programs of that time can still read it
            with self._connect() as connection:
                connection.execute(_PROMOTIONS)
        if not has_kinds:
            with self._connect() as connection:
                _add_kinds(connection)
        self.name = meta["name"]
        self.settings = PassageSettings(max_tokens=int(meta["max_tokens"]), overlap_tokens=int(meta["overlap_tokens"]))

    @classmethod
    def open(cls, paths: DataPaths, name: str) -> Corpus:
        """The corpus called `name`; raises `NotFoundError` with the names there are."""
        folder = paths.corpus(name)
        if not (folder / _MANIFEST).is_file():
            known = ", ".join(f"'{info.name}'" for info in list_corpora(paths)) or "none yet"
            raise NotFoundError(
                f"There is no corpus '{name}' (there are: {known}). "
                f"Make it with: python -m indexes add '{name}' PATH..."
            )
        return cls(folder)

    @classmethod
    def open_or_create(cls, paths: DataPaths, name: str, encoder: Encoder) -> Corpus:
        """The corpus called `name`, made if need be with passages as long as `encoder` can read (256 at most)."""
        folder = paths.corpus(name)
        if not (folder / _MANIFEST).is_file():
            _create_manifest(folder, name.strip(), PassageSettings(max_tokens=min(256, encoder.max_tokens)))
        return cls(folder)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with _transaction(self.folder / _MANIFEST) as connection:
            yield connection

    def add_file(self, source: str, file: Path, tokenizer: Tokenizer) -> FileOutcome:
        """What became of `file`, which is now in the manifest under `source`, its old passages replaced."""
        try:
            content_hash = _hash_file(file)
            with self._connect() as connection:
                known = connection.execute("SELECT content_hash FROM sources WHERE source = ?", (source,)).fetchone()
                if known and known[0] == content_hash:
                    return self._unchanged(connection, source)
                n_documents, n_passages = self._replace(connection, source, file, tokenizer)
                connection.execute(
                    "INSERT INTO sources VALUES (?, ?, ?, ?)", (source, content_hash, file.stat().st_size, n_documents)
                )
                self._keep_original(source, file, content_hash)
        except (UnreadableFileError, PermissionError, IsADirectoryError) as error:
            reason = (
                str(error) if isinstance(error, UnreadableFileError) else "The file may not be read; check its rights."
            )
            return FileOutcome(source=source, status="failed", reason=reason)
        status: Status = "replaced" if known else "read"
        return FileOutcome(source=source, status=status, n_documents=n_documents, n_passages=n_passages)

    def _unchanged(self, connection: sqlite3.Connection, source: str) -> FileOutcome:
        n_documents = _count(connection, "documents", source)
        n_passages = _count(connection, "passages", source)
        return FileOutcome(source=source, status="unchanged", n_documents=n_documents, n_passages=n_passages)

    def _replace(
        self, connection: sqlite3.Connection, source: str, file: Path, tokenizer: Tokenizer
    ) -> tuple[int, int]:
        _forget(connection, source)
        n_documents = n_passages = 0
        for document in read_documents(file, source):
            try:
                connection.execute("INSERT INTO documents VALUES (?, ?)", (document.id, source))
            except sqlite3.IntegrityError as error:
                raise UnreadableFileError(_duplicate_id(connection, document.id, source)) from error
            passages = split_document(document, tokenizer, self.settings)
            connection.executemany(
                "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (p.id, p.document_id, p.source, ordinal, p.title, p.text, p.start, p.end, p.page, p.kind, p.date)
                    for ordinal, p in enumerate(passages)
                ],
            )
            n_documents += 1
            n_passages += len(passages)
        return n_documents, n_passages

    def _keep_original(self, source: str, file: Path, content_hash: str) -> None:
        kept = self._original(source, content_hash)
        kept.parent.mkdir(exist_ok=True)
        partial = kept.with_name(kept.name + ".partial")
        shutil.copyfile(file, partial)
        partial.replace(kept)

    def _original(self, source: str, content_hash: str) -> Path:
        return self.folder / "files" / f"{content_hash}{suffix_of(source)}"

    def remove_source(self, source: str) -> None:
        """Forgets a source with its documents, passages and kept original; `NotFoundError` if there is none."""
        with self._connect() as connection:
            row = connection.execute("SELECT content_hash FROM sources WHERE source = ?", (source,)).fetchone()
            if row is None:
                raise NotFoundError(
                    f"Corpus '{self.name}' has no source '{source}'. List them with: python -m indexes list --json"
                )
            _forget(connection, source)
            shared = connection.execute("SELECT 1 FROM sources WHERE content_hash = ?", (row[0],)).fetchone()
        if not shared:
            self._original(source, row[0]).unlink(missing_ok=True)

    def info(self) -> CorpusInfo:
        """The corpus in figures."""
        with self._connect() as connection:
            counts = [connection.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in _COUNTED]  # noqa: S608
        return CorpusInfo(
            name=self.name,
            n_sources=counts[0],
            n_documents=counts[1],
            n_passages=counts[2],
            indexes=tuple(self.indexes()),
        )

    def sources(self) -> list[SourceInfo]:
        """The sources by name."""
        query = (
            "SELECT source, n_documents, (SELECT COUNT(*) FROM passages p WHERE p.source = s.source), n_bytes "
            "FROM sources s ORDER BY source"
        )
        with self._connect() as connection:
            rows = connection.execute(query).fetchall()
        return [SourceInfo(source=r[0], n_documents=r[1], n_passages=r[2], n_bytes=r[3]) for r in rows]

    def passages(self) -> Iterator[Passage]:
        """Every passage, by document and place in it."""
        with self._connect() as connection:
            for row in connection.execute(f"SELECT {_COLUMNS} FROM passages ORDER BY source, rowid"):  # noqa: S608
                yield _to_passage(row)

    def document_passages(self, document_id: str) -> list[Passage]:
        """The passages of one document in order."""
        query = f"SELECT {_COLUMNS} FROM passages WHERE document_id = ? ORDER BY ordinal"  # noqa: S608
        with self._connect() as connection:
            return [_to_passage(row) for row in connection.execute(query, (document_id,))]

    def passage_ids_by_length(self) -> list[str]:
        """Ids of all passages, shortest text first, so that a batch of neighbours needs little padding."""
        with self._connect() as connection:
            rows = connection.execute("SELECT id FROM passages ORDER BY length(title) + length(text), id")
            return [row[0] for row in rows]

    def get_passages(self, ids: list[str]) -> list[Passage]:
        """The passages with these ids, in this order; ids that are gone are left out."""
        found: dict[str, Passage] = {}
        with self._connect() as connection:
            for first in range(0, len(ids), 500):  # SQLite bounds the number of parameters
                some = ids[first : first + 500]
                marks = ", ".join("?" * len(some))
                rows = connection.execute(f"SELECT {_COLUMNS} FROM passages WHERE id IN ({marks})", some)  # noqa: S608
                found |= {row[0]: _to_passage(row) for row in rows}
        return [found[identifier] for identifier in ids if identifier in found]

    def content_hash(self) -> str:
        """A digest of all sources, which changes whenever the passages do."""
        with self._connect() as connection:
            rows = connection.execute("SELECT source, content_hash FROM sources ORDER BY source").fetchall()
        return hashlib.blake2b(repr(rows).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def indexes(self) -> list[IndexInfo]:
        """The complete indexes of this corpus, by encoder name."""
        query = "SELECT encoder, fingerprint, dimension, n_passages, collection FROM indexes ORDER BY encoder"
        with self._connect() as connection:
            rows = connection.execute(query).fetchall()
        return [
            IndexInfo(encoder=r[0], fingerprint=r[1], dimension=r[2], n_passages=r[3], collection=r[4]) for r in rows
        ]

    def record_index(self, info: IndexInfo) -> None:
        """Makes `info` the index of its encoder: the one atomic step by which a new collection takes over."""
        with self._connect() as connection:
            row = (info.encoder, info.fingerprint, info.dimension, info.n_passages, info.collection)
            connection.execute("INSERT OR REPLACE INTO indexes VALUES (?, ?, ?, ?, ?)", row)

    def forget_index(self, encoder: str) -> None:
        """Takes the index of `encoder` off the list."""
        with self._connect() as connection:
            connection.execute("DELETE FROM indexes WHERE encoder = ?", (encoder,))

    def promotions(self) -> list[PromotionInfo]:
        """Every promotion there ever was, withdrawn ones too, newest first."""
        query = "SELECT number, encoder, run, promoted_at, withdrawn_at FROM promotions ORDER BY number DESC"
        with self._connect() as connection:
            rows = connection.execute(query).fetchall()
        return [PromotionInfo(number=r[0], encoder=r[1], run=r[2], promoted_at=r[3], withdrawn_at=r[4]) for r in rows]

    def record_promotion(self, encoder: str, run: str) -> None:
        """Notes that `encoder` is promoted now, by `run`."""
        with self._connect() as connection:
            row = (encoder, run, _now())
            connection.execute("INSERT INTO promotions (encoder, run, promoted_at) VALUES (?, ?, ?)", row)

    def withdraw_promotions(self, first: int) -> None:
        """Notes that the promotions from number `first` on no longer count; what was withdrawn before stays so."""
        with self._connect() as connection:
            change = "UPDATE promotions SET withdrawn_at = ? WHERE number >= ? AND withdrawn_at = ''"
            connection.execute(change, (_now(), first))


_COUNTED = ("sources", "documents", "passages")


@contextmanager
def _transaction(manifest: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are committed together at the end, or not at all."""
    try:
        connection = sqlite3.connect(manifest, timeout=60)
        try:
            with connection:
                yield connection
        finally:
            connection.close()
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        raise StoreError(
            f"The manifest {manifest} cannot be used: {error}. Check the disk's space and rights."
        ) from error
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
            raise
        raise StoreError(f"Writing under {manifest.parent} failed: {error.strerror}. Free some space.") from error


def _create_manifest(folder: Path, name: str, settings: PassageSettings) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{_MANIFEST}.partial"
        partial.unlink(missing_ok=True)
        with _transaction(partial) as connection:
            connection.executescript(_SCHEMA + _PROMOTIONS)
            meta = {
                "format": FORMAT_VERSION,
                "name": name,
                "max_tokens": settings.max_tokens,
                "overlap_tokens": settings.overlap_tokens,
            }
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in meta.items()])
        partial.replace(folder / _MANIFEST)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be written: {error.strerror}. Check DATA_DIR.") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _has_kinds(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM pragma_table_info('passages') WHERE name = 'kind'").fetchone())


def _add_kinds(connection: sqlite3.Connection) -> None:
    """Gives a manifest from before passages had a kind and a date these columns, the kind by the source's name."""
    connection.execute("BEGIN IMMEDIATE")  # two programs may open it at once; one of them finds it done
    if _has_kinds(connection):
        return
    for column in ("kind", "date"):
        connection.execute(f"ALTER TABLE passages ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    sources = [row[0] for row in connection.execute("SELECT source FROM sources")]
    rows = [(kind_of(source), source) for source in sources]
    connection.executemany("UPDATE passages SET kind = ? WHERE source = ?", rows)


def _forget(connection: sqlite3.Connection, source: str) -> None:
    for table in ("passages", "documents", "sources"):
        connection.execute(f"DELETE FROM {table} WHERE source = ?", (source,))  # noqa: S608


def _count(connection: sqlite3.Connection, table: str, source: str) -> int:
    return int(connection.execute(f"SELECT COUNT(*) FROM {table} WHERE source = ?", (source,)).fetchone()[0])  # noqa: S608


def _duplicate_id(connection: sqlite3.Connection, document_id: str, source: str) -> str:
    row = connection.execute("SELECT source FROM documents WHERE id = ?", (document_id,)).fetchone()
    where = "in this file twice" if row and row[0] == source else f"in '{row[0]}' already"
    return f"Each document id must be unique in a corpus, but '{document_id}' is {where}. Rename or delete one."


def _to_passage(row: tuple[str, str, str, str, str, int, int, int | None, str, str]) -> Passage:
    return Passage(
        id=row[0],
        document_id=row[1],
        source=row[2],
        title=row[3],
        text=row[4],
        start=row[5],
        end=row[6],
        page=row[7],
        kind=row[8],
        date=row[9],
    )


def _hash_file(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def delete_folder(folder: Path) -> None:
    """Removes a corpus's folder; renamed first, so that a half-deleted one is never taken for a corpus."""
    doomed = folder.with_name(f".{folder.name}.deleted")
    if doomed.exists():
        shutil.rmtree(doomed)
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be deleted: {error.strerror}. Check its rights.") from error
