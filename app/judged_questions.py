"""Where judged questions come from: a file that somebody uploads, or those that a run of teaching has held out."""

from __future__ import annotations

import json
from pathlib import Path

from indexes.errors import InputError, UserError
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.types import Query

EXAMPLE = (
    '{"id": "q1", "question": "How many days of leave do I have?", "positives": ["handbook.md"], "answers": ["30"]}\n'
    '{"id": "q2", "question": "Who signs travel requests?", "positives": ["travel.pdf", "forms.docx"]}'
)


def list_runs(paths: DataPaths, corpus: str) -> list[str]:
    """The runs of teaching on `corpus` that hold judged questions out, by name."""
    folders = sorted(paths.runs.iterdir()) if paths.runs.is_dir() else []
    return [folder.name for folder in folders if _corpus_of(folder) == corpus and _held_out(folder)]


def _corpus_of(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("corpus", "")) if isinstance(config, dict) else ""


def _held_out(folder: Path) -> list[Query]:
    try:
        queries = read_queries(folder / "questions.jsonl")
    except UserError:
        return []  # a run that has not come that far
    return [query for query in queries if query.split != "train" and query.grades]


def read_held_out(paths: DataPaths, run: str) -> list[Query]:
    """The judged questions that `run` has not trained on; raises `InputError` if there are none."""
    if run in {folder.name for folder in paths.runs.iterdir()} and (queries := _held_out(paths.runs / run)):
        return queries
    raise InputError(f"Run '{run}' has no judged questions held out any more. Pick another one, or upload a file.")


def read_upload(file: str | None) -> list[Query]:
    """The questions of an uploaded file, except those of its split 'train' if it has others too."""
    if not file:
        raise InputError("Drop a file of judged questions first, or pick the held-out questions of a run.")
    if not file.lower().endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"'{Path(file).name}' should end in .jsonl or .jsonl.gz: one question a line, as shown below.")
    try:
        queries = read_queries(Path(file))
    except InputError as error:
        raise InputError(str(error).replace(str(Path(file)), Path(file).name)) from None
    return [query for query in queries if query.split != "train"] or queries
