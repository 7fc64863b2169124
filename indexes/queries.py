"""Questions on disk: `questions.jsonl[.gz]` ↔ `Query`s, or a question a line; and the lines of what people give."""

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
    """The questions in `file` (jsonl, or gzipped), those of `split` alone if it is given; a .txt has one a line.

    Raises `InputError` with the line that is wrong, or when no question is left.
    """
    lines = read_lines(file)
    if file.suffix.lower() == ".txt":
        return _plain(lines, file)
    queries = [parse_query(line, number, file) for number, line in enumerate(lines, start=1) if line.strip()]
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


def read_lines(file: Path, what: str = "questions") -> list[str]:
    """The lines of `file` (UTF-8, or gzipped), the last one empty if it is whole; `InputError` for anything else."""
    if not file.is_file():
        raise InputError(f"A file of {what} was expected at '{file}', but there is none. Check the path.")
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix.lower() == ".gz" else content).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"'{file}' ends in .gz, but it is no intact gzip file. Compress it again.") from error
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror}. Give the path of a file of {what}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{file}' is no text in UTF-8. Save it as UTF-8, one of the {what} a line.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _plain(lines: Sequence[str], file: Path) -> list[Query]:
    texts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not texts:
        raise InputError(f"'{file}' holds no question. Put one on each line.")
    return [Query(id=str(number), text=text) for number, text in enumerate(texts, start=1)]


def parse_query(line: str, number: int, file: Path) -> Query:
    """The question in a line of `file`; `InputError` if there is none."""
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
