"""Files into a corpus and out of it again, its passages into vectors: what the commands and the page both call."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from indexes.chroma import check_space, drop_collections, is_current, refresh
from indexes.corpus import FILES, Corpus, hash_file
from indexes.encoders.finding import language_advice
from indexes.encoders.loading import load_encoder
from indexes.encoders.torch import as_indexed
from indexes.errors import DamagedError, InputError, NotFoundError, UnreadableFileError, WeightsError, counted
from indexes.files import Archive, SourceFile, is_address, open_sources, suffix_of
from indexes.lexical import foreign_language, sample_of
from indexes.locks import PATIENCE_S, using, writing
from indexes.manifest import FORMAT_VERSION, MANIFEST, create_manifest, delete_folder
from indexes.mixes import learned_mixes
from indexes.passage_index import drop_vectors, find_index
from indexes.paths import DataPaths, put_in_place, replacing
from indexes.splitting import PassageSettings
from indexes.types import Encoder, FileOutcome, IndexInfo, Passage, Vectors

_BATCH = 512  # passages that are read, encoded or written at a time, or more on a GPU; thrice as many are in memory


# Gives passages of a corpus with their vectors, in any order, until each id was given.
Embed = Callable[[Corpus, Sequence[str], Encoder], Iterable[tuple[Sequence[Passage], Vectors]]]


def update_index(
    paths: DataPaths, corpus: Corpus, encoder: Encoder, embed: Embed | None = None
) -> Iterator[tuple[int, int]]:
    """(passages embedded, passages to embed) after each batch, while the index comes in step with the manifest.

    Passages that are indexed already are not embedded again, so an interrupted update goes on where it was. An encoder
    that embeds passages as another one does (the same fingerprint) shares its collection. A changed encoder gets a new
    collection, and the old one answers until the new one is complete. `embed` embeds elsewhere than in this process.
    """
    previous = find_index(corpus, encoder)
    own_first = sorted(corpus.indexes(), key=lambda info: info.encoder != encoder.name)
    encoder = as_indexed(encoder, [info.fingerprint for info in own_first])
    missing = corpus.passages_without_vector(encoder.fingerprint)
    yield 0, len(missing)
    for done in _embed(corpus, encoder, (embed or embed_here)(corpus, missing, encoder)):
        if done < len(missing):
            check_space(paths)
        yield done, len(missing)
    bring_in_step(paths, corpus, encoder.name, encoder.fingerprint, encoder.dimension)
    if previous and previous.fingerprint != encoder.fingerprint:
        drop_vectors(paths, corpus, previous.fingerprint)


def bring_in_step(paths: DataPaths, corpus: Corpus, encoder: str, fingerprint: str, dimension: int) -> None:
    """Makes what the manifest has of these vectors the index of `encoder`; until here the one before answers."""
    n_passages = len(corpus.passages_with_vector(fingerprint))
    info = IndexInfo(encoder=encoder, fingerprint=fingerprint, dimension=dimension, n_passages=n_passages)
    if not is_current(paths, corpus, info):
        refresh(paths, corpus, fingerprint, encoder)
    if info not in corpus.indexes():
        corpus.record_index(info)


def _embed(corpus: Corpus, encoder: Encoder, embedded: Iterable[tuple[Sequence[Passage], Vectors]]) -> Iterator[int]:
    """How many passages have their vectors in the manifest, after each batch; whoever stops here loses nothing."""
    n_done = 0
    for passages, vectors in embedded:
        if not np.isfinite(vectors).all():
            raise WeightsError(
                f"Encoder '{encoder.name}' gave vectors that are no numbers (NaN or infinite): its weights are "
                "damaged, or it was trained too fast. Copy or train it again, or take another encoder."
            )
        corpus.write_vectors(encoder.fingerprint, [passage.id for passage in passages], vectors)
        n_done += len(passages)
        yield n_done


def embed_here(corpus: Corpus, ids: Sequence[str], encoder: Encoder) -> Iterator[tuple[Sequence[Passage], Vectors]]:
    """Passages with their vectors, embedded in this process. While one batch is encoded, the next is read: encoder and
    SQLite let other threads run.
    """
    if not ids:
        return  # an encoder is not loaded for nothing
    at_once = max(_BATCH, getattr(encoder, "batch_size", 0))
    batches = [list(ids[first : first + at_once]) for first in range(0, len(ids), at_once)]
    with ThreadPoolExecutor(1, "reader") as reader:
        reading = reader.submit(corpus.get_passages, batches[0])
        for following in [*batches[1:], []]:
            passages, reading = reading.result(), reader.submit(corpus.get_passages, following)
            yield passages, encoder.encode_passages([passage.full_text for passage in passages])


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` files read (with the last one's outcome) or passages embedded."""

    stage: Literal["reading", "embedding"]
    done: int
    total: int
    outcome: FileOutcome | None = None


