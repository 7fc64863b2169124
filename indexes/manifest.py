"""The SQLite file beside a corpus: its tables and transactions, the passages, indexes and promotions in it."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from indexes.errors import InputError, StoreError
from indexes.files import kind_of
from indexes.splitting import PassageSettings
from indexes.types import CollectionInfo, IndexInfo, Passage, PromotionInfo

MANIFEST = "manifest.sqlite"
FORMAT_VERSION = 2
_WAIT_S = 60
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sources (
    source TEXT PRIMARY KEY, content_hash TEXT NOT NULL, n_bytes INTEGER NOT NULL, n_documents INTEGER NOT NULL);
CREATE INDEX sources_by_content ON sources (content_hash);
CREATE TABLE documents (id TEXT PRIMARY KEY, source TEXT NOT NULL);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE passages (
    id TEXT PRIMARY KEY, document_id TEXT NOT NULL, source TEXT NOT NULL, ordinal INTEGER NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, page INTEGER,
    kind TEXT NOT NULL DEFAULT '', date TEXT NOT NULL DEFAULT '', revision INTEGER NOT NULL DEFAULT 0);
CREATE INDEX passages_by_source ON passages (source);
CREATE INDEX passages_by_document ON passages (document_id, ordinal);
CREATE INDEX passages_by_revision ON passages (revision);
CREATE TABLE indexes (
    encoder TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, dimension INTEGER NOT NULL, n_passages INTEGER NOT NULL,
    collection TEXT NOT NULL);
CREATE TABLE collections (
    name TEXT PRIMARY KEY, encoder TEXT NOT NULL, fingerprint TEXT NOT NULL, synced INTEGER NOT NULL);
CREATE TABLE promotions (
    number INTEGER PRIMARY KEY, encoder TEXT NOT NULL, run TEXT NOT NULL, promoted_at TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL DEFAULT '');
"""
# What format 1 lacks. Its collections are taken over as they are; `uid` is of the corpus, whatever its name.
_SINCE_FORMAT_1 = """
CREATE TABLE IF NOT EXISTS promotions (
    number INTEGER PRIMARY KEY, encoder TEXT NOT NULL, run TEXT NOT NULL, promoted_at TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS sources_by_content ON sources (content_hash);
CREATE TABLE IF NOT EXISTS collections (
    name TEXT PRIMARY KEY, encoder TEXT NOT NULL, fingerprint TEXT NOT NULL, synced INTEGER NOT NULL);
INSERT OR IGNORE INTO collections SELECT collection, encoder, fingerprint, 0 FROM indexes;
CREATE INDEX IF NOT EXISTS passages_by_revision ON passages (revision);
INSERT OR IGNORE INTO meta VALUES ('generation', '0'), ('index_changes', '0');
"""


def connect(manifest: Path) -> sqlite3.Connection:
    """A connection that waits for whoever is writing; the thread that made it uses it."""
    return sqlite3.connect(manifest, timeout=_WAIT_S)


@contextmanager
def transaction(manifest: Path, opened: sqlite3.Connection | None = None) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are committed together at the end, or not at all; one that is `opened` stays open."""
    try:
        connection = opened or connect(manifest)
        try:
            with connection:
                yield connection
        finally:
            if connection is not opened:
                connection.close()
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"The manifest {manifest} cannot be used: {error}. Check the disk's space and rights."
        ) from error
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
            raise
        raise StoreError(f"Writing under {manifest.parent} failed: {error.strerror}. Free some space.") from error


def create_manifest(folder: Path, name: str, settings: PassageSettings) -> None:
    """Writes the manifest of an empty corpus; it is there whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{MANIFEST}.partial"
        partial.unlink(missing_ok=True)
        with transaction(partial) as connection:
            connection.executescript(_SCHEMA)
            meta = {
                "format": FORMAT_VERSION,
                "name": name,
                "max_tokens": settings.max_tokens,
                "overlap_tokens": settings.overlap_tokens,
                "uid": uuid.uuid4().hex,
                "generation": 0,
                "index_changes": 0,
            }
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in meta.items()])
        partial.replace(folder / MANIFEST)
        _let_readers_read_while_it_is_written(folder / MANIFEST)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be written: {error.strerror}. Check DATA_DIR.") from error


def read_meta(manifest: Path, opened: sqlite3.Connection | None = None) -> dict[str, str]:
    """The settings kept in a manifest, which is of the present format now; a newer one is refused with a sentence."""
    with transaction(manifest, opened) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    if int(meta["format"]) > FORMAT_VERSION:
        raise StoreError(
            f"The corpus in {manifest.parent} was written by a newer version (format {meta['format']}, this one reads "
            f"{FORMAT_VERSION}). Update this program, or use another DATA_DIR."
        )
    if int(meta["format"]) == FORMAT_VERSION:
        return meta
    with transaction(manifest) as connection:
        _migrate(connection)
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    _let_readers_read_while_it_is_written(manifest)
    return meta


def _let_readers_read_while_it_is_written(manifest: Path) -> None:
    connection = connect(manifest)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError:
        pass  # some network file systems cannot: there a reader waits for the writer instead
    finally:
        connection.close()


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")  # two programs may open it at once; one of them finds it done
    (version,) = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if int(version) >= FORMAT_VERSION:
        return
    if not _has_column(connection, "kind"):
        for column in ("kind", "date"):
            connection.execute(f"ALTER TABLE passages ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
        sources = [row[0] for row in connection.execute("SELECT source FROM sources")]
        kinds = [(kind_of(source), source) for source in sources]
        connection.executemany("UPDATE passages SET kind = ? WHERE source = ?", kinds)
    if not _has_column(connection, "revision"):
        connection.execute("ALTER TABLE passages ADD COLUMN revision INTEGER NOT NULL DEFAULT 0")
    for statement in _SINCE_FORMAT_1.split(";\n"):  # not executescript, which would commit what came before
        connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('uid', ?)", (uuid.uuid4().hex,))
    connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(FORMAT_VERSION),))


