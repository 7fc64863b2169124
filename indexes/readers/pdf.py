"""A PDF → its text, page by page: headings (by the size of letters) and tables (by gaps) as Markdown has them."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import hypot
from pathlib import Path
from statistics import median
from typing import Any

from indexes.errors import UnreadableFileError, counted
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
_MARK = re.compile(r"^(?=#{1,6}[ \t])", re.MULTILINE)
_MAX_TEXT = 2**28  # characters; a hostile file can show one page a million times


def read_pdf(file: Path) -> Text:
    """The text and where each page begins in it; a sentence with the number of pages if none has text."""
    import pypdfium2

    try:
        with closing(pypdfium2.PdfDocument(file)) as pdf:
            pages = list(_pages(pdf))
    except pypdfium2.PdfiumError as error:
        raise UnreadableFileError(_PASSWORD if "assword" in str(error) else _NOT_A_PDF) from error
    if not any(page.text for page in pages):
        raise UnreadableFileError(
            f"The PDF has {counted(len(pages), 'page')} and no text: it seems to be scanned. Run OCR on it first."
        )
    text, starts = join_pages(join_words(_with_headings(pages)))
    n_blank = sum(not page.text for page in pages)
    note = f"{n_blank} of {len(pages)} pages have no text: they are blank or scanned." if n_blank else ""
    return Text(text=text, page_starts=starts, note=note)


@dataclass(frozen=True, slots=True)
class _Page:
    """The lines of a page, each with how large its letters are, in points, 0 if unknown."""

    lines: Sequence[tuple[str, float]]

    @property
    def text(self) -> str:
        return "\n".join(text for text, _ in self.lines)

    def runs(self) -> Iterator[tuple[float, list[str]]]:
        """The lines of the page, those of one size together."""
        return ((size, [text for text, _ in lines]) for size, lines in groupby(self.lines, key=lambda line: line[1]))


def _pages(pdf: Any) -> Iterator[_Page]:
    n_characters = 0
    for page in pdf:
        with closing(page), closing(page.get_textpage()) as opened:
            text: str = opened.get_text_range()
            if _RIGHT_TO_LEFT.search(text):
                text = text.replace("\r\n", "\n").strip()
                text = _MARK.sub(" ", max(_in_reading_order(opened), text, key=_n_well_formed))
                read = _Page([(line, 0.0) for line in text.split("\n")])
            else:
                read = _with_tables(_lines(opened, text))
        n_characters += len(read.text)
        if n_characters > _MAX_TEXT:
            raise UnreadableFileError(f"The PDF has more than {_MAX_TEXT:,} characters of text; split it.")
        yield read


# --- headings --------------------------------------------------------------------------------------------------

# All of these are guesses. A heading is larger than most of the text by so many points, short, and no sentence.
_LARGER = 0.9
_MOST_LINES, _MOST_CHARACTERS, _MOST_WORDS = 3, 160, 8
_MIN_SHARE, _MAX_SHARE = 0.4, 0.3  # of all characters, of the usual size and in headings: else sizes tell nothing (OCR)
_LEADERS = re.compile(r"(?:\. ?){4}")  # of a table of contents
_REPEATED = 3  # pages, and a third of all: what is larger on so many is the head of a page


def _with_headings(pages: Sequence[_Page]) -> list[str]:
    """The pages' texts, their headings as Markdown's; none where letters have no usual size."""
    n_characters: Counter[float] = Counter()
    titles: Counter[str] = Counter()
    for page in pages:
        for size, lines in page.runs():
            n_characters[size] += sum(map(len, lines))
        titles.update({_title(lines) for size, lines in page.runs() if size})
    n_known = n_characters.total() - n_characters.pop(0.0, 0)
    usual, n_usual = max(n_characters.items(), key=lambda item: item[1], default=(0.0, 0))
    most = max(_REPEATED - 1, len(pages) // 3)

    def is_heading(size: float, lines: Sequence[str]) -> bool:
        return size >= usual + _LARGER and _is_title(lines) and titles[_title(lines)] <= most

    found = Counter[float]()
    for page in pages:
        for size, lines in page.runs():
            found[size] += sum(map(len, lines)) if is_heading(size, lines) else 0
    if not usual or n_usual < _MIN_SHARE * n_known or found.total() > _MAX_SHARE * n_known:
        return [page.text for page in pages]
    sizes = sorted((size for size, n in found.items() if n), reverse=True)
    marks = {size: "#" * min(level, 6) for level, size in enumerate(sizes, start=1)}
    return [
        "\n".join(
            f"{marks[size]} {_title(lines)}" if is_heading(size, lines) else "\n".join(lines)
            for size, lines in page.runs()
        )
        for page in pages
    ]


def _title(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines[: _MOST_LINES + 1]).split())


def _is_title(lines: Sequence[str]) -> bool:
    """Whether lines may be a heading by what they say."""
    title = _title(lines)
    is_long = len(lines) > _MOST_LINES or len(title) > _MOST_CHARACTERS
    if is_long or sum(map(str.isalpha, title)) < 2 or _LEADERS.search(title):
        return False
    return not title.endswith((".", ",", ";", "。")) or len(title.split()) <= _MOST_WORDS


# --- tables ----------------------------------------------------------------------------------------------------

# In the size of the letters: a gap that no blank is; one that may part the cells of a row, if wider than its blanks;
# how wide a letter is on average, at least and at most; how far a line of the same cell is below. Guesses.
_ROW_GAP, _CELL_GAP, _NARROW, _WIDE, _SAME_CELL = 1.0, 0.36, 0.48, 0.56, 1.35
_WORD = re.compile(r"\S+")
_LABEL = re.compile(r"\W*+\w{0,3}\W*")
_PROSE = 40  # characters: two columns of such cells are columns of text


@dataclass(frozen=True, slots=True)
class _Cell:
    """A piece of a line that gaps set apart, and where its ends are."""

    left: float
    right: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a page: how large its letters are and how high it stands, in points; its cells, several in a row."""

    text: str
    size: float = 0.0
    height: float = 0.0
    cells: tuple[_Cell, ...] = ()


