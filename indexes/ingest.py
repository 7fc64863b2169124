"""Files into a corpus and out of it again, its passages into vectors: what the commands and the page both call."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from indexes.chroma import (
    collection_name,
    drop_collection,
    drop_unless_used,
    existing_collection,
    holds_vectors_of,
    is_settled,
    note_settled,
    open_collection,
    sentences,
    shared_collection,
    write_passages,
)
from indexes.corpus import Corpus
from indexes.encoders.loading import load_encoder
from indexes.encoders.precision import as_indexed
from indexes.errors import InputError, NotFoundError, StoreError, UnreadableFileError, WeightsError
from indexes.files import SourceFile, open_sources
from indexes.locks import writing
from indexes.manifest import delete_folder
from indexes.passage_index import (
    compare,
    delete_indexes,
    drop_orphans,
    drop_torn,
    find_index,
    is_in_step,
    mark_finished,
    mark_unfinished,
    refresh_metadata,
    remove_passages,
    reuse_vectors,
)
from indexes.paths import DataPaths
from indexes.types import Encoder, FileOutcome, IndexInfo, Passage, Vectors

if TYPE_CHECKING:
    from indexes.chroma import Collection


_BATCH = (
    512  # passages that are read, encoded or written at a time, or more on a GPU; three times as many are in memory
)


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
    generation = corpus.generation()
    previous = find_index(corpus, encoder)
    encoder = as_indexed(encoder, [info.fingerprint for info in _own_first(corpus, encoder)])
    collection = shared_collection(paths, corpus, encoder) or open_collection(paths, corpus, encoder)
    with sentences(paths, f"comparing it with corpus '{corpus.name}'"):
        is_own = previous and holds_vectors_of(previous, encoder) and previous.collection == collection.name
        if previous and is_own and is_in_step(corpus, previous, collection):
            yield 0, 0
            return
        difference = compare(corpus, collection)
        missing = reuse_vectors(corpus, collection, difference)
    yield 0, len(missing)
    for done in _embed(collection, encoder.name, (embed or embed_here)(corpus, missing, encoder)):
        yield done, len(missing)
    with sentences(paths, f"bringing it in step with corpus '{corpus.name}'"):
        refresh_metadata(corpus, collection)
        drop_orphans(collection, difference)  # last: until here whoever asks finds what was there before
    info = IndexInfo(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        n_passages=difference.n_wanted,
        collection=collection.name,
    )
    corpus.record_index(info, generation)
    # The collection before, and one of its own that was begun before there was one to share.
    for name in {previous.collection if previous else collection.name, collection_name(corpus, encoder)}:
        drop_unless_used(paths, corpus, name)


def _own_first(corpus: Corpus, encoder: Encoder) -> list[IndexInfo]:
    """The indexes of `corpus`, that by `encoder` first."""
    return sorted(corpus.indexes(), key=lambda info: info.encoder != encoder.name)


def _embed(collection: Collection, name: str, embedded: Iterable[tuple[Sequence[Passage], Vectors]]) -> Iterator[int]:
    """How many passages are written, after each batch. While one is written, the next is embedded by encoder `name`."""
    n_sent = 0
    with ThreadPoolExecutor(1, "writer") as writer:
        writing: Future[None] | None = None
        for passages, vectors in embedded:
            if not np.isfinite(vectors).all():
                raise WeightsError(
                    f"Encoder '{name}' gave vectors that are no numbers (NaN or infinite): its weights are damaged, or "
                    "it was trained too fast. Copy or train it again, or take another encoder."
                )
            before, n_before = writing, n_sent
            writing = writer.submit(write_passages, collection, passages, vectors)  # whoever stops here loses nothing
            n_sent += len(passages)
            if before:
                before.result()  # an error of the store ends the update here
                yield n_before
        if writing:
            writing.result()
            yield n_sent


def embed_here(corpus: Corpus, ids: Sequence[str], encoder: Encoder) -> Iterator[tuple[Sequence[Passage], Vectors]]:
    """Passages with their vectors, embedded in this process. While one batch is encoded, the next is read: encoder and
    SQLite let other threads run.
    """
    if not ids:
        return  # an encoder is not loaded for nothing
    with ThreadPoolExecutor(1, "reader") as reader:
        at_once = max(_BATCH, getattr(encoder, "batch_size", 0))
        for passages in _read_ahead(reader, corpus, ids, at_once):
            yield passages, encoder.encode_passages([passage.full_text for passage in passages])


def _read_ahead(
    reader: ThreadPoolExecutor, corpus: Corpus, ids: Sequence[str], at_once: int
) -> Iterator[list[Passage]]:
    """The passages with these ids, `at_once` at a time, a batch of which is read in advance."""
    batches = [list(ids[first : first + at_once]) for first in range(0, len(ids), at_once)]
    reading = [reader.submit(corpus.get_passages, batch) for batch in batches[:1]]
    for number in range(len(batches)):
        passages = reading.pop().result()
        reading = [reader.submit(corpus.get_passages, batch) for batch in batches[number + 1 : number + 2]]
        yield passages


_RESERVE = 2**26  # bytes; half a minute's writing, and far more than opening the store takes
_MAX_SHARE = 4  # of a small disk, no more than this part is kept free


def check_space(paths: DataPaths) -> None:
    """Raises a sentence when DATA_DIR's disk is all but full: SQLite needs room even to open the store."""
    usage = shutil.disk_usage(paths.root)
    reserve = min(_RESERVE, usage.total // _MAX_SHARE)
    if usage.free < reserve:
        raise StoreError(
            f"The disk of {paths.root} has {usage.free / 2**20:.0f} MiB left, and {reserve / 2**20:.0f} MiB are kept "
            "free so that what is there can be searched. Free some space and run the same command again; it goes on "
            "where it stopped."
        )


OnWait = Callable[[str], None]
_PATIENCE_S = 3600.0


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
    files: Sequence[Path],
    encoder: Encoder,
    *,
    sync: bool = False,
    wait_s: float = 0.0,
    on_wait: OnWait = lambda sentence: None,
    embed: Embed | None = None,
) -> Iterator[Progress]:
    """Progress while `files` (and folders) are read and the indexes of `corpus` brought up to date.

    `encoder`'s index is built if need be; those by other encoders are brought up to date too, as long as they load.
    With `sync` the corpus has exactly these files afterwards: its other sources are removed. Every step can be
    interrupted and repeated: what was done is not done again. `embed` embeds for `encoder`'s index elsewhere than in
    this process.
    """
    with writing(paths, corpus, f"adding files to corpus '{corpus}'", wait_s=wait_s, on_wait=on_wait):
        with open_sources(files) as named:
            if not files:
                Corpus.open(paths, corpus)  # nothing to add means "bring the index up to date": there has to be one
            if sync and all(file.skipped for file in named):
                raise InputError(
                    f"No file was found to keep corpus '{corpus}' in step with, so nothing was removed. Check the "
                    f"path; python -m indexes delete '{corpus}' deletes it."
                )
            check_space(paths)
            manifest = Corpus.open_or_create(paths, corpus, encoder)
            for event in _read_files(manifest, named, _gone(manifest, files, named, sync=sync), encoder, sync=sync):
                yield event
                if event.done < event.total:
                    check_space(paths)
        if is_settled(paths, manifest, encoder):
            yield Progress(stage="embedding", done=0, total=0)
            return
        with _whole(paths, manifest, on_wait):
            for done, total in _update(paths, manifest, encoder, embed):
                yield Progress(stage="embedding", done=done, total=total)
            for each in _encoders_behind(paths, manifest, encoder):
                for done, total in _update(paths, manifest, each):
                    yield Progress(stage="embedding", done=done, total=total)
        note_settled(paths, manifest)


