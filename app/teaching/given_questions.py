"""The questions and the examples that a person gives → the files of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from app.teaching.lesson import Lesson
from indexes.errors import InputError
from indexes.queries import read_queries
from indexes.types import Query

_MOST_EXAMPLES_CHARACTERS = 20_000


def files_of(lesson: Lesson) -> tuple[dict[str, bytes], Sequence[Query]]:
    """The files that the run needs, by name, the questions first; and the questions that were given."""
    if lesson.upload:
        file = Path(lesson.upload)
        return _questions_of(file)
    like = "\n".join(line.strip() for line in lesson.like[:_MOST_EXAMPLES_CHARACTERS].splitlines() if line.strip())
    if like and len(set(like.splitlines())) < 3:
        raise InputError("Give three to twenty example questions, one a line, or none at all.")
    return ({"like.txt": (like + "\n").encode("utf-8", "replace")} if like else {}), ()


def _questions_of(file: Path) -> tuple[dict[str, bytes], Sequence[Query]]:
    name = file.name.lower()
    if not name.endswith((".jsonl", ".jsonl.gz", ".txt")):
        raise InputError(
            f"'{file.name}' is no file of questions. Expected a .txt with one question a line, or a .jsonl or "
            '.jsonl.gz with a record {"question": …, "positives": [document ids]} a line.'
        )
    try:
        if name.endswith(".txt"):
            return _plain_questions(file)
        given = "given.jsonl.gz" if name.endswith(".gz") else "given.jsonl"
        return {given: file.read_bytes()}, read_queries(file)
    except InputError as error:
        raise InputError(str(error).replace(str(file), file.name)) from None
    except OSError:
        raise InputError(f"'{file.name}' is not on the server any more. Upload it again.") from None


def _plain_questions(file: Path) -> tuple[dict[str, bytes], Sequence[Query]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"'{file.name}' is no text in UTF-8. Save it as UTF-8, one question a line.") from None
    texts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not texts:
        raise InputError(f"'{file.name}' is empty. Put one question on each line.")
    records = [{"id": str(number), "question": text} for number, text in enumerate(texts, start=1)]
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return {"given.jsonl": content.encode()}, [Query(id=r["id"], text=r["question"]) for r in records]
