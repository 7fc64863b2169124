"""The SQLite file beside a corpus, which is the truth: passages, vectors, indexes and promotions, in transactions."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from indexes.errors import DamagedError, InputError, StoreError
from indexes.paths import can_write, replacing
from indexes.splitting import PassageSettings
from indexes.types import CollectionInfo, Passage, Vectors

T = TypeVar("T")
MANIFEST = "manifest.sqlite"
FORMAT_VERSION = 3
_WAIT_S = 60
_STORED = np.float16
_UNIT_TOLERANCE = 0.01  # vectors of int8 and bf16 encoders are a little longer or shorter than one
_AT_ONCE = 500  # SQLite bounds the number of parameters
# Vectors are kept by what an encoder reads, so that a passage that moves keeps its vector; as float16, which changes a
# score by less than 0.0001 and takes 40 % of the space. The `uid` is of the corpus, whatever its name.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sources (
    source TEXT PRIMARY KEY, content_hash TEXT NOT NULL, n_bytes INTEGER NOT NULL, n_documents INTEGER NOT NULL,
    reading INTEGER NOT NULL);
CREATE INDEX sources_by_content ON sources (content_hash);
CREATE TABLE documents (id TEXT PRIMARY KEY, source TEXT NOT NULL);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE passages (
    id TEXT PRIMARY KEY, document_id TEXT NOT NULL, source TEXT NOT NULL, ordinal INTEGER NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, page INTEGER,
    kind TEXT NOT NULL, date TEXT NOT NULL, revision INTEGER NOT NULL, content BLOB NOT NULL);
CREATE INDEX passages_by_source ON passages (source);
CREATE INDEX passages_by_document ON passages (document_id, ordinal);
CREATE INDEX passages_by_revision ON passages (revision);
CREATE INDEX passages_by_content ON passages (content);
CREATE TABLE indexes (
    encoder TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, dimension INTEGER NOT NULL, n_passages INTEGER NOT NULL);
CREATE TABLE promotions (
    number INTEGER PRIMARY KEY, encoder TEXT NOT NULL, run TEXT NOT NULL, promoted_at TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL DEFAULT '');
CREATE TABLE vectors (fingerprint TEXT NOT NULL, content BLOB NOT NULL, vector BLOB NOT NULL);
CREATE UNIQUE INDEX vectors_by_content ON vectors (fingerprint, content);
CREATE TABLE collections (
    fingerprint TEXT NOT NULL, store TEXT NOT NULL, place TEXT NOT NULL, generation INTEGER NOT NULL,
    n_passages INTEGER NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (fingerprint, store));
"""


def connect(manifest: Path) -> sqlite3.Connection:
    """A connection that waits for whoever is writing; the thread that made it uses it.

    SQLite writes beside a manifest even to read it. Where that cannot be, one that was closed well is read as it is.
    """
    left = manifest.with_name(f"{manifest.name}-wal")
    if manifest.is_file() and not can_write(manifest.parent) and not (left.is_file() and left.stat().st_size):
        return sqlite3.connect(f"{manifest.resolve().as_uri()}?immutable=1", uri=True)
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
        if type(error) is sqlite3.DatabaseError or "no such table" in str(error):
            raise damaged(manifest, error) from error
        raise StoreError(
            f"The manifest {manifest} cannot be used: {error}. Check the disk's space and rights."
        ) from error
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
            raise
        raise StoreError(f"Writing under {manifest.parent} failed: {error.strerror}. Free some space.") from error


def damaged(manifest: Path, reason: object) -> DamagedError:
    """What to say of a manifest that is not whole: the name of its folder is one of the corpus, too."""
    name = manifest.parent.name
    return DamagedError(
        f"The manifest of corpus '{name}' is damaged ({reason}). Make it anew from the kept files with: "
        f"python -m indexes doctor '{name}' --repair, or delete it: python -m indexes delete '{name}'"
    )


def create_manifest(folder: Path, name: str, settings: PassageSettings) -> None:
    """Writes the manifest of an empty corpus; it is there whole or not at all."""
    with replacing(folder / MANIFEST) as partial, transaction(partial) as connection:
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
    with closing(connect(folder / MANIFEST)) as connection, suppress(sqlite3.OperationalError):
        # Readers read while it is written. Some network file systems cannot: there a reader waits for the writer.
        connection.execute("PRAGMA journal_mode=WAL")


def read_meta(manifest: Path, opened: sqlite3.Connection | None = None) -> dict[str, str]:
    """The settings kept in a manifest; one of another format is refused with a sentence."""
    with transaction(manifest, opened) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    if not {"format", "name", "max_tokens", "overlap_tokens"} <= meta.keys():
        raise damaged(manifest, "its settings are gone")
    if int(meta["format"]) != FORMAT_VERSION:
        newer = "Update this program, or use another DATA_DIR."
        older = "Nothing reads it any more: add its files again, with another DATA_DIR."
        raise StoreError(
            f"The corpus in {manifest.parent} was written by another version (format {meta['format']}, this one reads "
            f"{FORMAT_VERSION}). {newer if int(meta['format']) > FORMAT_VERSION else older}"
        )
    return meta


