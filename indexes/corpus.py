"""A corpus and its manifest: which sources, documents and passages it has, and which indexes were built of it.

The manifest is the truth; a Chroma collection is derived from it and can be rebuilt at any time.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from indexes.errors import InputError, NotFoundError, UnreadableFileError
from indexes.filters import Facets
from indexes.formats import suffix_of
from indexes.manifest import FORMAT_VERSION, MANIFEST, create_manifest, read_meta, transaction
from indexes.passages import PassageSettings
from indexes.paths import DataPaths
from indexes.records import (
    CollectionInfo,
    CorpusInfo,
    FileOutcome,
    IndexInfo,
    PromotionInfo,
    SourceInfo,
    Status,
)
from indexes.sources import (
    count_source,
    find_twin,
    forget_source,
    move_source,
    next_generation,
    replace_source,
)
from indexes.types import Encoder, Passage, Tokenizer

__all__ = [
    "FORMAT_VERSION",
    "Corpus",
    "CorpusInfo",
    "FileOutcome",
    "IndexInfo",
    "PromotionInfo",
    "SourceInfo",
    "Status",
    "delete_folder",
    "doomed_folder",
    "hash_file",
    "list_corpora",
]

_COLUMNS = "id, document_id, source, title, text, start, end, page, kind, date"
_COUNTED = ("sources", "documents", "passages")


def list_corpora(paths: DataPaths) -> list[CorpusInfo]:
    """Every corpus under the data folder, by name."""
    manifests = sorted(paths.corpora.glob(f"*/{MANIFEST}")) if paths.corpora.is_dir() else []
    return sorted((Corpus(manifest.parent).info() for manifest in manifests), key=lambda info: info.name)


class Corpus:
    """The files, passages and indexes of one corpus, in a SQLite manifest; each change is one transaction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = read_meta(folder / MANIFEST)
        self.name = meta["name"]
        self.uid = meta["uid"]
        self.settings = PassageSettings(max_tokens=int(meta["max_tokens"]), overlap_tokens=int(meta["overlap_tokens"]))

    @classmethod
    def open(cls, paths: DataPaths, name: str) -> Corpus:
        """The corpus called `name`; raises `NotFoundError` with the names there are."""
        folder = paths.corpus(name)
        if not (folder / MANIFEST).is_file():
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
        if not (folder / MANIFEST).is_file():
            create_manifest(folder, name.strip(), PassageSettings(max_tokens=min(256, encoder.max_tokens)))
        return cls(folder)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with transaction(self.folder / MANIFEST) as connection:
            yield connection

    def add_file(self, source: str, file: Path, tokenizer: Tokenizer, gone: Container[str] = ()) -> FileOutcome:
        """What became of `file`, which is now in the manifest under `source`, its old passages replaced.

        The same content under another name is not taken in twice; if that name is among `gone`, it gets this one.
        """
        try:
            content_hash = hash_file(file)
            with self._connect() as connection:
                connection.execute("BEGIN IMMEDIATE")
                before = self._original_of(connection, source)
                outcome = self._add(connection, source, file, content_hash, tokenizer, gone)
                if outcome.status != "same":
                    self._keep_original(source, file, content_hash)
        except (UnreadableFileError, PermissionError, IsADirectoryError) as error:
            reason = (
                str(error) if isinstance(error, UnreadableFileError) else "The file may not be read; check its rights."
            )
            return FileOutcome(source=source, status="failed", reason=reason)
        if before and outcome.status != "unchanged":
            self._drop_original(before)
        return outcome

    def _add(
        self,
        connection: sqlite3.Connection,
        source: str,
        file: Path,
        content_hash: str,
        tokenizer: Tokenizer,
        gone: Container[str],
    ) -> FileOutcome:
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
            n_documents, reason = replace_source(connection, source, file, tokenizer, self.settings)
            row = (source, content_hash, file.stat().st_size, n_documents)
            connection.execute("INSERT INTO sources VALUES (?, ?, ?, ?)", row)
        n_documents, n_passages = count_source(connection, source)
        return FileOutcome(source=source, status=status, n_documents=n_documents, n_passages=n_passages, reason=reason)

    def _original_of(self, connection: sqlite3.Connection, source: str) -> Path | None:
        row = connection.execute("SELECT content_hash FROM sources WHERE source = ?", (source,)).fetchone()
        return self.original(source, row[0]) if row else None

    def _drop_original(self, kept: Path) -> None:
        with self._connect() as connection:
            named = connection.execute("SELECT source FROM sources WHERE content_hash = ?", (kept.name.split(".")[0],))
            is_used = any(self.original(row[0], kept.name.split(".")[0]) == kept for row in named)
        if not is_used:
            kept.unlink(missing_ok=True)

    def _keep_original(self, source: str, file: Path, content_hash: str) -> None:
        kept = self.original(source, content_hash)
        if kept.is_file():
            return
        kept.parent.mkdir(exist_ok=True)
        partial = kept.with_name(kept.name + ".partial")
        shutil.copyfile(file, partial)
        partial.replace(kept)

    def original(self, source: str, content_hash: str) -> Path:
        """Where the original of a source is kept, by its content."""
        return self.folder / "files" / f"{content_hash}{suffix_of(source)}"

    def originals(self) -> dict[str, Path]:
        """Where the original of each source is kept."""
        with self._connect() as connection:
            rows = connection.execute("SELECT source, content_hash FROM sources ORDER BY source").fetchall()
        return {source: self.original(source, content_hash) for source, content_hash in rows}

    def stray_files(self) -> list[Path]:
        """What is kept and no source names, as an add or a delete leaves it that was killed."""
        wanted = set(self.originals().values())
        return [file for file in sorted((self.folder / "files").glob("*")) if file not in wanted]

    def remove_source(self, source: str) -> None:
        """Forgets a source with its documents, passages and kept original; `NotFoundError` if there is none."""
        with self._connect() as connection:
            kept = self._original_of(connection, source)
            if kept is None:
                raise NotFoundError(
                    f"Corpus '{self.name}' has no source '{source}'. List them with: python -m indexes list --json"
                )
            next_generation(connection)
            forget_source(connection, source)
        self._drop_original(kept)

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

    def facets(self) -> list[Facets]:
        """Each combination of source, type and date that passages have."""
        with self._connect() as connection:
            rows = connection.execute("SELECT DISTINCT source, kind, date FROM passages").fetchall()
        return [Facets(source=row[0], kind=row[1], date=row[2]) for row in rows]

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

    def record_index(self, info: IndexInfo, synced: int = 0) -> None:
        """Makes `info` the index of its encoder: the one atomic step by which a new collection takes over.

        `synced` is the generation of the passages that it holds now; who shares the collection has as many.
        """
        with self._connect() as connection:
            row = (info.encoder, info.fingerprint, info.dimension, info.n_passages, info.collection)
            connection.execute("INSERT OR REPLACE INTO indexes VALUES (?, ?, ?, ?, ?)", row)
            shared = (info.n_passages, info.collection)
            connection.execute("UPDATE indexes SET n_passages = ? WHERE collection = ?", shared)
            begun = (info.collection, info.encoder, info.fingerprint, synced)
            connection.execute("INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?)", begun)
            _count_index_change(connection)

    def forget_index(self, encoder: str) -> None:
        """Takes the index of `encoder` off the list."""
        with self._connect() as connection:
            connection.execute("DELETE FROM indexes WHERE encoder = ?", (encoder,))
            _count_index_change(connection)

    def generation(self) -> int:
        """How often the passages have changed."""
        return int(self._meta("generation"))

    def version(self) -> str:
        """What an open index is valid for: another text once a passage or an index of this corpus has changed."""
        return f"{self._meta('uid')}-{self._meta('generation')}-{self._meta('index_changes')}"

    def _meta(self, key: str) -> str:
        with self._connect() as connection:
            return str(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def collections(self) -> list[CollectionInfo]:
        """Every collection that was begun and not deleted, complete or not, by name."""
        with self._connect() as connection:
            rows = connection.execute("SELECT name, encoder, fingerprint, synced FROM collections ORDER BY name")
            return [CollectionInfo(name=r[0], encoder=r[1], fingerprint=r[2], synced=r[3]) for r in rows]

    def begin_collection(self, info: CollectionInfo) -> None:
        """Notes a collection before it is made, so that one which nobody finishes is known; once is enough."""
        with self._connect() as connection:
            row = (info.name, info.encoder, info.fingerprint, info.synced)
            connection.execute("INSERT OR IGNORE INTO collections VALUES (?, ?, ?, ?)", row)

    def end_collection(self, name: str) -> None:
        """Notes that a collection is deleted."""
        with self._connect() as connection:
            connection.execute("DELETE FROM collections WHERE name = ?", (name,))

    def changed_since(self, generation: int) -> list[str]:
        """Ids of the passages that are new or have other metadata since that generation."""
        with self._connect() as connection:
            rows = connection.execute("SELECT id FROM passages WHERE revision > ? ORDER BY id", (generation,))
            return [row[0] for row in rows]

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _count_index_change(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'index_changes'")


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


def hash_file(file: Path) -> str:
    """The identity of a file: a digest of its content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


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