def index_corpus(
    paths: DataPaths,
    corpus: Corpus,
    encoder: Encoder,
    *,
    wait_s: float = _PATIENCE_S,
    on_wait: OnWait = lambda sentence: None,
) -> Iterator[tuple[int, int]]:
    """(passages embedded, passages to embed) while `encoder`'s index comes in step, and nobody else writes.

    It waits for another writer: who calls this is in the middle of something long.
    """
    doing = f"indexing corpus '{corpus.name}'"
    with writing(paths, corpus.name, doing, wait_s=wait_s, on_wait=on_wait), _whole(paths, corpus, on_wait):
        yield from _update(paths, corpus, encoder)


@contextmanager
def _whole(paths: DataPaths, corpus: Corpus, say: OnWait) -> Iterator[None]:
    """Collections are written inside, after what a killed writer tore was taken away; who is killed leaves a mark."""
    for encoder in drop_torn(paths, corpus):
        say(f"The index by '{encoder}' was torn when a program died while writing it; it is built anew.")
    mark_unfinished(paths, corpus)
    try:
        yield
    except StoreError:
        raise  # a full disk can tear a graph as well
    except BaseException:
        mark_finished(paths, corpus)  # stopped between two writes
        raise
    mark_finished(paths, corpus)


def _update(
    paths: DataPaths, corpus: Corpus, encoder: Encoder, embed: Embed | None = None
) -> Iterator[tuple[int, int]]:
    for done, total in update_index(paths, corpus, encoder, embed):
        if done < total:
            check_space(paths)
        yield done, total


