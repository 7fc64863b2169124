"""JSON on disk, and back as dataclasses: files that grow line by line, so that killed work goes on, and files of one
object.

Fields that a dataclass lacks are left out, and those that are None are not written: files of other versions are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from indexes.errors import StoreError
from indexes.paths import write_file

T = TypeVar("T")
Append = Callable[[object], None]  # adds one record to a file


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def parsed(kind: type[T], value: Mapping[str, Any], *, is_strict: bool = False) -> T:
    """A `kind` with what of `value` it has fields for; fields of another type have their defaults, unless `is_strict`.

    Raises `ValueError` if one is missing or wrong that has none.
    """
    try:
        found: T = _adapter(kind).validate_python(value)
        return found
    except ValidationError as error:
        wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
        if is_strict or not wrong & value.keys():
            raise
        return parsed(kind, {key: each for key, each in value.items() if key not in wrong}, is_strict=True)


def as_line(record: object) -> str:
    """`record` as a line of JSON."""
    plain = record if isinstance(record, dict) else _adapter(type(record)).dump_python(record, exclude_none=True)
    return json.dumps(plain, ensure_ascii=False) + "\n"


def read_records(file: Path, kind: type[T]) -> list[T]:
    """The records of `file`, none if it does not exist; a last line that was cut off by a kill is left out.

    Raises `StoreError` for any other line that is none.
    """
    if not file.is_file():
        return []
    lines = file.read_bytes().split(b"\n")
    return [_record(line, kind, f"{file}, line {n}") for n, line in enumerate(lines[:-1], start=1) if line.strip()]


def _record(line: bytes, kind: type[T], where: str) -> T:
    try:
        found: T = _adapter(kind).validate_json(line)
        return found
    except ValidationError as error:
        first = error.errors()[0]
        wrong = f"no {kind.__name__} ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise StoreError(
            f"{where} is {'not JSON' if first['type'] == 'json_invalid' else wrong}. Mend or remove it; the other "
            "lines are kept."
        ) from error


def peek_records(file: Path, kind: type[T]) -> list[T]:
    """The records of a file that may be growing, or damaged here and there; lines that are none are left out."""
    records = []
    for line in file.read_bytes().split(b"\n")[:-1] if file.is_file() else ():
        with suppress(ValidationError):
            records.append(_adapter(kind).validate_json(line))
    return records


@contextmanager
def appending(file: Path) -> Iterator[Append]:
    """A function that appends a record to `file`, each written out at once; a cut-off last line is removed first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _cut_to_whole_lines(file)
    with file.open("ab") as opened:

        def append(record: object) -> None:
            try:
                opened.write(as_line(record).encode())
                opened.flush()
            except OSError as error:
                raise StoreError(
                    f"Writing to {file} failed: {error.strerror}. Free some space and run again."
                ) from error

        yield append


def write_records(file: Path, records: Iterable[object]) -> None:
    """Writes all `records` to `file`, which appears complete or not at all."""
    write_file(file, "".join(map(as_line, records)))


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
    except (ValueError, RecursionError):
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


def write_json(file: Path, value: object) -> None:
    """Writes `value` to `file`, which appears complete or not at all."""
    write_file(file, json.dumps(value, ensure_ascii=False, indent=2) + "\n")