def _has_column(connection: sqlite3.Connection, column: str) -> bool:
    found = connection.execute("SELECT 1 FROM pragma_table_info('passages') WHERE name = ?", (column,)).fetchone()
    return bool(found)


def list_indexes(connection: sqlite3.Connection) -> list[IndexInfo]:
    """The complete indexes, by encoder name."""
    query = "SELECT encoder, fingerprint, dimension, n_passages, collection FROM indexes ORDER BY encoder"
    rows = connection.execute(query)
    return [IndexInfo(encoder=r[0], fingerprint=r[1], dimension=r[2], n_passages=r[3], collection=r[4]) for r in rows]


def record_index(connection: sqlite3.Connection, info: IndexInfo, synced: int) -> None:
    """Makes `info` the index of its encoder; its collection holds the passages of the generation `synced`."""
    row = (info.encoder, info.fingerprint, info.dimension, info.n_passages, info.collection)
    connection.execute("INSERT OR REPLACE INTO indexes VALUES (?, ?, ?, ?, ?)", row)
    shared = (info.n_passages, info.collection)
    connection.execute("UPDATE indexes SET n_passages = ? WHERE collection = ?", shared)
    begun = (info.collection, info.encoder, info.fingerprint, synced)
    connection.execute("INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?)", begun)
    _count_index_change(connection)


def forget_index(connection: sqlite3.Connection, encoder: str) -> None:
    """Takes the index of `encoder` off the list."""
    connection.execute("DELETE FROM indexes WHERE encoder = ?", (encoder,))
    _count_index_change(connection)


def list_collections(connection: sqlite3.Connection) -> list[CollectionInfo]:
    """Every collection that was begun and not deleted, complete or not, by name."""
    rows = connection.execute("SELECT name, encoder, fingerprint, synced FROM collections ORDER BY name")
    return [CollectionInfo(name=r[0], encoder=r[1], fingerprint=r[2], synced=r[3]) for r in rows]


def begin_collection(connection: sqlite3.Connection, info: CollectionInfo) -> None:
    """Notes a collection before it is made; once is enough."""
    row = (info.name, info.encoder, info.fingerprint, info.synced)
    connection.execute("INSERT OR IGNORE INTO collections VALUES (?, ?, ?, ?)", row)


def end_collection(connection: sqlite3.Connection, name: str) -> None:
    """Notes that a collection is deleted."""
    connection.execute("DELETE FROM collections WHERE name = ?", (name,))


def _count_index_change(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'index_changes'")


_COLUMNS = "id, document_id, source, title, text, start, end, page, kind, date"


def all_passages(connection: sqlite3.Connection) -> Iterator[Passage]:
    """Every passage, by document and place in it."""
    for row in connection.execute(f"SELECT {_COLUMNS} FROM passages ORDER BY source, rowid"):  # noqa: S608
        yield _to_passage(row)


def get_passages(connection: sqlite3.Connection, ids: list[str]) -> list[Passage]:
    """The passages with these ids, in this order; ids that are gone are left out."""
    found: dict[str, Passage] = {}
    for first in range(0, len(ids), 500):  # SQLite bounds the number of parameters
        some = ids[first : first + 500]
        marks = ", ".join("?" * len(some))
        rows = connection.execute(f"SELECT {_COLUMNS} FROM passages WHERE id IN ({marks})", some)  # noqa: S608
        found |= {row[0]: _to_passage(row) for row in rows}
    return [found[identifier] for identifier in ids if identifier in found]


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


def list_promotions(connection: sqlite3.Connection) -> list[PromotionInfo]:
    """Every promotion that the corpus ever saw, withdrawn ones too, newest first."""
    query = "SELECT number, encoder, run, promoted_at, withdrawn_at FROM promotions ORDER BY number DESC"
    rows = connection.execute(query)
    return [PromotionInfo(number=r[0], encoder=r[1], run=r[2], promoted_at=r[3], withdrawn_at=r[4]) for r in rows]


def record_promotion(folder: Path, encoder: str, run: str) -> None:
    """Notes that `encoder` is promoted now, by `run`."""
    with transaction(folder / MANIFEST) as connection:
        row = (encoder, run, _now())
        connection.execute("INSERT INTO promotions (encoder, run, promoted_at) VALUES (?, ?, ?)", row)


def withdraw_promotions(folder: Path, first: int) -> None:
    """Notes that the promotions from number `first` on no longer count; what was withdrawn before stays so."""
    with transaction(folder / MANIFEST) as connection:
        change = "UPDATE promotions SET withdrawn_at = ? WHERE number >= ? AND withdrawn_at = ''"
        connection.execute(change, (_now(), first))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def delete_folder(folder: Path) -> None:
    """Removes a corpus's folder; renamed first, so that a half-deleted one is never taken for a corpus."""
    doomed = doomed_folder(folder)
    if doomed.exists():
        shutil.rmtree(doomed)
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be deleted: {error.strerror}. Check its rights.") from error


def doomed_folder(folder: Path) -> Path:
    """What a corpus's folder is called while it is being deleted."""
    return folder.with_name(f".{folder.name}.deleted")
