"""A PDF → its text, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from indexes.errors import UnreadableFileError

PAGE_BREAK = "\n\n"
_NOT_A_PDF = "The name says PDF, but the content is damaged or something else."
_PASSWORD = "The PDF asks for a password; save it without one."  # noqa: S105
_MAX_TEXT = 2**28  # characters; a hostile file can show one page a million times


def read_pdf(file: Path) -> tuple[str, tuple[int, ...]]:
    """The text and where each page begins in it; a sentence with the number of pages if none has text."""
    import pypdfium2

    try:
        with closing(pypdfium2.PdfDocument(file)) as pdf:
            pages = list(_pages(pdf))
    except pypdfium2.PdfiumError as error:
        raise UnreadableFileError(_PASSWORD if "assword" in str(error) else _NOT_A_PDF) from error
    if not any(pages):
        raise UnreadableFileError(
            f"The PDF has {len(pages)} page(s) and no text: it seems to be scanned. Run OCR on it first."
        )
    return join_pages(pages)


def _pages(pdf: Any) -> Iterator[str]:
    n_characters = 0
    for page in pdf:
        with closing(page), closing(page.get_textpage()) as opened:
            text: str = opened.get_text_range().replace("\r\n", "\n").strip()
        n_characters += len(text)
        if n_characters > _MAX_TEXT:
            raise UnreadableFileError(f"The PDF has more than {_MAX_TEXT:,} characters of text; split it.")
        yield text


def join_pages(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The pages as one text, and the character at which each begins."""
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(PAGE_BREAK)
    return PAGE_BREAK.join(pages), tuple(starts)
