"""Files into a corpus and out of it again: what the command line and the page both call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from indexes.chroma import delete_indexes, remove_passages
from indexes.corpus import Corpus, FileOutcome, delete_folder
from indexes.embedding import update_index
from indexes.encoders import load_encoder
from indexes.errors import InputError, NotFoundError, UnreadableFileError
from indexes.files import SourceFile, open_sources
from indexes.paths import DataPaths
from indexes.types import Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` files read (with the last one's outcome) or passages embedded."""

    stage: Literal["reading", "embedding"]
    done: int
    total: int
    outcome: FileOutcome | None = None


def add_files(paths: DataPaths, corpus: str, files: Sequence[Path], encoder: Encoder) -> Iterator[Progress]:
    """Progress while `files` (and folders) are read and the indexes of `corpus` brought up to date.

    `encoder`'s index is built if need be; those by other encoders are brought up to date too, as long as they load.
    Every step can be interrupted and repeated: what was done is not done again.
    """
    with open_sources(files) as named:
        if not files:
            Corpus.open(paths, corpus)  # nothing to add means "bring the index up to date": there has to be one
        manifest = Corpus.open_or_create(paths, corpus, encoder)
        yield from _read_files(manifest, named, encoder)
    for each in [encoder, *_other_encoders(paths, manifest, encoder)]:
        for done, total in update_index(paths, manifest, each):
            yield Progress(stage="embedding", done=done, total=total)


def _read_files(manifest: Corpus, named: list[SourceFile], encoder: Encoder) -> Iterator[Progress]:
    for done, file in enumerate(named, start=1):
        outcome = _read_file(manifest, file, encoder)
        yield Progress(stage="reading", done=done, total=len(named), outcome=outcome)
    if not manifest.sources():
        delete_folder(manifest.folder)
        raise InputError(
            f"None of the {len(named)} file(s) could be read, so corpus '{manifest.name}' was not made. "
            "Give at least one file with text."
        )


def _read_file(manifest: Corpus, file: SourceFile, encoder: Encoder) -> FileOutcome:
    try:
        with file.on_disk() as path:
            return manifest.add_file(file.source, path, encoder.tokenizer)
    except UnreadableFileError as error:
        return FileOutcome(source=file.source, status="failed", reason=str(error))


def _other_encoders(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Iterator[Encoder]:
    for info in corpus.indexes():
        if info.encoder != encoder.name:
            try:
                yield load_encoder(info.encoder, paths)
            except NotFoundError:
                continue  # its encoder is gone; the index still answers for the passages that it has


def remove_sources(paths: DataPaths, corpus: str, sources: Sequence[str]) -> None:
    """Takes `sources` out of the corpus and out of every index of it."""
    manifest = Corpus.open(paths, corpus)
    for source in sources:
        manifest.remove_source(source)
    remove_passages(paths, manifest)


def delete_corpus(paths: DataPaths, corpus: str) -> None:
    """Deletes the corpus with its indexes and kept originals."""
    manifest = Corpus.open(paths, corpus)
    delete_indexes(paths, manifest)
    delete_folder(manifest.folder)
