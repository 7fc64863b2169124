"""Any supported file → `Document`s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path, PurePosixPath

from indexes.errors import UnreadableFileError
from indexes.formats import (
    CODE_SUFFIXES,
    RECORD_SUFFIXES,
    SUPPORTED_SUFFIXES,
    TEXT_SUFFIXES,
    kind_of,
    stem_of,
    suffix_of,
)
from indexes.readers.mail import read_mail
from indexes.readers.markdown import read_html, read_package, read_slides
from indexes.readers.pdf import read_pdf
from indexes.readers.records import read_json, read_jsonl, read_table
from indexes.readers.text import open_text, text_pieces
from indexes.readers.workbook import read_workbook
from indexes.types import Document

_NO_TEXT = "The file contains no text."


def read_documents(file: Path, source: str) -> Iterator[Document]:
    """The documents in `file`, one at a time; each has its kind, and the day of the file if it names none itself.

    A file is one document. Every record of a csv, tsv, json or jsonl file is one too, and so is every stretch of about
    a million characters of a longer text. Raises `UnreadableFileError` with a sentence for people when the file is
    empty, has no text, or is not what its name says.
    """
    moment = file.stat().st_mtime
    day = datetime.fromtimestamp(moment, UTC).date().isoformat() if 0 <= moment < 2**37 else ""
    for document in _read(file, source):
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


def _read(file: Path, source: str) -> Iterator[Document]:
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
    return iter([_read_one(file, source, suffix)])


def _read_text(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """The text as one document; a long one as several, whose ids say at which character each begins."""
    title = PurePosixPath(source).name if suffix_of(source) in CODE_SUFFIXES else stem_of(source)
    offset = n_read = 0
    with open_text(file, packed=packed) as text:
        pieces = text_pieces(text)
        first, second = next(pieces), next(pieces, None)
        if second is None:
            if not first.strip():
                raise UnreadableFileError(_NO_TEXT)
            yield Document(id=source, source=source, title=title, text=first)
            return
        for number, piece in enumerate(chain((first, second), pieces), start=1):
            if piece.strip():
                n_read += 1
                yield Document(id=f"{source}@{offset}", source=source, title=f"{title} (part {number})", text=piece)
            offset += len(piece)
    if not n_read:
        raise UnreadableFileError(_NO_TEXT)


def _read_records(file: Path, source: str, plain: str, *, packed: bool) -> Iterator[Document]:
    if plain == ".jsonl":
        return read_jsonl(file, source, packed=packed)
    if plain == ".json":
        return read_json(file, source, packed=packed)
    return read_table(file, source, delimiter="\t" if plain == ".tsv" else None, packed=packed)


def _read_one(file: Path, source: str, suffix: str) -> Document:
    title = day = ""
    starts: tuple[int, ...] = ()
    if suffix == ".pdf":
        text, starts = read_pdf(file)
    elif suffix == ".pptx":
        text, starts = read_slides(file)
    elif suffix == ".xlsx":
        text = read_workbook(file)
    elif suffix == ".eml":
        text, title, day = read_mail(file)
    elif suffix in (".html", ".htm"):
        text, title = read_html(file)
    else:
        text, title = read_package(file, suffix)
    if not text.strip():
        raise UnreadableFileError(_NO_TEXT)
    title, note = title or stem_of(source), _blank_pages(text, starts) if suffix == ".pdf" else ""
    return Document(id=source, source=source, title=title, text=text, page_starts=starts, date=day, note=note)


def _blank_pages(text: str, starts: tuple[int, ...]) -> str:
    """How many pages have no text, as a sentence; a document half of which was scanned must not look complete."""
    n_blank = sum(not text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True))
    return f"{n_blank} of {len(starts)} pages have no text: they are blank or scanned." if n_blank else ""
