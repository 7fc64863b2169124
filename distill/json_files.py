"""JSON on disk: files that grow line by line, so that killed work goes on, and files of one object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from indexes.errors import StoreError
from indexes.paths import write_file

Record = dict[str, Any]


class Append(Protocol):
    """Adds one record to a file."""

    def __call__(self, record: Record) -> None: ...


def read_records(file: Path) -> list[Record]:
    """The records of `file`, none if it does not exist; a last line that was cut off by a kill is left out.

    Raises `StoreError` for any other line that is no JSON.
    """
    if not file.is_file():
        return []
    lines = file.read_bytes().split(b"\n")
    return [_record(line, number, file) for number, line in enumerate(lines[:-1], start=1) if line.strip()]


def _record(line: bytes, number: int, file: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise StoreError(
            f"{file} has a line that is not JSON (line {number}). Mend or remove it; the other lines are kept."
        ) from error


@contextmanager
def appending(file: Path) -> Iterator[Append]:
    """A function that appends a record to `file`, each written out at once; a cut-off last line is removed first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _cut_to_whole_lines(file)
    with file.open("ab") as opened:

        def append(record: Record) -> None:
            try:
                opened.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                opened.flush()
            except OSError as error:
                raise StoreError(
                    f"Writing to {file} failed: {error.strerror}. Free some space and run again."
                ) from error

        yield append


def write_records(file: Path, records: Iterable[Record]) -> None:
    """Writes all `records` to `file`, which appears complete or not at all."""
    write_file(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def _cut_to_whole_lines(file: Path) -> None:
    if file.is_file():
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with file.open("r+b") as opened:
                opened.truncate(whole)


def read_json(file: Path) -> dict[str, Any]:
    """What `file` holds, {} if it is not there; `StoreError` if it is damaged."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise StoreError(
            f"{file} is damaged: a JSON object was expected in it. Delete it and give the same command again; what the "
            "LLM has replied is remembered."
        )
    return value


def peek_json(file: Path) -> dict[str, Any]:
    """What `file` holds, {} if it is not there, damaged, or of another form."""
    try:
        return read_json(file)
    except (OSError, StoreError):
        return {}


def peek_records(file: Path) -> list[Record]:
    """The whole lines of a file that may be growing, or damaged here and there."""
    records = []
    for line in file.read_bytes().split(b"\n")[:-1] if file.is_file() else ():
        with suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict)]


def write_json(file: Path, value: object) -> None:
    """Writes `value` to `file`, which appears complete or not at all."""
    write_file(file, json.dumps(value, ensure_ascii=False, indent=2) + "\n")
