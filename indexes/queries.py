"""Questions on disk: `questions.jsonl[.gz]` ↔ `Query`s."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from indexes.errors import InputError
from indexes.types import Query

_EXPECTED = '{"id": …, "question": …, "answers": […], "positives": [document ids], "split": …}'


def read_queries(file: Path, split: str | None = None) -> list[Query]:
    """The questions in `file` (jsonl, or gzipped), those of `split` alone if it is given.

    Raises `InputError` with the line that is wrong, or when no question is left.
    """
    if not file.is_file():
        raise InputError(f"A file of questions was expected at '{file}', but there is none. Check the path.")
    queries = [_parse(line, number, file) for number, line in enumerate(_lines(file), start=1) if line.strip()]
    _check_ids(queries, file)
    chosen = [query for query in queries if split is None or query.split == split]
    if not chosen:
        found = ", ".join(sorted({f"'{query.split}'" for query in queries})) or "none at all"
        wanted = f" of split '{split}'" if split else ""
        raise InputError(f"At least one question{wanted} was expected in '{file}', but splits found: {found}.")
    return chosen


def write_queries(file: Path, queries: Iterable[Query]) -> None:
    """Writes `queries` to `file`, which appears complete or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text("".join(json.dumps(_record(q), ensure_ascii=False) + "\n" for q in queries), encoding="utf-8")
    partial.replace(file)


def _record(query: Query) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": query.id,
        "question": query.text,
        "answers": list(query.answers),
        "positives": list(query.positives),
        "split": query.split,
    }
    return record | ({"relevance": dict(query.relevance)} if query.relevance else {})


def _lines(file: Path) -> list[bytes]:
    content = file.read_bytes()
    if file.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"'{file}' ends in .gz, but it is no intact gzip file. Compress it again.") from error
    return content.splitlines()


def _parse(line: bytes, number: int, file: Path) -> Query:
    try:
        record = json.loads(line)
        text = record["question"].strip()
        if not text:
            raise ValueError
        relevance = record.get("relevance") or {}
        return Query(
            id=str(record.get("id", number)),
            text=text,
            answers=tuple(str(answer) for answer in record.get("answers") or ()),
            positives=_ids(record.get("positives")),
            relevance=tuple((str(key), int(grade)) for key, grade in relevance.items()),
            split=str(record.get("split") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Line {number} of '{file}' is no question. Expected one record a line: {_EXPECTED}"
        ) from error


def _ids(value: Any) -> tuple[str, ...]:
    if value is not None and not isinstance(value, list):
        raise TypeError("positives must be a list")  # a string would be taken letter by letter
    return tuple(str(identifier) for identifier in value or ())


def _check_ids(queries: Sequence[Query], file: Path) -> None:
    seen: set[str] = set()
    for query in queries:
        if query.id in seen:
            raise InputError(f"Each question in '{file}' needs an id of its own, but '{query.id}' stands twice.")
        seen.add(query.id)
