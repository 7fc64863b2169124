"""A corpus and its manifest: which sources, documents and passages it has, and which indexes were built of it.

The manifest is the truth; a Chroma collection is derived from it and can be rebuilt at any time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexes import index_records, passage_rows
from indexes.errors import NotFoundError, UnreadableFileError
from indexes.filters import Facets
from indexes.manifest import MANIFEST, create_manifest, read_meta, transaction
from indexes.originals import hash_file, is_named, keep_original, original, original_of, originals, stray_files
from indexes.passages import PassageSettings
from indexes.paths import DataPaths
from indexes.records import CollectionInfo, CorpusInfo, FileOutcome, IndexInfo, SourceInfo
from indexes.sources import add_source, forget_source, next_generation
from indexes.types import Encoder, Passage, Tokenizer

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
                before = original_of(connection, self.folder, source)
                outcome = add_source(connection, source, file, content_hash, tokenizer, self.settings, gone)
                if outcome.status != "same":
                    keep_original(file, original(self.folder, source, content_hash))
        except (UnreadableFileError, PermissionError, IsADirectoryError) as error:
            reason = (
                str(error) if isinstance(error, UnreadableFileError) else "The file may not be read; check its rights."
            )
            return FileOutcome(source=source, status="failed", reason=reason)
        if before and outcome.status != "unchanged":
            self._drop_original(before)
        return outcome

    def _drop_original(self, kept: Path) -> None:
        with self._connect() as connection:
            is_used = is_named(connection, self.folder, kept)
        if not is_used:
            kept.unlink(missing_ok=True)

    def originals(self) -> dict[str, Path]:
        """Where the original of each source is kept."""
        with self._connect() as connection:
            return originals(connection, self.folder)

    def stray_files(self) -> list[Path]:
        """What is kept and no source names, as an add or a delete leaves it that was killed."""
        return stray_files(self.folder, set(self.originals().values()))

    def remove_source(self, source: str) -> None:
        """Forgets a source with its documents, passages and kept original; `NotFoundError` if there is none."""
        with self._connect() as connection:
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
            yield from passage_rows.all_passages(connection)

    def passage_ids_by_length(self) -> list[str]:
        """Ids of all passages, shortest text first, so that a batch of neighbours needs little padding."""
        with self._connect() as connection:
            rows = connection.execute("SELECT id FROM passages ORDER BY length(title) + length(text), id")
            return [row[0] for row in rows]

    def get_passages(self, ids: list[str]) -> list[Passage]:
        """The passages with these ids, in this order; ids that are gone are left out."""
        with self._connect() as connection:
            return passage_rows.get_passages(connection, ids)

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

    def generation(self) -> int:
        """How often the passages have changed."""
        return int(self._meta("generation"))

    def version(self) -> str:
        """What an open index is valid for: another text once a passage or an index of this corpus has changed."""
        return f"{self._meta('uid')}-{self._meta('generation')}-{self._meta('index_changes')}"

    def _meta(self, key: str) -> str:
        with self._connect() as connection:
            return str(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def changed_since(self, generation: int) -> list[str]:
        """Ids of the passages that are new or have other metadata since that generation."""
        with self._connect() as connection:
            rows = connection.execute("SELECT id FROM passages WHERE revision > ? ORDER BY id", (generation,))
            return [row[0] for row in rows]

    def indexes(self) -> list[IndexInfo]:
        """The complete indexes of this corpus, by encoder name."""
        with self._connect() as connection:
            return index_records.list_indexes(connection)

    def record_index(self, info: IndexInfo, synced: int = 0) -> None:
        """Makes `info` the index of its encoder: the one atomic step by which a new collection takes over.

        `synced` is the generation of the passages that it holds now; who shares the collection has as many.
        """
        with self._connect() as connection:
            index_records.record_index(connection, info, synced)

    def forget_index(self, encoder: str) -> None:
        """Takes the index of `encoder` off the list."""
        with self._connect() as connection:
            index_records.forget_index(connection, encoder)

    def collections(self) -> list[CollectionInfo]:
        """Every collection that was begun and not deleted, complete or not, by name."""
        with self._connect() as connection:
            return index_records.list_collections(connection)

    def begin_collection(self, info: CollectionInfo) -> None:
        """Notes a collection before it is made, so that one which nobody finishes is known; once is enough."""
        with self._connect() as connection:
            index_records.begin_collection(connection, info)

    def end_collection(self, name: str) -> None:
        """Notes that a collection is deleted."""
        with self._connect() as connection:
            index_records.end_collection(connection, name)