def add_files(
    paths: DataPaths,
    corpus: str,
    files: Sequence[Path | str],
    encoder: Encoder,
    *,
    sync: bool = False,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] = lambda sentence: None,
    embed: Embed | None = None,
) -> Iterator[Progress]:
    """Progress while `files` (and folders, and web pages by their addresses) are read and the indexes of `corpus`
    brought up to date.

    `encoder`'s index is built if need be; those by other encoders are brought up to date too, as long as they load.
    With `sync` the corpus has exactly these files afterwards: its other sources are removed. Every step can be
    interrupted and repeated: what was done is not done again. `embed` embeds for `encoder`'s index elsewhere than in
    this process.
    """
    with writing(paths, corpus, f"adding files to corpus '{corpus}'", wait_s=wait_s, on_wait=on_wait):
        with _open_sources(paths, files) as named:
            if not files:
                Corpus.open(paths, corpus)  # nothing to add means "bring the index up to date": there has to be one
            if sync and all(file.skipped for file in named):
                raise InputError(
                    f"No file was found to keep corpus '{corpus}' in step with, so nothing was removed. Check the "
                    f"path; python -m indexes delete '{corpus}' deletes it."
                )
            check_space(paths)
            opened = Corpus.open_or_create(paths, corpus, encoder)
            for event in _read_files(opened, named, _gone(opened, files, named, sync=sync), encoder, sync=sync):
                yield event
                if event.done < event.total:
                    check_space(paths)
        for done, total in chain(update_index(paths, opened, encoder, embed), _update_others(paths, opened, encoder)):
            yield Progress(stage="embedding", done=done, total=total)
        opened.drop_unused_vectors()
        yield from _noted(opened, encoder)


def _noted(corpus: Corpus, encoder: Encoder) -> Iterator[Progress]:
    """Notes the language of the corpus, and says so where it is not the encoder's."""
    language = corpus.language()
    if language is None:
        corpus.note_language(language := foreign_language(sample_of(corpus, corpus.passage_ids_by_length())))
    if advice := language_advice(encoder.name, language):
        outcome = FileOutcome(source=corpus.name, status="noted", reason=advice)
        yield Progress(stage="embedding", done=0, total=0, outcome=outcome)


@contextmanager
def _open_sources(paths: DataPaths, given: Sequence[Path | str]) -> Iterator[list[SourceFile]]:
    """Every file in `given`, and every web page that its addresses stand for; usable until the context is left."""
    addresses = [each for each in given if isinstance(each, str)]
    with ExitStack() as opened:
        found = opened.enter_context(open_sources([each for each in given if isinstance(each, Path)]))
        if addresses:
            from indexes.web_pages import WebPages  # which takes a third of a second to import

            found += opened.enter_context(WebPages(allow_private=paths.may_fetch_private)).sources(addresses)
        yield found


