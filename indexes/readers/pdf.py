"""A PDF → its text, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from indexes.errors import UnreadableFileError
from indexes.readers.text import Text

PAGE_BREAK = "\n\n"
_NOT_A_PDF = "The name says PDF, but the content is damaged or something else."
_PASSWORD = "The PDF asks for a password; save it without one."  # noqa: S105
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LEFT_TO_RIGHT = re.compile(
    r"[^\W\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc](?:[\w.,:/@-]*[^\W\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc])?"
)
_GAP = 0.35  # of a letter's width; a guess
_HYPHENATED = re.compile(r"\w+-\w+")
_DIVIDED = re.compile(r"(\w+)(?:[\ufffe\x02\u00ad]\s*|[-‐]\n\s*)(\w+)")
_MAX_TEXT = 2**28  # characters; a hostile file can show one page a million times


def read_pdf(file: Path) -> Text:
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
    text, starts = join_pages(join_words(pages))
    n_blank = sum(not page for page in pages)
    note = f"{n_blank} of {len(pages)} pages have no text: they are blank or scanned." if n_blank else ""
    return Text(text=text, page_starts=starts, note=note)


def _pages(pdf: Any) -> Iterator[str]:
    n_characters = 0
    for page in pdf:
        with closing(page), closing(page.get_textpage()) as opened:
            text: str = opened.get_text_range().replace("\r\n", "\n").strip()
            if _RIGHT_TO_LEFT.search(text):
                text = _in_reading_order(opened)
        n_characters += len(text)
        if n_characters > _MAX_TEXT:
            raise UnreadableFileError(f"The PDF has more than {_MAX_TEXT:,} characters of text; split it.")
        yield text


def join_words(pages: Sequence[str]) -> list[str]:
    """The pages with the words that the end of a line divides as one.

    The hyphen stays where it is the word's own: beside a capital, a number or a single letter, and in words that the
    document writes so within a line.
    """
    known = {word.lower() for page in pages for word in _HYPHENATED.findall(page)}

    def join(found: re.Match[str]) -> str:
        before, after = found[1], found[2]
        own = len(before) == 1 or f"{before}-{after}".lower() in known
        return f"{before}-{after}" if own or not (before[-1].islower() and after[0].islower()) else before + after

    return [_DIVIDED.sub(join, page) for page in pages]


def _in_reading_order(page: Any) -> str:
    """The text of a page with words from right to left, by where each letter stands: programs differ in their order."""
    lines: list[tuple[float, float, list[tuple[float, float, str]]]] = []
    for place in range(page.count_chars()):
        character = page.get_text_range(place, 1)
        if not character.strip():
            continue
        left, bottom, right, top = page.get_charbox(place, loose=True)
        middle = (bottom + top) / 2
        line = next((each for each in reversed(lines[-8:]) if each[0] <= middle <= each[1]), None)
        if line is None:
            lines.append(line := (bottom, top, []))
        line[2].append((left, right, character))
    return "\n".join(_line_in_order(letters) for _, _, letters in sorted(lines, key=lambda line: -line[1]))


def _line_in_order(letters: list[tuple[float, float, str]]) -> str:
    """The letters of a line as they are read, with a blank where there is a gap between two."""
    letters = sorted(letters)
    widths = sorted(right - left for left, right, _ in letters)
    gap = widths[len(widths) // 2] * _GAP
    shown = ""
    for number, (left, _, character) in enumerate(letters):
        shown += " " * (number > 0 and left - letters[number - 1][1] > gap) + character
    if not _RIGHT_TO_LEFT.search(shown):
        return shown
    return _LEFT_TO_RIGHT.sub(lambda run: run[0][::-1], shown[::-1])


def join_pages(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The pages as one text, and the character at which each begins."""
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(PAGE_BREAK)
    return PAGE_BREAK.join(pages), tuple(starts)
