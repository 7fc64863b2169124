"""csv, tsv, json and jsonl: every record is a document, read one at a time."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mode, multimode
from typing import Any, TextIO

from indexes.errors import UnreadableFileError
from indexes.readers.text import MAX_WHOLE, guess_note, open_text
from indexes.types import Document

_MAX_FIELD = 2**24  # characters of one cell or line; more of them are a quote that was never closed
_SAMPLE = 2**16  # characters from which a table's delimiter and header are told
_MAX_BANNER = 30  # rows above a header
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=([^\r\n])\"?[^\S\n]*(?:\n|\Z)", re.IGNORECASE)
_ESCAPED_QUOTE = re.compile(r"[^\\,;|\t\n]\\\"")
_TEXTS = ("text", "contents")
_IDS = ("id", "_id")
_BEIR = {"_id", "title", "text", "metadata"}  # whose metadata (an address, numbers) are no text
Fields = Sequence[tuple[str, Any]]  # the names of columns (or keys) with their values; a name may come twice


def read_table(file: Path, source: str, *, delimiter: str | None, packed: bool) -> Iterator[Document]:
    """The rows of a table with a header line; the `delimiter` is told from the first rows if none is given."""
    csv.field_size_limit(_MAX_FIELD)
    with open_text(file, packed=packed) as text:
        sample = text.read(_SAMPLE)
        text.seek(0)
        if marked := _SEPARATOR_LINE.match(sample):
            text.readline()
            sample, delimiter = sample[marked.end() :], marked[1]
        how = _dialect(sample, delimiter)
        rows, n_read = csv.reader(text, **how), 0
        try:
            header = find_header(_sample_rows(sample, how))
            above = [[cell.strip() for cell in next(rows, []) if cell.strip()] for _ in range(header)]
            names = [name.strip() for name in next(rows, [])]
            if not any(names):
                raise UnreadableFileError("A header line with column names was expected, but there is none.")
            banner = " ".join(cell for row in above for cell in row)
            for number, row in enumerate(filter(None, rows), start=1):
                fields = [(column_name(names, place), cell.strip()) for place, cell in enumerate(row) if cell.strip()]
                if document := _to_document(fields, source, number, banner, guess_note(text)):
                    n_read += 1
                    yield document
        except csv.Error as error:
            raise UnreadableFileError(
                f"The table cannot be read near line {rows.line_num}: {error}. Is a quote not closed?"
            ) from error
    if not n_read:
        raise UnreadableFileError("The table has a header but no rows with text.")


def column_name(names: Sequence[str], place: int) -> str:
    """What the column at `place` is called: by the header, or by its number where that says nothing."""
    return (names[place] if place < len(names) else "") or f"column {place + 1}"


def find_header(rows: Sequence[Sequence[str]]) -> int:
    """The place of the row with the columns' names: the first that is none of the lines above a table.

    Such a line fills fewer cells than the rows usually do: one cell, or any number where a blank line follows.
    """
    filled = [sum(1 for cell in row if cell and not cell.isspace()) for row in rows]
    usual = mode([n for n in filled if n] or [0])
    start = 0
    for place, n in enumerate(filled[:_MAX_BANNER]):
        if not n and any(filled[:place]) and max(filled[:place]) < usual:
            start = place + 1
    for place in range(start, min(len(rows), start + _MAX_BANNER)):
        is_comment = bool(rows[place]) and rows[place][0].startswith("#") and filled[place] < usual
        if filled[place] and not is_comment and (filled[place] > 1 or usual <= 1):
            return place
    return next((place for place, n in enumerate(filled) if n), 0)


def _dialect(sample: str, delimiter: str | None) -> dict[str, Any]:
    """How the rows are written: by which delimiter most of them have as many cells as the usual row.

    A quote is escaped by a backslash where that makes rows more alike.
    """
    escapes = (None, "\\") if _ESCAPED_QUOTE.search(sample) else (None,)
    hows = [
        {"delimiter": each, "escapechar": escape, "doublequote": escape is None, "skipinitialspace": True}
        for each in ([delimiter] if delimiter else ",;\t|")
        for escape in escapes
    ]
    return max(hows, key=lambda how: _likeness(_sample_rows(sample, how)))


def _likeness(rows: list[list[str]]) -> tuple[bool, float, int, bool]:
    """(has columns, share of rows as wide as the usual one, that width, no quote is left in a cell)."""
    widths = [len(row) for row in rows if row]
    usual = max(multimode(widths), default=0)
    share = sum(width == usual for width in widths) / (len(widths) or 1)
    is_clean = not any('\\"' in cell or ("\\" in cell and cell.endswith('"')) for row in rows for cell in row)
    return usual > 1, round(share, 1), usual, is_clean


def _sample_rows(sample: str, how: dict[str, Any]) -> list[list[str]]:
    """The rows of a sample, the last of which may be cut."""
    rows = []
    try:
        for row in csv.reader(io.StringIO(sample), **how):
            rows.append(row)
    except csv.Error:
        pass  # the cut is within a quote
    return rows[:-1] if len(sample) == _SAMPLE and len(rows) > 1 else rows


def read_jsonl(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """The records of a file with one JSON object a line."""
    n_read = 0
    with open_text(file, packed=packed) as text:
        for number, line in enumerate(_lines(text), start=1):
            if line.strip() and (document := _parse_line(line, source, number, guess_note(text))):
                n_read += 1
                yield document
    if not n_read:
        raise UnreadableFileError("No record with text was found.")


def _lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(_MAX_FIELD):
        if len(line) == _MAX_FIELD and not line.endswith("\n"):
            raise UnreadableFileError(f"A line has more than {_MAX_FIELD:,} characters; each must be one record.")
        yield line


def _parse_line(line: str, source: str, number: int, note: str) -> Document | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"Line {number} is not JSON; each line must be one record with a text.") from error
    if not isinstance(record, dict):
        raise UnreadableFileError(f'Line {number} is not a record; expected {{"id": …, "title": …, "text": …}}.')
    return _to_document(list(record.items()), source, number, note=note)


def read_json(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """A JSON list as one document for each of its records, anything else as one document."""
    with open_text(file, packed=packed) as text:
        content, note = text.read(MAX_WHOLE + 1), guess_note(text)
    if len(content) > MAX_WHOLE:
        raise UnreadableFileError(
            f"The file has more than {MAX_WHOLE:,} characters of JSON, which is read whole. Save it as .jsonl, one "
            "record a line, which may have any length."
        )
    try:
        value = json.loads(content)
        documents = [
            _to_document(
                list(record.items()) if isinstance(record, dict) else [("", record)], source, number, note=note
            )
            for number, record in enumerate(value if isinstance(value, list) else [value], start=1)
        ]
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UnreadableFileError(
            f"The name says JSON, but the content is not{place}, or too deeply nested."
        ) from error
    found = [document for document in documents if document]
    if not found:
        raise UnreadableFileError("No record with text was found.")
    return iter(found)


def _lines_of(value: Any, name: str = "") -> Iterator[str]:
    """A JSON value as lines of "path: value"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines_of(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _lines_of(inner, f"{name}[{number}]")
    elif value not in (None, "", []):
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"{name}: {shown}" if name else shown


def _plain(value: Any) -> str:
    """A text as it is; a list as paragraphs, an object as lines of "name: value"."""
    if isinstance(value, list) and not any(isinstance(inner, dict | list) for inner in value):
        return "\n\n".join(str(inner) for inner in value if inner is not None)
    return value if isinstance(value, str) else "\n".join(_lines_of(value))


def _to_document(fields: Fields, source: str, number: int, title: str = "", note: str = "") -> Document | None:
    """A record as a document: its `text` (or `contents`), then a line for each other field that says something.

    It has its own `title` or else the one that is given, its `id` or else its number; None if it has no text.
    """
    first: dict[str, Any] = {}
    for name, value in fields:
        if value not in (None, "", [], {}):
            first.setdefault(name, value)
    day = _DAY.match(str(first.get("date", "")))
    key = next((name for name in _TEXTS if _plain(first.get(name, "")).strip()), "")
    taken = [name for name in (*_IDS, "title", key) if key and name in first]
    taken += ["date"] if day and key else []
    taken += ["metadata"] if {"_id", "metadata"} <= first.keys() <= _BEIR else []
    others: list[str] = []
    for name, value in fields:
        if name in taken and value == first[name]:
            taken.remove(name)
        else:
            others += _lines_of(value, name)
    text = "\n\n".join(filter(None, (_plain(first[key]) if key else "", "\n".join(others))))
    if not text.strip():
        return None
    identifier = next((str(first[name]) for name in _IDS if name in first), f"{source}:{number}")
    own_title = _plain(first["title"]) if "title" in first else title
    return Document(id=identifier, source=source, title=own_title, text=text, date=day[0] if day else "", note=note)
