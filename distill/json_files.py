"""Files that hold one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from indexes.errors import StoreError


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


def write_json(file: Path, value: object) -> None:
    """Writes `value` to `file`, which appears complete or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)
