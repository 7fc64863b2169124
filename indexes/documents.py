"""Any supported file → `Document`s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path, PurePosixPath

from indexes.errors import UnreadableFileError
from indexes.files import CODE_SUFFIXES, RECORD_SUFFIXES, SUPPORTED_SUFFIXES, TEXT_SUFFIXES, kind_of, stem_of, suffix_of
from indexes.readers.process import NO_TEXT, ReadOne, read_apart
from indexes.readers.records import read_json, read_jsonl, read_table
from indexes.readers.text import open_text, text_pieces
from indexes.types import Document


def read_documents(file: Path, source: str, read_one: ReadOne = read_apart) -> Iterator[Document]:
    """The documents in `file`, one at a time; each has its kind, and the day of the file if it names none itself.

    A file is one document. Every record of a csv, tsv, json or jsonl file is one too, and so is every stretch of about
    a million characters of a longer text. `read_one` reads what has to be read as a whole. Raises `UnreadableFileError`
    with a sentence for people when the file is empty, has no text, or is not what its name says.
    """
    moment = file.stat().st_mtime
    day = datetime.fromtimestamp(moment, UTC).date().isoformat() if 0 <= moment < 2**37 else ""
    for document in _read(file, source, read_one):
        yield replace(
            document,
            id=_storable(document.id),
            title=_storable(document.title),
            text=_storable(document.text),
            kind=kind_of(source),
            date=document.date or day,
        )


def _storable(text: str) -> str:
    """The text without what neither SQLite nor a tokenizer takes; every character keeps its place."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _read(file: Path, source: str, read_one: ReadOne) -> Iterator[Document]:
    suffix = suffix_of(source)
    if suffix not in SUPPORTED_SUFFIXES:
        supported = ", ".join((*SUPPORTED_SUFFIXES, ".zip"))
        raise UnreadableFileError(f"'{suffix or source}' files cannot be read; supported: {supported}.")
    if file.stat().st_size == 0:
        raise UnreadableFileError("The file is empty.")
    packed = suffix.endswith(".gz")
    plain = suffix.removesuffix(".gz")
    if plain in TEXT_SUFFIXES:
        return _read_text(file, source, packed=packed)
    if plain in RECORD_SUFFIXES:
        return _read_records(file, source, plain, packed=packed)
    return iter([read_one(file, source)])


def _read_text(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """The text as one document; a long one as several, whose ids say at which character each begins."""
    title = PurePosixPath(source).name if suffix_of(source) in CODE_SUFFIXES else stem_of(source)
    offset = n_read = 0
    with open_text(file, packed=packed) as text:
        pieces = text_pieces(text)
        first, second = next(pieces), next(pieces, None)
        if second is None:
            if not first.strip():
                raise UnreadableFileError(NO_TEXT)
            yield Document(id=source, source=source, title=title, text=first)
            return
        for number, piece in enumerate(chain((first, second), pieces), start=1):
            if piece.strip():
                n_read += 1
                yield Document(id=f"{source}@{offset}", source=source, title=f"{title} (part {number})", text=piece)
            offset += len(piece)
    if not n_read:
        raise UnreadableFileError(NO_TEXT)


def _read_records(file: Path, source: str, plain: str, *, packed: bool) -> Iterator[Document]:
    if plain == ".jsonl":
        return read_jsonl(file, source, packed=packed)
    if plain == ".json":
        return read_json(file, source, packed=packed)
    return read_table(file, source, delimiter="\t" if plain == ".tsv" else None, packed=packed)
