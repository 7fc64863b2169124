"""A corpus over its manifest: its sources, documents, passages and originals, and the indexes built of it."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from indexes import manifest
from indexes.errors import NotFoundError, StoreError, UnreadableFileError
from indexes.files import kind_of, suffix_of
from indexes.filters import Facets
from indexes.manifest import MANIFEST, connect, content_key, create_manifest, read_meta, rows_as, transaction
from indexes.paths import DataPaths, replacing
from indexes.readers.process import READING, read_documents
from indexes.splitting import PassageSettings, split_document
from indexes.types import (
    CorpusInfo,
    Encoder,
    FileOutcome,
    IndexInfo,
    Passage,
    PromotionInfo,
    SourceInfo,
    Status,
    Tokenizer,
)

_MAX_NOTES = 3  # that are told of one file
_INSERT = (
    "INSERT INTO passages VALUES (:id, :document_id, :source, :ordinal, :title, :text, :start, :end, :page, :kind, "
    ":date, :revision, :content)"
)


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
            "SELECT source, n_documents, (SELECT COUNT(*) FROM passages p WHERE p.source = s.source), n_bytes, "
            "reading < ? FROM sources s ORDER BY source"
        )
        rows = self._rows(query, READING)
        return [
            SourceInfo(source=s, n_documents=d, n_passages=p, n_bytes=b, is_older=bool(o)) for s, d, p, b, o in rows
        ]

    def document_ids(self) -> set[str]:
        """The ids of all documents."""
        return {row[0] for row in self._rows("SELECT id FROM documents")}

    def older_sources(self) -> list[str]:
        """The sources that an older version of this program has read, by name."""
        return [row[0] for row in self._rows("SELECT source FROM sources WHERE reading < ? ORDER BY source", READING)]

    def passages(self) -> Iterator[Passage]:
        """Every passage, by document and place in it."""
        with self.connect() as connection:
            rows = connection.execute(f"SELECT {manifest.COLUMNS} FROM passages ORDER BY source, rowid")  # noqa: S608
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
        with self.connect() as connection:
            return manifest.get_passages(connection, ids)

    def document(self, document_id: str) -> list[Passage]:
        """The passages of one document, in their order."""
        rows = self._rows("SELECT id FROM passages WHERE document_id = ? ORDER BY rowid", document_id)
        return self.get_passages([row[0] for row in rows])

    def facets(self) -> list[Facets]:
        """Each combination of source, type and date that passages have."""
        with self.connect() as connection:
            return [*rows_as(Facets, connection.execute("SELECT DISTINCT source, kind, date FROM passages"))]

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
        with self.connect() as connection:
            return [*rows_as(IndexInfo, connection.execute("SELECT * FROM indexes ORDER BY encoder"))]

    def promotions(self) -> list[PromotionInfo]:
        """Every promotion that this corpus has seen, withdrawn ones too, newest first."""
        with self.connect() as connection:
            return [*rows_as(PromotionInfo, connection.execute("SELECT * FROM promotions ORDER BY number DESC"))]

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
