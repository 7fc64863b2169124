"""One file in the manifest: its documents and passages written, moved to another name, or forgotten.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container
from pathlib import Path

from indexes.documents import read_documents
from indexes.errors import UnreadableFileError
from indexes.formats import kind_of
from indexes.passages import PassageSettings, split_document
from indexes.records import FileOutcome, Status
from indexes.types import Tokenizer

_INSERT = (
    "INSERT INTO passages (id, document_id, source, ordinal, title, text, start, end, page, kind, date, revision) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# What an index shows beside a passage's text; `id` follows from the document, the title and the text.
_KEEP_BEFORE = """
CREATE TEMP TABLE before AS
SELECT id, source, start, end, page, kind, date, revision FROM passages WHERE source = ?
"""
_SAME_AS_BEFORE = """
UPDATE passages SET revision = before.revision FROM before
WHERE passages.source = ? AND before.id = passages.id AND before.start = passages.start AND before.end = passages.end
  AND before.page IS passages.page AND before.kind = passages.kind AND before.date = passages.date
"""


def add_source(
    connection: sqlite3.Connection,
    source: str,
    file: Path,
    content_hash: str,
    tokenizer: Tokenizer,
    settings: PassageSettings,
    gone: Container[str],
) -> FileOutcome:
    """What became of `file`, whose content has this hash: read under `source`, or the same as another source.

    The same content under another name is not taken in twice; if that name is among `gone`, it gets this one.
    """
    known = connection.execute("SELECT content_hash FROM sources WHERE source = ?", (source,)).fetchone()
    status: Status = "replaced" if known else "read"
    reason = ""
    if known and known[0] == content_hash:
        status = "unchanged"
    elif twin := find_twin(connection, source, content_hash, gone):
        other, is_gone = twin
        if known:
            next_generation(connection)
            forget_source(connection, source)
        if not is_gone:
            return FileOutcome(source=source, status="same", reason=f"same content as '{other}', indexed once")
        move_source(connection, other, source)
        status, reason = "renamed", f"was '{other}'"
    else:
        n_documents, reason = replace_source(connection, source, file, tokenizer, settings)
        row = (source, content_hash, file.stat().st_size, n_documents)
        connection.execute("INSERT INTO sources VALUES (?, ?, ?, ?)", row)
    n_documents, n_passages = count_source(connection, source)
    return FileOutcome(source=source, status=status, n_documents=n_documents, n_passages=n_passages, reason=reason)


def replace_source(
    connection: sqlite3.Connection, source: str, file: Path, tokenizer: Tokenizer, settings: PassageSettings
) -> tuple[int, str]:
    """How many documents `source` now has, read from `file`, and what could not be read of it; what it had is gone."""
    revision = next_generation(connection)
    connection.execute(_KEEP_BEFORE, (source,))
    forget_source(connection, source)
    n_documents, note = 0, ""
    for document in read_documents(file, source):
        try:
            connection.execute("INSERT INTO documents VALUES (?, ?)", (document.id, source))
        except sqlite3.IntegrityError as error:
            raise UnreadableFileError(_duplicate_id(connection, document.id, source)) from error
        passages = split_document(document, tokenizer, settings)
        rows = [
            (p.id, p.document_id, source, n, p.title, p.text, p.start, p.end, p.page, p.kind, p.date, revision)
            for n, p in enumerate(passages)
        ]
        connection.executemany(_INSERT, rows)
        n_documents += 1
        note = note or document.note
    connection.execute(_SAME_AS_BEFORE, (source,))
    return n_documents, note


def forget_source(connection: sqlite3.Connection, source: str) -> None:
    """Takes a source out of the manifest with its documents and passages."""
    for table in ("passages", "documents", "sources"):
        connection.execute(f"DELETE FROM {table} WHERE source = ?", (source,))  # noqa: S608


def move_source(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Gives everything of `old` to `new`, as if the file had been called so; titles and texts stay, so vectors do.

    Documents that are named by their file get its new name, which leaves the old one free for another file.
    """

    def document_id(identifier: str) -> str:
        named = identifier == old or identifier.startswith((f"{old}:", f"{old}@"))
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


def find_twin(
    connection: sqlite3.Connection, source: str, content_hash: str, gone: Container[str]
) -> tuple[str, bool] | None:
    """(name, whether it is among `gone`) of another source that is this very content; None if there is none.

    A source that is gone comes first: then this is its new name. A file of another type is read in another way, so it
    is none: the same bytes as `.txt` and as `.md` make other passages.
    """
    query = "SELECT source FROM sources WHERE content_hash = ? AND source != ? ORDER BY source"
    named = [row[0] for row in connection.execute(query, (content_hash, source))]
    twins = [(name, name in gone) for name in named if kind_of(name) == kind_of(source)]
    return next((twin for twin in twins if twin[1]), twins[0] if twins else None)


def count_source(connection: sqlite3.Connection, source: str) -> tuple[int, int]:
    """(documents, passages) of a source."""
    queries = [f"SELECT COUNT(*) FROM {table} WHERE source = ?" for table in ("documents", "passages")]  # noqa: S608
    n_documents, n_passages = (int(connection.execute(query, (source,)).fetchone()[0]) for query in queries)
    return n_documents, n_passages


def next_generation(connection: sqlite3.Connection) -> int:
    """The number of the change that is about to be made to the passages of this corpus."""
    change = "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation' RETURNING value"
    return int(connection.execute(change).fetchone()[0])


def _duplicate_id(connection: sqlite3.Connection, document_id: str, source: str) -> str:
    row = connection.execute("SELECT source FROM documents WHERE id = ?", (document_id,)).fetchone()
    where = "in this file twice" if row and row[0] == source else f"in '{row[0]}' already"
    return f"Each document id must be unique in a corpus, but '{document_id}' is {where}. Rename or delete one."
