"""Orders that were made elsewhere: by another LLM, a colleague or a simulation."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.jsonl import Record
from distill.teacher.aggregation import aggregate, mutual_agreement
from distill.teacher.ranking import candidate_ids, ranking_record
from distill.teacher.talk import Order
from indexes.errors import InputError

_FORM = '{"id": "question id", "ranking": ["best document or passage id", "second best"]}'
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRankings:
    """Ranking records in the order of the candidates, and what of the file could not be used, in sentences."""

    records: tuple[Record, ...]
    notes: tuple[str, ...]


def read_rankings(file: Path, records: Sequence[Record]) -> GivenRankings:
    """The orders in `file`, a JSON object a line, of the questions in the candidate `records`.

    An id names a candidate passage or a document, which stands for its candidate passages in the order of retrieval.
    Several lines about one question are several orders of it: they become one (Borda), and their agreement (mean
    Kendall τ) says how much it counts. Raises `InputError` for a line of another form, or if no candidate is placed.
    """
    lines: dict[str, list[list[str]]] = defaultdict(list)
    for line in _lines(file):
        lines[line.question].append(line.ranking)
    found: list[Record] = []
    strangers: dict[str, None] = {}
    for record in records:
        if given := lines.pop(record["id"], None):
            orders = [_positions(record, ids, strangers) for ids in given]
            found.append(ranking_record(record, _one_order(record, orders)))
    if not any(record["ranking"] for record in found):
        raise InputError(
            f"{file} places no candidate of any question. Its lines must be of the form {_FORM}, with the ids of this "
            f"run's questions (such as {_named([record['id'] for record in records])}) and of documents or passages "
            "that their retrieval found."
        )
    notes = _notes(file, found, len(records), list(lines), list(strangers))
    return GivenRankings(records=tuple(found), notes=tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPassages:
    """The ids of documents or passages in a file's orders of one question: all, and those that were put first.

    `is_all_shown`: the file says what was shown, so there was nothing else.
    """

    passages: tuple[str, ...]
    firsts: tuple[str, ...]
    is_all_shown: bool


def read_named_passages(file: Path) -> dict[str, NamedPassages]:
    """What the orders in `file` name, by question id; raises `InputError` for a line of another form."""
    lines: dict[str, list[_Line]] = defaultdict(list)
    for line in _lines(file):
        lines[line.question].append(line)
    return {
        question: NamedPassages(
            passages=tuple(dict.fromkeys(each for line in found for each in (*line.ranking, *line.shown))),
            firsts=tuple(dict.fromkeys(line.ranking[0] for line in found if line.ranking)),
            is_all_shown=all(line.shown for line in found),
        )
        for question, found in lines.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """An order, best first, and what was shown for it where the file says so."""

    question: str
    ranking: list[str]
    shown: list[str]


def _lines(file: Path) -> Iterator[_Line]:
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"'{file}' ends in .gz, but it is no intact gzip file. Compress it again.") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Give the path of a file of rankings.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text in UTF-8. Save it as UTF-8, a JSON object a line.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _line(line, f"{file}, line {number}")


def _line(line: str, where: str) -> _Line:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where} is not JSON. Expected is {_FORM}.") from None
    found: dict[str, Any] = value if isinstance(value, dict) else {}
    question, ids, shown = found.get("id"), found.get("ranking", ""), found.get("shown") or []
    if not _is_id(question) or not _are_ids(ids) or not _are_ids(shown):
        raise InputError(f"{where} has no question id with a list of ids. Expected is {_FORM}.")
    return _Line(question=str(question), ranking=[*map(str, ids)], shown=[*map(str, shown)])


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _positions(record: Record, ids: Sequence[str], strangers: dict[str, None]) -> list[int]:
    """The positions of the candidates that `ids` name, each once; ids that name none are added to `strangers`."""
    places: dict[str, list[int]] = defaultdict(list)
    documents = {candidate["passage"]: candidate.get("document") for candidate in record["candidates"]}
    for position, passage in enumerate(candidate_ids(record)):
        places[passage] = [position]
        if (document := documents[passage]) and document not in documents:
            places[document].append(position)
    strangers.update(dict.fromkeys(each for each in ids if each not in places))
    return list(dict.fromkeys(position for each in ids for position in places.get(each, ())))


def _one_order(record: Record, orders: Sequence[Sequence[int]]) -> Order:
    n = len(candidate_ids(record))
    order = aggregate(orders, n)
    return Order(
        order=order,
        status="ok" if len(order) == n else "partial" if order else "refused",
        shown=tuple(range(n)),
        n_asked=len(orders),
        reply="",
        passes=tuple(map(tuple, orders)),
        agreement=mutual_agreement(orders, n),
        best_at=(),
    )


def _notes(
    file: Path, found: Sequence[Record], n_questions: int, unknown: Sequence[str], strangers: Sequence[str]
) -> Iterator[str]:
    if unknown:
        yield f"{file} orders {len(unknown)} questions that this run does not have ({_named(unknown)}): left out."
    if strangers:
        yield f"{file} names {len(strangers)} ids that are no candidates ({_named(strangers)}): left out."
    if empty := [record["id"] for record in found if not record["ranking"]]:
        yield f"{file} places no candidate of {len(empty)} questions ({_named(empty)}): they do not teach."
    if missing := n_questions - len(found):
        yield f"{file} has no order of {missing} of {n_questions} questions."


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")
