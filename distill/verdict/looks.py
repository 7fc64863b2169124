"""How often questions have judged runs before: each look at the same ones makes a lucky winner likelier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from indexes.errors import InputError
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.types import Query


def earlier_runs(paths: DataPaths, corpus: str, name: str, held_out: Sequence[Query]) -> list[str]:
    """The names of the other finished runs over `corpus` that were judged on at least half of these questions.

    `name` is the run that asks. A run whose files are damaged does not count.
    """
    asked = {query.text for query in held_out}
    found = []
    for metrics in sorted(paths.runs.glob("*/metrics.json")):
        config = _config(metrics)
        if config.get("corpus") != corpus or config.get("name") in (None, name):
            continue
        if 2 * len(asked & _held_out(metrics.with_name("questions.jsonl"))) >= len(asked) > 0:
            found.append(str(config["name"]))
    return found


def _config(metrics: Path) -> dict[str, object]:
    try:
        config = json.loads(metrics.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return config if isinstance(config, dict) else {}


def _held_out(questions: Path) -> set[str]:
    try:
        return {query.text for query in read_queries(questions) if query.split != "train" and query.grades}
    except (InputError, OSError):
        return set()
