"""The passages of a corpus as its manifest keeps them.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from indexes.types import Passage

_COLUMNS = "id, document_id, source, title, text, start, end, page, kind, date"


def all_passages(connection: sqlite3.Connection) -> Iterator[Passage]:
    """Every passage, by document and place in it."""
    for row in connection.execute(f"SELECT {_COLUMNS} FROM passages ORDER BY source, rowid"):  # noqa: S608
        yield _to_passage(row)


def get_passages(connection: sqlite3.Connection, ids: list[str]) -> list[Passage]:
    """The passages with these ids, in this order; ids that are gone are left out."""
    found: dict[str, Passage] = {}
    for first in range(0, len(ids), 500):  # SQLite bounds the number of parameters
        some = ids[first : first + 500]
        marks = ", ".join("?" * len(some))
        rows = connection.execute(f"SELECT {_COLUMNS} FROM passages WHERE id IN ({marks})", some)  # noqa: S608
        found |= {row[0]: _to_passage(row) for row in rows}
    return [found[identifier] for identifier in ids if identifier in found]


def _to_passage(row: tuple[str, str, str, str, str, int, int, int | None, str, str]) -> Passage:
    return Passage(
        id=row[0],
        document_id=row[1],
        source=row[2],
        title=row[3],
        text=row[4],
        start=row[5],
        end=row[6],
        page=row[7],
        kind=row[8],
        date=row[9],
    )
