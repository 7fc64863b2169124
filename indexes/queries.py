"""Questions on disk: `questions.jsonl[.gz]` ↔ `Query`s, or a question a line; benchmarks' queries and judgements."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexes.errors import InputError
from indexes.files import MAX_PACKAGE
from indexes.paths import write_file
from indexes.types import Query

_TEXTS = ("question", "query", "text")  # ours and MTEB's, ir_datasets', BEIR's
_IDS = ("id", "_id", "query_id", "query-id", "qid")
_DOCUMENTS = ("corpus-id", "doc_id", "docid", "document")
_GRADES = ("score", "relevance", "grade")
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
    write_file(file, "".join(json.dumps(_record(query), ensure_ascii=False) + "\n" for query in queries))


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
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as opened:
            content = opened.read(MAX_PACKAGE + 1)
        if len(content) > MAX_PACKAGE:
            raise InputError(f"'{file}' has more than {MAX_PACKAGE // 2**20} MiB. Split it.")
        text = content.decode("utf-8-sig")
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
        names = _TEXTS[:-1] if "title" in record else _TEXTS  # a document has a title and a text
        text = str(_first(record, names)).strip()
        if not text:
            raise ValueError
        relevance = record.get("relevance") or {}
        return Query(
            id=str(_first(record, _IDS, number)),
            text=text,
            answers=tuple(str(answer) for answer in record.get("answers") or ()),
            positives=_ids(record.get("positives")),
            relevance=tuple((str(key), int(grade)) for key, grade in relevance.items()),
            split=str(record.get("split") or ""),
        )
    except (ValueError, OverflowError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Line {number} of '{file}' is no question. Expected one record a line: {_EXPECTED}"
        ) from error


def _first(record: Mapping[str, Any], names: Iterable[str], default: Any = "") -> Any:
    """What `record` has under the first of `names` that it knows."""
    return next((record[name] for name in names if record.get(name) is not None), default)


def read_judged(file: Path, qrels: Path, split: str | None = None) -> list[Query]:
    """The questions in `file`, each with the grades of documents that the judgements in `qrels` give it.

    Those without a relevant document are left out, as by `read_queries` those of another split.
    """
    grades = read_qrels(qrels)
    queries = read_queries(file, split)
    judged = [
        replace(
            query,
            relevance=tuple(grades[query.id].items()),
            positives=tuple(document for document, grade in grades[query.id].items() if grade > 0),
        )
        for query in queries
        if any(grade > 0 for grade in grades.get(query.id, {}).values())
    ]
    if not judged:
        raise InputError(
            f"None of the {len(queries)} questions in '{file}' (first: '{queries[0].id}') has a relevant document in "
            f"'{qrels}', which is about such as '{next(iter(grades))}'. Give the files of one benchmark and split."
        )
    return judged


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Question id → document id → grade, of a table with a header as BEIR's, four columns as TREC's, or jsonl."""
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_lines(file, "judgements"), start=1):
        if not line.strip():
            continue
        try:
            query, document, grade = _judgement(line)
            found.setdefault(query, {})[document] = int(float(grade))
        except (ValueError, OverflowError, RecursionError, TypeError, AttributeError) as error:
            if number == 1 and not any(part.strip().lstrip("-").isdigit() for part in line.split("\t")[2:]):
                continue  # the header
            raise InputError(
                f"Line {number} of '{file}' is no judgement. Expected 'question-id TAB document-id TAB grade' below a "
                "header, as in BEIR, or 'question-id 0 document-id grade', as in TREC."
            ) from error
    if not found:
        raise InputError(f"'{file}' holds no judgement. Give a qrels file as BEIR or TREC has them.")
    return found


def _judgement(line: str) -> tuple[str, str, Any]:
    """(question, document, grade) in a line; ids in columns between tabs may have blanks."""
    if line.startswith("{"):
        record = json.loads(line)
        return str(_first(record, _IDS)), str(_first(record, _DOCUMENTS)), _first(record, _GRADES)
    columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
    if len(columns) == 3:
        return columns[0], columns[1], columns[2]
    query, _, document, grade = columns if len(columns) == 4 else line.split()
    return query, document, grade


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
