"""The SQLite file beside a corpus: its tables, its transactions, and how an older one becomes a present one."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexes.errors import StoreError
from indexes.formats import kind_of
from indexes.passages import PassageSettings

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


@contextmanager
def transaction(manifest: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are committed together at the end, or not at all."""
    try:
        connection = sqlite3.connect(manifest, timeout=_WAIT_S)
        try:
            with connection:
                yield connection
        finally:
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


def read_meta(manifest: Path) -> dict[str, str]:
    """The settings kept in a manifest, which is of the present format now; a newer one is refused with a sentence."""
    with transaction(manifest) as connection:
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
    connection = sqlite3.connect(manifest, timeout=_WAIT_S)
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