def index_corpus(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Iterator[tuple[int, int]]:
    """(passages embedded, passages to embed) while `encoder`'s index comes in step, and nobody else writes.

    It waits for another writer: who calls this is in the middle of something long.
    """
    with writing(paths, corpus.name, f"indexing corpus '{corpus.name}'", wait_s=PATIENCE_S):
        yield from update_index(paths, corpus, encoder)


def _gone(corpus: Corpus, files: Sequence[Path | str], named: Sequence[SourceFile], *, sync: bool) -> set[str]:
    """The sources that are no files any more: what a given folder had and has not, with `sync` every other one."""
    folders = tuple(f"{path.resolve().name}/" for path in files if isinstance(path, Path) and path.is_dir())
    there = {file.source for file in named}
    gone = {info.source for info in corpus.sources() if sync or info.source.startswith(folders)} - there
    # What a page turned out to be is said behind its address.
    return {source for source in gone if not (is_address(source) and source.partition("#")[0] in there)}


def _read_files(
    corpus: Corpus, named: Sequence[SourceFile], gone: set[str], encoder: Encoder, *, sync: bool
) -> Iterator[Progress]:
    failed: list[str] = []
    for done, file in enumerate(named, start=1):
        outcome = _read_file(corpus, file, encoder, gone)
        if outcome.status == "failed":
            failed.append(f"{file.source}/")
        yield Progress(stage="reading", done=done, total=len(named), outcome=outcome)
    if sync:
        # What an archive held before it could not be opened is not known to be gone.
        left = {info.source for info in corpus.sources() if not info.source.startswith(tuple(failed))}
        for source in sorted(gone & left):
            corpus.remove_source(source)
            outcome = FileOutcome(source=source, status="removed", reason="no longer among the files")
            yield Progress(stage="reading", done=len(named), total=len(named), outcome=outcome)
    for stray in corpus.stray_files():  # of an add before this one, which was killed
        stray.unlink(missing_ok=True)
    if not corpus.sources():
        delete_folder(corpus.folder)
        n_files = sum(not file.skipped for file in named)
        raise InputError(
            f"None of the {counted(n_files, 'file')} could be read, so corpus '{corpus.name}' was not made. "
            "Give at least one file with text."
        )


def _read_file(corpus: Corpus, file: SourceFile, encoder: Encoder, gone: set[str]) -> FileOutcome:
    if file.skipped:
        return FileOutcome(source=file.source, status="skipped", reason=file.skipped)
    try:
        with file.on_disk() as path:
            is_said = not file.fetch or suffix_of(file.source) == suffix_of(path.name)
            source = file.source if is_said else f"{file.source}#{suffix_of(path.name)}"
            return corpus.add_file(source, path, encoder.tokenizer, gone)
    except UnreadableFileError as error:
        return FileOutcome(source=file.source, status="failed", reason=str(error))


def _update_others(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Iterator[tuple[int, int]]:
    """Brings the indexes by other encoders in step, too; only those are loaded whose index lacks vectors."""
    for info in corpus.indexes():
        if info.encoder == encoder.name:
            continue
        is_behind = bool(corpus.passages_without_vector(info.fingerprint))
        try:
            other = load_encoder(info.encoder, paths) if is_behind else None
        except NotFoundError:
            other = None  # its encoder is gone; the index still answers for the passages that it has
        if other:
            yield from update_index(paths, corpus, other)
        else:
            bring_in_step(paths, corpus, info.encoder, info.fingerprint, info.dimension)


def remove_sources(paths: DataPaths, corpus: str, sources: Sequence[str]) -> None:
    """Takes `sources` out of the corpus and out of every index of it."""
    with writing(paths, corpus, f"removing files from corpus '{corpus}'"):
        opened = Corpus.open(paths, corpus)
        for source in sources:
            opened.remove_source(source)
        for info in opened.indexes():
            bring_in_step(paths, opened, info.encoder, info.fingerprint, info.dimension)
        opened.drop_unused_vectors()


def delete_corpus(paths: DataPaths, corpus: str) -> None:
    """Deletes the corpus with its indexes and kept originals, also one whose manifest is damaged."""
    folder = paths.corpus(corpus)
    if not (folder / MANIFEST).is_file():
        Corpus.open(paths, corpus)  # says which there are
    doing = f"deleting corpus '{corpus}'"
    with using(paths, corpus, doing, alone=True), writing(paths, corpus, doing):
        try:
            opened = Corpus.open(paths, corpus)
        except DamagedError:
            opened = None
        drop_collections(paths, folder, opened)
        delete_folder(folder)


# What of a manifest is exported: the type of each column, in their order.
_COLUMNS: dict[str, tuple[Any, ...]] = {
    "sources": (str, str, int, int, int),
    "documents": (str, str),
    "passages": (str, str, str, int, str, str, int, int, (int, NoneType), str, str, int, bytes),
    "indexes": (str, str, int, int),
    "vectors": (str, bytes, bytes),
    "promotions": (int, str, str, str, str),
}
_KEPT = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]+){0,2}")


