"""The SQLite file beside a corpus, which is the truth: changed in transactions, source by source."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import numpy as np

from indexes.errors import DamagedError, InputError, StoreError
from indexes.files import kind_of
from indexes.paths import can_write, replacing
from indexes.readers.process import READING, read_documents
from indexes.splitting import PassageSettings, split_document
from indexes.types import FileOutcome, Status, Tokenizer, Vectors

T = TypeVar("T")
MANIFEST = "manifest.sqlite"
FORMAT_VERSION = 3
_WAIT_S = 60
_UNIT_TOLERANCE = 0.01  # vectors of int8 and bf16 encoders are a little longer or shorter than one
_AT_ONCE = 500  # SQLite bounds the number of parameters
_MAX_NOTES = 3  # that are told of one file
_INSERT = (
    "INSERT INTO passages VALUES (:id, :document_id, :source, :ordinal, :title, :text, :start, :end, :page, :kind, "
    ":date, :revision, :content)"
)
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


def is_sound(vector: Vectors, dimension: int) -> bool:
    """Whether a vector has the right dimension and length one; a length that is no number is not."""
    return vector.shape == (dimension,) and abs(float(np.linalg.norm(vector)) - 1) <= _UNIT_TOLERANCE


def pages(ids: Sequence[str]) -> Iterator[list[str]]:
    """`ids` in parts of a size that the manifest and the store answer at once."""
    for first in range(0, len(ids), _AT_ONCE):
        yield list(ids[first : first + _AT_ONCE])


def add_source(
    connection: sqlite3.Connection,
    source: str,
    file: Path,
    content_hash: str,
    tokenizer: Tokenizer,
    settings: PassageSettings,
    gone: Container[str],
) -> FileOutcome:
    """What became of `file`, whose content has this hash and which is the source `source` now.

    A source of the same content that is among `gone` gets this name; of equal files that are there each is a source.
    """
    query = "SELECT content_hash, reading FROM sources WHERE source = ?"
    known = connection.execute(query, (source,)).fetchone()
    status: Status = "replaced" if known else "read"
    reason = ""
    is_same = known is not None and known[0] == content_hash
    if is_same and known[1] >= READING:
        status = "unchanged"
    elif not is_same and (other := find_renamed(connection, source, content_hash, gone)):
        if known:
            next_generation(connection)
            forget_source(connection, source)
        move_source(connection, other, source)
        status, reason = "renamed", f"was '{other}'"
    else:
        n_documents, reason = replace_source(connection, source, file, tokenizer, settings)
        if is_same:
            reason = f"an older version of this program had read it. {reason}".rstrip()
        row = (source, content_hash, file.stat().st_size, n_documents, READING)
        connection.execute("INSERT INTO sources VALUES (?, ?, ?, ?, ?)", row)
    queries = [f"SELECT COUNT(*) FROM {table} WHERE source = ?" for table in ("documents", "passages")]  # noqa: S608
    n_documents, n_passages = (connection.execute(query, (source,)).fetchone()[0] for query in queries)
    return FileOutcome(source=source, status=status, n_documents=n_documents, n_passages=n_passages, reason=reason)


def replace_source(
    connection: sqlite3.Connection, source: str, file: Path, tokenizer: Tokenizer, settings: PassageSettings
) -> tuple[int, str]:
    """How many documents `source` now has, read from `file`, and what could not be read of it; what it had is gone."""
    revision = next_generation(connection)
    forget_source(connection, source)
    n_documents, n_renamed, notes = 0, 0, dict[str, None]()
    for read in read_documents(file, source):
        document = replace(read, id=_free_id(connection, read.id, source))
        n_renamed += document.id != read.id
        connection.execute("INSERT INTO documents VALUES (?, ?)", (document.id, source))
        rows = [
            asdict(passage) | {"ordinal": n, "revision": revision, "content": content_key(passage.title, passage.text)}
            for n, passage in enumerate(split_document(document, tokenizer, settings))
        ]
        connection.executemany(_INSERT, rows)
        n_documents += 1
        if len(notes) <= _MAX_NOTES and document.note:
            notes[document.note] = None
    if n_renamed:
        notes[f"{n_renamed} of its ids were taken; these documents are called '{source}#…'."] = None
    said = [*notes][:_MAX_NOTES] + ["More of this kind is not listed."] * (len(notes) > _MAX_NOTES)
    return n_documents, " ".join(said)


def _free_id(connection: sqlite3.Connection, wanted: str, source: str) -> str:
    """`wanted`, or if another document has this id the same under the name of its file, numbered if need be."""
    names = chain((wanted, f"{source}#{wanted}"), (f"{source}#{wanted}#{n}" for n in count(2)))
    taken = "SELECT 1 FROM documents WHERE id = ?"
    return next(name for name in names if not connection.execute(taken, (name,)).fetchone())


def forget_source(connection: sqlite3.Connection, source: str) -> None:
    """Takes a source out of the manifest with its documents and passages."""
    for table in ("passages", "documents", "sources"):
        connection.execute(f"DELETE FROM {table} WHERE source = ?", (source,))  # noqa: S608


def move_source(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Gives everything of `old` to `new`, as if the file had been called so; titles and texts stay, so vectors do.

    Documents that are named by their file get its new name, which leaves the old one free for another file.
    """

    def document_id(identifier: str) -> str:
        named = identifier == old or identifier.startswith((f"{old}:", f"{old}@", f"{old}#"))
        return new + identifier[len(old) :] if named else identifier

    def passage_id(identifier: str, document: str) -> str:
        if document_id(document) == document:
            return identifier
        parts = f"{new}\x1f{identifier}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(parts, digest_size=12).hexdigest()

    connection.create_function("document_id", 1, document_id, deterministic=True)
    connection.create_function("passage_id", 2, passage_id, deterministic=True)
    revision = next_generation(connection)
    connection.execute(
        "UPDATE passages SET id = passage_id(id, document_id), document_id = document_id(document_id), source = ?, "
        "revision = ? WHERE source = ?",
        (new, revision, old),
    )
    connection.execute("UPDATE documents SET id = document_id(id), source = ? WHERE source = ?", (new, old))
    connection.execute("UPDATE sources SET source = ? WHERE source = ?", (new, old))


def find_renamed(connection: sqlite3.Connection, source: str, content_hash: str, gone: Container[str]) -> str | None:
    """Which source among `gone` is this very content, and so this file under the name that it had; None if none is.

    A file of another type is read in another way: the same bytes as `.txt` and as `.md` make other passages.
    """
    query = "SELECT source FROM sources WHERE content_hash = ? AND source != ? ORDER BY source"
    named = (row[0] for row in connection.execute(query, (content_hash, source)))
    return next((name for name in named if name in gone and kind_of(name) == kind_of(source)), None)


def next_generation(connection: sqlite3.Connection) -> int:
    """The number of the change that is about to be made to the passages of this corpus."""
    change = "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation' RETURNING value"
    return int(connection.execute(change).fetchone()[0])


def rows_as(noun: Callable[..., T], rows: sqlite3.Cursor) -> Iterator[T]:
    """Each of `rows` as a `noun`, whose fields are called like the columns."""
    names = [column[0] for column in rows.description]
    return (noun(**dict(zip(names, row, strict=True))) for row in rows)


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