def content_key(title: str, text: str) -> bytes:
    """What a vector is kept by: a digest of what encoders read of a passage."""
    return hashlib.blake2b(f"{title}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


_WITH_VECTOR = "passages p JOIN vectors v ON v.fingerprint = ? AND v.content = p.content"


def passages_without_vector(connection: sqlite3.Connection, fingerprint: str) -> list[str]:
    """Ids of passages to embed: one for each content that has no vector with this fingerprint, shortest text first, so
    that a batch of neighbours needs little padding.
    """
    query = (
        "SELECT MIN(id), MIN(length(title) + length(text)) AS size FROM passages p WHERE NOT EXISTS "
        "(SELECT 1 FROM vectors v WHERE v.fingerprint = ? AND v.content = p.content) GROUP BY content ORDER BY size, 1"
    )
    return [row[0] for row in connection.execute(query, (fingerprint,))]


def passages_with_vector(connection: sqlite3.Connection, fingerprint: str) -> list[str]:
    """Ids of the passages that have a vector with this fingerprint."""
    query = f"SELECT p.id FROM {_WITH_VECTOR} ORDER BY p.id"  # noqa: S608
    return [row[0] for row in connection.execute(query, (fingerprint,))]


def write_vectors(connection: sqlite3.Connection, fingerprint: str, ids: Sequence[str], vectors: Vectors) -> None:
    """Keeps the unit vectors (N, D) of these passages; a passage that is gone has none to keep."""
    rows = [(fingerprint, row.tobytes(), name) for name, row in zip(ids, vectors.astype(_STORED), strict=True)]
    connection.executemany("INSERT OR REPLACE INTO vectors SELECT ?, content, ? FROM passages WHERE id = ?", rows)


def read_vectors(connection: sqlite3.Connection, fingerprint: str, ids: Sequence[str]) -> dict[str, Vectors]:
    """The vector (D,) of each of these passages that has one, by id."""
    found: dict[str, Vectors] = {}
    for some in pages(ids):
        marks = ", ".join("?" * len(some))
        query = f"SELECT p.id, v.vector FROM {_WITH_VECTOR} WHERE p.id IN ({marks})"  # noqa: S608
        rows = connection.execute(query, (fingerprint, *some))
        found |= {row[0]: np.frombuffer(row[1], dtype=_STORED).astype(np.float32) for row in rows}
    return found


def delete_vectors(connection: sqlite3.Connection, fingerprint: str, ids: Sequence[str]) -> None:
    """Deletes the vectors of these passages."""
    query = "DELETE FROM vectors WHERE fingerprint = ? AND content IN (SELECT content FROM passages WHERE id = ?)"
    connection.executemany(query, [(fingerprint, name) for name in ids])


def is_sound(vector: Vectors, dimension: int) -> bool:
    """Whether a vector has the right dimension and length one; a length that is no number is not."""
    return vector.shape == (dimension,) and abs(float(np.linalg.norm(vector)) - 1) <= _UNIT_TOLERANCE


def drop_unused_vectors(connection: sqlite3.Connection) -> None:
    """Deletes the vectors of whose content there is no passage any more."""
    connection.execute(
        "DELETE FROM vectors WHERE NOT EXISTS (SELECT 1 FROM passages p WHERE p.content = vectors.content)"
    )


def pages(ids: Sequence[str]) -> Iterator[list[str]]:
    """`ids` in parts of a size that the manifest and the store answer at once."""
    for first in range(0, len(ids), _AT_ONCE):
        yield list(ids[first : first + _AT_ONCE])


def find_collection(connection: sqlite3.Connection, fingerprint: str, store: str) -> CollectionInfo | None:
    """The collection in `store` that the vectors with this fingerprint were copied to, None if there is none."""
    query = "SELECT * FROM collections WHERE fingerprint = ? AND store = ?"
    return next(rows_as(CollectionInfo, connection.execute(query, (fingerprint, store))), None)


def list_places(connection: sqlite3.Connection, store: str) -> dict[str, str]:
    """The place of each collection in `store`, by fingerprint."""
    return dict(connection.execute("SELECT fingerprint, place FROM collections WHERE store = ?", (store,)))


def record_collection(connection: sqlite3.Connection, info: CollectionInfo) -> None:
    """Makes `info` the collection of its vectors: the atomic step by which a new copy takes over."""
    row = (info.fingerprint, info.store, info.place, info.generation, info.n_passages, info.stamp)
    connection.execute("INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?, ?, ?)", row)


def forget_collection(connection: sqlite3.Connection, fingerprint: str, store: str) -> None:
    """Takes a collection that is to be deleted off the list."""
    connection.execute("DELETE FROM collections WHERE fingerprint = ? AND store = ?", (fingerprint, store))


def rows_as(noun: Callable[..., T], rows: sqlite3.Cursor) -> Iterator[T]:
    """Each of `rows` as a `noun`, whose fields are called like the columns."""
    names = [column[0] for column in rows.description]
    return (noun(**dict(zip(names, row, strict=True))) for row in rows)


COLUMNS = "id, document_id, source, title, text, start, end, page, kind, date"


def get_passages(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Passage]:
    """The passages with these ids, in this order; ids that are gone are left out."""
    found: dict[str, Passage] = {}
    for some in pages(ids):
        marks = ", ".join("?" * len(some))
        rows = connection.execute(f"SELECT {COLUMNS} FROM passages WHERE id IN ({marks})", some)  # noqa: S608
        found |= {passage.id: passage for passage in rows_as(Passage, rows)}
    return [found[identifier] for identifier in ids if identifier in found]


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
    leaving = deleted_folder(folder)
    if leaving.exists():
        shutil.rmtree(leaving)
    try:
        folder.rename(leaving)
        shutil.rmtree(leaving)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be deleted: {error.strerror}. Check its rights.") from error


def deleted_folder(folder: Path) -> Path:
    """What a corpus's folder is called while it is being deleted."""
    return folder.with_name(f".{folder.name}.deleted")