def export_corpus(paths: DataPaths, corpus: str, file: Path) -> None:
    """Writes a corpus as one zip file: its manifest with passages and vectors, and the kept originals."""
    if file.exists():
        raise InputError(f"'{file}' is there already. Delete it, or give another name.")
    with writing(paths, corpus, f"exporting corpus '{corpus}'"), TemporaryDirectory(dir=paths.root) as folder:
        opened, copied = Corpus.open(paths, corpus), Path(folder) / MANIFEST
        with opened.connect() as connection:
            connection.execute("VACUUM INTO ?", (str(copied),))
        with closing(sqlite3.connect(copied, isolation_level=None)) as connection:
            connection.execute("DELETE FROM collections")  # the address of a server is nobody's business
            connection.execute("VACUUM")
        with replacing(file) as partial, ZipFile(partial, "w", ZIP_DEFLATED) as archive:
            archive.write(copied, MANIFEST)
            for kept in sorted(set(opened.originals().values())):
                if kept.is_file():
                    archive.write(kept, f"{FILES}/{kept.name}")


def import_corpus(paths: DataPaths, file: Path, name: str = "") -> str:
    """The name of the corpus that was made of an exported one: `name`, or the one that it had.

    The file may be hostile: its members are checked as those of any archive, rows are copied one by one into a manifest
    of our own, and nothing is there until all of it is.
    """
    paths.root.mkdir(parents=True, exist_ok=True)
    with closing(Archive(file)) as archive, TemporaryDirectory(prefix=".import-", dir=paths.root) as place:
        folder, unpacked = Path(place) / "corpus", Path(place) / "unpacked"
        (folder / FILES).mkdir(parents=True)
        unpacked.mkdir()
        exported: Path | None = None
        for member, number, refusal in archive.members():
            kept = member.removeprefix(f"{FILES}/")
            if refusal or not (member == MANIFEST or (member != kept and _KEPT.fullmatch(kept))):
                raise InputError(f"'{file}' is no exported corpus: it has a member '{member}'. {refusal}".strip())
            unpacked_file = archive.unpack(number, unpacked)
            if member == MANIFEST:
                exported = unpacked_file
            elif hash_file(unpacked_file) == kept.partition(".")[0]:
                unpacked_file.rename(folder / FILES / kept)
        if exported is None:
            raise InputError(f"'{file}' is no exported corpus: it has no {MANIFEST}.")
        try:
            name = _copy_rows(exported, folder, name)
        except (sqlite3.Error, ValueError, KeyError, TypeError, DamagedError) as error:
            raise InputError(f"'{file}' is no exported corpus, or it is damaged: {error}. Export it again.") from error
        with writing(paths, name, f"importing corpus '{name}'"):
            if paths.corpus(name).exists():
                raise InputError(f"There is a corpus '{name}' already. Delete it, or give another name: --name NAME")
            paths.corpora.mkdir(exist_ok=True)
            put_in_place(folder, paths.corpus(name))
    return name


def _copy_rows(exported: Path, folder: Path, name: str) -> str:
    """Makes the manifest in `folder` of the rows of another, each of the right types; the name of its corpus."""
    with closing(sqlite3.connect(exported)) as old:
        old.execute("PRAGMA trusted_schema = OFF")
        tables = dict(old.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        if any(not str(tables[table]).startswith("CREATE TABLE") for table in ("meta", *_COLUMNS)):
            raise ValueError("it has tables that are none")  # a view may never end
        meta = dict(old.execute("SELECT key, value FROM meta"))
        if int(meta["format"]) != FORMAT_VERSION:
            raise ValueError(f"it has format {int(meta['format'])}, and this program reads {FORMAT_VERSION}")
        name = name or str(meta["name"])
        lengths = {each: int(meta[each]) for each in ("max_tokens", "overlap_tokens")}
        create_manifest(folder, name, PassageSettings(**lengths))
        with Corpus(folder).connect() as connection:
            for table, types in _COLUMNS.items():
                marks = ", ".join("?" * len(types))
                rows = (_checked(table, row, types) for row in old.execute(f"SELECT * FROM {table}"))  # noqa: S608
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
            connection.executemany("INSERT INTO meta VALUES (?, ?)", learned_mixes(meta))
            counts = [(str(int(meta[key])), key) for key in ("generation", "index_changes")]
            connection.executemany("UPDATE meta SET value = ? WHERE key = ?", counts)
    return name


def _checked(table: str, row: Sequence[object], types: Sequence[Any]) -> Sequence[object]:
    is_typed = len(row) == len(types) and all(map(isinstance, row, types))
    if not is_typed or (table == "sources" and not _KEPT.fullmatch(str(row[1]))):
        raise ValueError(f"its table of {table} has a row that is none")
    return row
