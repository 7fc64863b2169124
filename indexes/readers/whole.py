"""A file that has to be read as a whole (pdf, html, Office, e-book, mail) → its `Document`."""

from __future__ import annotations

from pathlib import Path

from indexes.errors import UnreadableFileError
from indexes.formats import stem_of, suffix_of
from indexes.readers.mail import read_mail
from indexes.readers.markdown import read_html, read_package, read_slides
from indexes.readers.pdf import read_pdf
from indexes.readers.workbook import read_workbook
from indexes.types import Document

NO_TEXT = "The file contains no text."


def read_one(file: Path, source: str) -> Document:
    """The one document in `file`; raises `UnreadableFileError` if there is no text to be had."""
    suffix = suffix_of(source)
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
        raise UnreadableFileError(NO_TEXT)
    title, note = title or stem_of(source), _blank_pages(text, starts) if suffix == ".pdf" else ""
    return Document(id=source, source=source, title=title, text=text, page_starts=starts, date=day, note=note)


def _blank_pages(text: str, starts: tuple[int, ...]) -> str:
    """How many pages have no text, as a sentence; a document half of which was scanned must not look complete."""
    n_blank = sum(not text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True))
    return f"{n_blank} of {len(starts)} pages have no text: they are blank or scanned." if n_blank else ""