def _gone(manifest: Corpus, files: Sequence[Path], named: Sequence[SourceFile], *, sync: bool) -> set[str]:
    """The sources that are no files any more: what a given folder had and has not, with `sync` every other one."""
    folders = tuple(f"{path.resolve().name}/" for path in files if path.is_dir())
    known = {info.source for info in manifest.sources()}
    return {source for source in known.difference(file.source for file in named) if sync or source.startswith(folders)}


def _read_files(
    manifest: Corpus, named: Sequence[SourceFile], gone: set[str], encoder: Encoder, *, sync: bool
) -> Iterator[Progress]:
    failed: list[str] = []
    for done, file in enumerate(named, start=1):
        outcome = _read_file(manifest, file, encoder, gone)
        if outcome.status == "failed":
            failed.append(f"{file.source}/")
        yield Progress(stage="reading", done=done, total=len(named), outcome=outcome)
    if sync:
        # What an archive held before it could not be opened is not known to be gone.
        left = {info.source for info in manifest.sources() if not info.source.startswith(tuple(failed))}
        for source in sorted(gone & left):
            manifest.remove_source(source)
            outcome = FileOutcome(source=source, status="removed", reason="no longer among the files")
            yield Progress(stage="reading", done=len(named), total=len(named), outcome=outcome)
    for stray in manifest.stray_files():  # of an add before this one, which was killed
        stray.unlink(missing_ok=True)
    if not manifest.sources():
        delete_folder(manifest.folder)
        n_files = sum(not file.skipped for file in named)
        raise InputError(
            f"None of the {n_files} file(s) could be read, so corpus '{manifest.name}' was not made. "
            "Give at least one file with text."
        )


def _read_file(manifest: Corpus, file: SourceFile, encoder: Encoder, gone: set[str]) -> FileOutcome:
    if file.skipped:
        return FileOutcome(source=file.source, status="skipped", reason=file.skipped)
    try:
        with file.on_disk() as path:
            return manifest.add_file(file.source, path, encoder.tokenizer, gone)
    except UnreadableFileError as error:
        return FileOutcome(source=file.source, status="failed", reason=str(error))


def _encoders_behind(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Iterator[Encoder]:
    """The other encoders of `corpus` whose index lacks what was added; the others are not even loaded."""
    for info in corpus.indexes():
        if info.encoder == encoder.name:
            continue
        try:
            if not _is_there_and_in_step(paths, corpus, info):
                yield load_encoder(info.encoder, paths)
        except NotFoundError:
            continue  # its encoder is gone; the index still answers for the passages that it has


def _is_there_and_in_step(paths: DataPaths, corpus: Corpus, info: IndexInfo) -> bool:
    try:
        return is_in_step(corpus, info, existing_collection(paths, info))
    except NotFoundError:
        return False


def remove_sources(paths: DataPaths, corpus: str, sources: Sequence[str]) -> None:
    """Takes `sources` out of the corpus and out of every index of it."""
    with writing(paths, corpus, f"removing files from corpus '{corpus}'"):
        manifest = Corpus.open(paths, corpus)
        for source in sources:
            manifest.remove_source(source)
        remove_passages(paths, manifest)


def delete_corpus(paths: DataPaths, corpus: str) -> None:
    """Deletes the corpus with its indexes and kept originals."""
    Corpus.open(paths, corpus)
    with writing(paths, corpus, f"deleting corpus '{corpus}'"):
        manifest = Corpus.open(paths, corpus)
        delete_indexes(paths, manifest)
        for begun in manifest.collections():
            drop_collection(paths, begun.name)
        delete_folder(manifest.folder)
