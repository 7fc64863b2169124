"""A PDF → its text, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.errors import UnreadableFileError
from indexes.readers.text import Text

PAGE_BREAK = "\n\n"
_NOT_A_PDF = "The name says PDF, but the content is damaged or something else."
_PASSWORD = "The PDF asks for a password; save it without one."  # noqa: S105
_LETTERS = r"\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"  # Hebrew, Arabic, Syriac …
_RIGHT_TO_LEFT = re.compile(f"[{_LETTERS}]")
_RUN_TO_LEFT = re.compile(f"[{_LETTERS}](?:[^\\w\\n]*[{_LETTERS}])*")
_RUN_TO_RIGHT = re.compile(f"%?[^\\W_{_LETTERS}](?:[^{_LETTERS}]*[^\\W_{_LETTERS}])?")
_NUMBER = re.compile(r"%?\d(?:[\d.,:/-]*\d)?")
_ENDS, _BEGINS = re.compile(r"\w[ךםןףץةى]\b|\bال\w"), re.compile(r"\b[ךםןףץةى]\w|\wلا\b")
_GAP = 0.35  # of a letter's width, between words; like the next, a guess
_COLUMN_GAP = 2.0  # of a line's height, between columns
_HYPHENATED = re.compile(r"\b\w+-\w+")
_DIVIDED = re.compile(r"\b(\w+)(?:[\ufffe\x02\u00ad]\s*|[-‐]\n\s*)(\w+)")
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
                text = max(_in_reading_order(opened), text, key=_n_well_formed)
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


@dataclass(frozen=True, slots=True, order=True)
class Letter:
    """One character of a page and where its ends are; `place` is its number in the file."""

    left: float
    right: float
    text: str
    place: int


def _in_reading_order(page: Any) -> str:
    """The text of a page with words from right to left, by where each letter stands: programs differ in their order."""
    rows: list[tuple[float, float, list[Letter]]] = []
    for place in range(page.count_chars()):
        text = page.get_text_range(place, 1)
        if not text.strip():
            continue
        left, bottom, right, top = page.get_charbox(place, loose=True)
        row = next((each for each in reversed(rows) if each[0] <= (bottom + top) / 2 <= each[1]), None)
        if row is None:
            rows.append(row := (bottom, top, []))
        row[2].append(Letter(left, right, text, place))
    lines = [line for bottom, top, letters in rows for line in _columns(letters, _COLUMN_GAP * (top - bottom))]
    lines.sort(key=lambda line: min(letter.place for letter in line))
    letters = "".join(letter.text for line in lines for letter in line)
    is_main = 2 * len(_RIGHT_TO_LEFT.findall(letters)) > sum(letter.isalpha() for letter in letters)
    return "\n".join(line_in_order(line, right_to_left=is_main) for line in lines)


def _columns(row: list[Letter], gap: float) -> Iterator[list[Letter]]:
    """The letters of a row, from left to right, divided where there is a gap between columns."""
    line: list[Letter] = []
    for letter in sorted(row):
        if line and letter.left - line[-1].right > gap:
            yield line
            line = []
        line.append(letter)
    yield line


def line_in_order(line: Sequence[Letter], *, right_to_left: bool) -> str:
    """The letters of a line as they are read, with a blank where there is a gap between two; the text as a whole is
    from right to left, or has only some words that are.
    """
    widths = sorted(letter.right - letter.left for letter in line)
    gap = widths[len(widths) // 2] * _GAP
    shown, end = "", line[0].left
    for letter in line:
        shown += " " * (letter.left - end > gap) + letter.text
        end = letter.right
    if not right_to_left or not _RIGHT_TO_LEFT.search(shown):
        return _RUN_TO_LEFT.sub(lambda run: run[0][::-1], shown)
    return _RUN_TO_RIGHT.sub(lambda run: _turned(run[0]), shown[::-1])


def _turned(run: str) -> str:
    """What is from left to right within a line that is not: other words as a whole, numbers each for itself."""
    if any(character.isalpha() for character in run):
        return run[::-1]
    return _NUMBER.sub(lambda number: number[0][::-1], run)


def _n_well_formed(text: str) -> int:
    """How many words end in letters that only end words, or begin with the article; fewer those turned round."""
    return len(_ENDS.findall(text)) - len(_BEGINS.findall(text))


def join_pages(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The pages as one text, and the character at which each begins."""
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(PAGE_BREAK)
    return PAGE_BREAK.join(pages), tuple(starts)
