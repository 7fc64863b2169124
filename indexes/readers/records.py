"""csv, tsv, json and jsonl: every record is a document, read one at a time."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from indexes.errors import UnreadableFileError
from indexes.readers.text import MAX_WHOLE, open_text
from indexes.types import Document

_MAX_FIELD = 2**24  # characters of one cell or line; more of them are a quote that was never closed
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_table(file: Path, source: str, *, delimiter: str | None, packed: bool) -> Iterator[Document]:
    """The rows of a table with a header line; the `delimiter` is told from the first rows if none is given."""
    csv.field_size_limit(_MAX_FIELD)
    with open_text(file, packed=packed) as text:
        rows = csv.DictReader(text, dialect=_dialect(text, delimiter))
        n_read = 0
        try:
            if not rows.fieldnames:
                raise UnreadableFileError("A header line with column names was expected, but there is none.")
            for number, row in enumerate(rows, start=1):
                values = {key: value.strip() for key, value in row.items() if key and isinstance(value, str)}
                values = {key: value for key, value in values.items() if value}
                if document := _to_document(values, source, number, default_text=_row_text(values)):
                    n_read += 1
                    yield document
        except csv.Error as error:
            raise UnreadableFileError(
                f"The table cannot be read near line {rows.line_num}: {error}. Is a quote not closed?"
            ) from error
    if not n_read:
        raise UnreadableFileError("The table has a header but no rows with text.")


def _dialect(text: TextIO, delimiter: str | None) -> Any:
    if delimiter == "\t":
        return csv.excel_tab
    sample = text.read(8192)
    text.seek(0)
    try:
        return csv.Sniffer().sniff(sample, delimiters=",;\t|")
    except csv.Error:
        return csv.excel


def _row_text(values: dict[str, str]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in values.items())


def read_jsonl(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """The records of a file with one JSON object a line."""
    n_read = 0
    with open_text(file, packed=packed) as text:
        for number, line in enumerate(_lines(text), start=1):
            if line.strip() and (document := _parse_line(line, source, number)):
                n_read += 1
                yield document
    if not n_read:
        raise UnreadableFileError("No record with text was found.")


def _lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(_MAX_FIELD):
        if len(line) == _MAX_FIELD and not line.endswith("\n"):
            raise UnreadableFileError(f"A line has more than {_MAX_FIELD:,} characters; each must be one record.")
        yield line


def _parse_line(line: str, source: str, number: int) -> Document | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"Line {number} is not JSON; each line must be one record with a text.") from error
    if not isinstance(record, dict):
        raise UnreadableFileError(f'Line {number} is not a record; expected {{"id": …, "title": …, "text": …}}.')
    return _record_document(record, source, number)


def read_json(file: Path, source: str, *, packed: bool) -> Iterator[Document]:
    """A JSON list as one document for each of its records, anything else as one document."""
    with open_text(file, packed=packed) as text:
        content = text.read(MAX_WHOLE + 1)
    if len(content) > MAX_WHOLE:
        raise UnreadableFileError(
            f"The file has more than {MAX_WHOLE:,} characters of JSON, which is read whole. Save it as .jsonl, one "
            "record a line, which may have any length."
        )
    try:
        value = json.loads(content)
        documents = [
            _record_document(record if isinstance(record, dict) else {"": record}, source, number)
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


def _record_document(record: dict[str, Any], source: str, number: int) -> Document | None:
    named = "text" in record or "contents" in record
    return _to_document(record, source, number, default_text="" if named else "\n".join(_flat(record)))


def _flat(value: Any, name: str = "") -> Iterator[str]:
    """A JSON value as lines of "path: value"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _flat(inner, f"{name}[{number}]")
    elif value not in (None, "", []):
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"{name}: {shown}" if name else shown


def _to_document(record: dict[str, Any], source: str, number: int, *, default_text: str) -> Document | None:
    """The record as a document: `text` (or `contents`) and `title`, its `id` or else its line; None without text."""
    text = str(record.get("text") or record.get("contents") or default_text)
    title = str(record.get("title") or "")
    if not text.strip():
        return None
    given = record.get("id", record.get("_id"))
    identifier = f"{source}:{number}" if given is None or given == "" else str(given)
    day = _DAY.match(str(record.get("date") or ""))
    return Document(id=identifier, source=source, title=title, text=text, date=day[0] if day else "")
