"""Files that another process may be writing or deleting just now: as much of them as is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, {} if there is none that can be read: a page has to open in any case."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_whole_records(file: Path) -> Sequence[dict[str, Any]]:
    """The whole lines of a file that may be growing."""
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def stamped(file: Path) -> tuple[Path, int, float]:
    """`file` with its size and its time of change, zeros if it is not there: what is read of it is kept under these."""
    try:
        known = file.stat()
    except OSError:
        return file, 0, 0.0
    return file, known.st_size, known.st_mtime