class Ruler:
    """Tells where the letters of a page are, in points, by pypdfium2's own functions.

    Each question takes a microsecond, and a page has thousands of letters.
    """

    def __init__(self, page: Any) -> None:
        from pypdfium2 import raw

        self._page, self._raw = page, raw
        self._matrix = raw.FS_MATRIX()
        self._four = [ctypes.c_double() for _ in range(4)]

    def letter(self, place: int) -> int:
        """The letter at a place in the page's text."""
        return int(self._raw.FPDFText_GetCharIndexFromTextIndex(self._page, place))

    def size(self, letter: int) -> float:
        """How large the letter is set, to half a point."""
        self._raw.FPDFText_GetMatrix(self._page, letter, self._matrix)
        size = self._raw.FPDFText_GetFontSize(self._page, letter) * hypot(self._matrix.c, self._matrix.d)
        return round(2.0 * float(size)) / 2

    def origin(self, letter: int) -> tuple[float, float]:
        """Where the letter begins, and how high its line stands."""
        x, y = self._four[:2]
        self._raw.FPDFText_GetCharOrigin(self._page, letter, x, y)
        return x.value, y.value

    def right(self, letter: int) -> float:
        """Where the letter ends."""
        self._raw.FPDFText_GetCharBox(self._page, letter, *self._four)
        return self._four[1].value


def _lines(page: Any, text: str) -> list[_Line]:
    """The lines of a page whose text this is; words are measured only where a line is wider than its letters are."""
    ruler, place, lines, starts = Ruler(page), 0, [], []
    for shown in text.split("\r\n"):
        text = _MARK.sub(" ", shown.rstrip().replace("\n", " ")) if "#" in shown or "\n" in shown else shown.rstrip()
        line, start = _measured(ruler, text, place) if text else (_Line(text=""), 0)
        lines.append(line)
        starts.append(start)
        place += 2 + len(shown if shown.isascii() else shown.encode("utf-16-le", "surrogatepass")[::2])
    widths = [_letter_width(line) if line.cells else 0.0 for line in lines]
    usual = 1.08 * min(_WIDE, max(_NARROW, median([*filter(None, widths)] or [_WIDE])))
    was_row = False
    for n, line in enumerate(lines):
        if line.cells and (was_row or widths[n] > usual + _ROW_GAP / len(line.text)):
            lines[n] = replace(line, cells=tuple(_cells(ruler, line, starts[n])))
        was_row = len(lines[n].cells) > 1
    return lines


