"""Files into a corpus and out of it again: what the command line and the page both call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from indexes.chroma import delete_indexes, remove_passages
from indexes.corpus import Corpus
from indexes.deleting import delete_folder
from indexes.embedding import Embed, update_index
from indexes.encoders import load_encoder
from indexes.errors import InputError, NotFoundError, StoreError, UnreadableFileError
from indexes.files import SourceFile, open_sources
from indexes.locks import writing
from indexes.paths import DataPaths
from indexes.reconciling import is_in_step
from indexes.records import FileOutcome, IndexInfo
from indexes.settled import is_settled, note_settled
from indexes.space import check_space
from indexes.store import drop_collection, existing_collection
from indexes.torn import drop_torn, mark_finished, mark_unfinished
from indexes.types import Encoder

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
            if sync and not named:
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
        raise InputError(
            f"None of the {len(named)} file(s) could be read, so corpus '{manifest.name}' was not made. "
            "Give at least one file with text."
        )


def _read_file(manifest: Corpus, file: SourceFile, encoder: Encoder, gone: set[str]) -> FileOutcome:
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
