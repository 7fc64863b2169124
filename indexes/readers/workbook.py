"""An Excel workbook → Markdown: every sheet a heading and a table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, time
from pathlib import Path
from typing import Any

from indexes.errors import UnreadableFileError
from indexes.readers.markdown import open_package

_MAX_GAP = 10_000  # empty rows after which a sheet is at its end: one stray cell can stand in row 1,048,576


def read_workbook(file: Path) -> str:
    """The cells' values, as last computed; hidden sheets are read too, empty ones left out."""
    content = open_package(file, ".xlsx")
    try:
        from openpyxl import load_workbook

        with closing(load_workbook(io.BytesIO(content), read_only=True, data_only=True)) as workbook:
            sheets = [(sheet.title, _table(sheet)) for sheet in workbook.worksheets]
    except Exception as error:  # a damaged file raises anything, from KeyError to the XML parser's errors
        raise UnreadableFileError("The Excel workbook (.xlsx) is damaged; open and save it again.") from error
    filled = [f"# {' '.join(title.split())}\n\n{table}" for title, table in sheets if table]
    if not filled:
        raise UnreadableFileError(f"The workbook has {len(sheets)} sheet(s) and no text.")
    return "\n\n".join(filled)


def _table(sheet: Any) -> str:
    rows = list(_rows(sheet))
    if not rows:
        return ""
    first = min(next(number for number, cell in enumerate(row) if cell) for row in rows)
    width = max(len(row) for row in rows)
    lines = [_line([*row, *[""] * (width - len(row))][first:]) for row in rows]
    return "\n".join([lines[0], _line(["---"] * (width - first)), *lines[1:]])


def _rows(sheet: Any) -> Iterator[list[str]]:
    """The rows that have a value, each up to its last one."""
    sheet.reset_dimensions()  # what a file claims its size to be is not to be believed
    n_empty = 0
    for row in sheet.iter_rows(values_only=True):
        cells = [_cell(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        n_empty = 0 if cells else n_empty + 1
        if n_empty > _MAX_GAP:
            return
        if cells:
            yield cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    return " ".join(str(value).split()).replace("|", "\\|")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