def _measured(ruler: Ruler, text: str, place: int) -> tuple[_Line, int]:
    """A line that begins at this place of the page's text, as one cell, and its first letter."""
    blank = len(text) - len(text.lstrip())
    start = ruler.letter(place + blank) - blank
    middle = text.find(" ", len(text) // 2) - 1
    size = ruler.size(start + (middle if middle > blank and text[middle] != " " else blank))
    left, height = ruler.origin(start + blank)
    whole = _Cell(left, ruler.right(start + len(text) - 1), text)
    return _Line(text=text, size=size, height=height, cells=(whole,)), start


def _letter_width(line: _Line) -> float:
    """How wide a letter of a line is for its size, with the blanks; Chinese ones count twice."""
    n_letters = len(line.text) + (0 if line.text.isascii() else sum(letter > "\u2e7f" for letter in line.text))
    return (line.cells[0].right - line.cells[0].left) / (n_letters * line.size or 1.0)


def _cells(ruler: Ruler, line: _Line, start: int) -> Iterator[_Cell]:
    """The words of a line, those together between which there is only a blank."""
    words = [
        _Cell(ruler.origin(start + word.start())[0], ruler.right(start + word.end() - 1), word[0])
        for word in _WORD.finditer(line.text)
    ]
    gaps = [after.left - before.right for before, after in pairwise(words)]
    gap = min(_ROW_GAP * line.size, max(_CELL_GAP * line.size, 1.5 * min(gaps, default=0.0)))
    first = 0
    for n in range(1, len(words) + 1):
        if n == len(words) or gaps[n - 1] > gap:
            yield _Cell(words[first].left, words[n - 1].right, " ".join(word.text for word in words[first:n]))
            first = n


def _with_tables(lines: Sequence[_Line]) -> _Page:
    """The page with these lines, its tables in Markdown."""
    shown: list[tuple[str, float]] = []
    n = 0
    while n < len(lines):
        end = _end_of_rows(lines, n) if len(lines[n].cells) > 1 else n + 1
        start, table = end, list[str]()
        for first in range(n, min(n + 2, end - 1)):  # the line above a table may reach over its columns
            if not table:
                start, table = first, _table(lines[first:end])
        shown += [(line.text, line.size) for line in lines[n : start if table else end]]
        shown += [(row, 0.0) for row in table]
        n = end
    while shown and not shown[-1][0]:
        shown.pop()
    while shown and not shown[0][0]:
        shown.pop(0)
    return _Page(shown)


def _end_of_rows(lines: Sequence[_Line], first: int) -> int:
    """Behind the last of the lines that may be rows of the table which `first` begins, or go on with a cell of one."""
    second = 0.0
    for end in range(first, len(lines)):
        line = lines[end]
        if len(line.cells) > 1:
            second = line.cells[1].left
        elif not line.cells or line.cells[0].left < second - line.size / 2 or _is_apart(lines[end - 1], line):
            return end
    return len(lines)


def _columns_of(lines: Sequence[_Line]) -> list[tuple[float, float]]:
    """From where to where each column is: what no cell of these lines bridges, and cells begin or end at one place."""
    groups: list[list[_Cell]] = []
    end = 0.0
    for cell in sorted((cell for line in lines for cell in line.cells), key=lambda cell: cell.left):
        if groups and cell.left <= end:
            groups[-1].append(cell)
        else:
            groups.append([cell])
        end = max(end, cell.right)
    tolerance, names = (lines[0].size / 4, set(lines[0].cells)) if lines else (0.0, set())
    columns: list[tuple[float, float]] = []
    for cells in _under_names(groups, names):
        below = [cell for cell in cells if cell not in names]  # names of columns may stand otherwise
        is_straight = any(_are_straight(each, tolerance) for each in (cells, below))
        first = cells[0].left if is_straight or not columns else columns.pop()[0]
        columns.append((first, max(cell.right for cell in cells)))
    return columns


def _under_names(groups: Sequence[list[_Cell]], names: set[_Cell]) -> list[list[_Cell]]:
    """The groups of cells, a name that stands beside its column with it."""
    joined: list[list[_Cell]] = []
    for cells in groups:
        pair = [joined[-1], cells] if joined else []
        if sum(len(each) == 1 and each[0] in names for each in pair) == 1 == sum(map(names.isdisjoint, pair)):
            joined[-1] = [*joined[-1], *cells]
        else:
            joined.append(cells)
    return joined


def _are_straight(cells: Sequence[_Cell], tolerance: float) -> bool:
    """Whether several cells begin, end or have their middle at one place."""
    places = [[c.left for c in cells], [c.right for c in cells], [(c.left + c.right) / 2 for c in cells]]
    return len(cells) > 1 and any(max(each) - min(each) <= tolerance for each in places)


def _is_apart(above: _Line, line: _Line) -> bool:
    """Whether a line stands too far below another to go on with it."""
    return above.height - line.height > _SAME_CELL * line.size


def _table(lines: Sequence[_Line]) -> list[str]:
    """These lines as a table in Markdown; none if they have no columns in common, or are a list or columns of text."""
    columns = _columns_of(lines)
    rows: list[list[str]] = []
    above = _Line(text="")
    for line in lines:
        row = [" ".join(c.text for c in line.cells if left <= c.left <= right) for left, right in columns]
        if rows and not row[0] and not _is_apart(above, line):
            rows[-1] = [" ".join(filter(None, cells)) for cells in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
        above = line
    n_rows, n_columns = len(rows), len(columns)
    if n_columns < 2 or n_rows < (2 if n_columns > 2 else 3) or any(sum(map(bool, row)) < 2 for row in rows):
        return []
    if n_columns == 2 and (
        all(_LABEL.fullmatch(row[0]) for row in rows)
        or sum(len(cell) > _PROSE for row in rows for cell in row) > n_rows
    ):
        return []
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    rows.insert(1, ["---"] * n_columns)
    return [f"| {' | '.join(row)} |" for row in rows]


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
