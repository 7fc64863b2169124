"""Orders from elsewhere: of another LLM, of a file, of people; and those of several rounds as one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.json_files import Record, read_records
from distill.questions.sources import key_of
from distill.teacher.asking import Order, joint_status
from distill.teacher.modes import aggregate, mutual_agreement, proven_front
from distill.teacher.ranking import candidate_ids, no_order, ranking_record
from indexes.errors import InputError, StoreError
from indexes.queries import read_lines
from indexes.types import Query

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
    for number, line in enumerate(read_lines(file, "rankings"), start=1):
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


_VOTE_FORM = '{"question": "…", "ranking": ["best passage id", "second best"]}'


def read_votes(file: Path) -> list[tuple[str, list[str]]]:
    """(question, passage ids best first) of each line of `file`; raises `InputError` for another form."""
    if not file.is_file():
        raise InputError(f"A file of people's orders was expected at '{file}', but there is none. Check the path.")
    found = []
    try:
        for record in read_records(file):
            question, ranking = record["question"], record["ranking"]
            if not isinstance(question, str) or not question.strip() or not all(isinstance(p, str) for p in ranking):
                raise TypeError
            found.append((question, list(ranking)))
    except (StoreError, KeyError, TypeError):
        raise InputError(f"'{file}' has a line of another form than {_VOTE_FORM}. Mend or remove it.") from None
    return found


def voted_questions(votes: Sequence[tuple[str, list[str]]]) -> list[Query]:
    """The questions that people voted on, each once: nobody knows every answer to them, so they only train."""
    texts = list({key_of(question): question for question, _ in reversed(votes)}.values())
    return [Query(id=f"v{number}", text=text) for number, text in enumerate(texts, start=1)]


def beside(
    rankings: Sequence[Record],
    candidates: Sequence[Record],
    queries: Sequence[Query],
    votes: Sequence[tuple[str, list[str]]],
) -> list[Record]:
    """`rankings` in which people's orders of the same questions' candidates count as much as the LLM's, one for one.

    Passages that only people saw join the list; one that they do not name is where the LLM put it. Where the LLM gave
    no order, as nobody asked it or it was refused, people are heard alone.
    """
    given: Mapping[str, list[list[str]]] = defaultdict(list)
    for question, ranking in votes:
        given[key_of(question)].append(ranking)
    found = {record["id"]: [c["passage"] for c in record["candidates"]] for record in candidates}
    keys = {query.id: key_of(query.text) for query in queries}
    ranked = {each["id"] for each in rankings}
    unranked = [no_order(identifier) for identifier in found if identifier not in ranked]
    joined = [
        _joined_with_votes(each, found.get(each["id"], []), given.get(keys.get(each["id"], ""), []))
        for each in (*rankings, *unranked)
    ]
    return [each for each in joined if each["id"] in ranked or each["ranking"]]


def _joined_with_votes(ranking: Record, candidates: Sequence[str], given: Sequence[Sequence[str]]) -> Record:
    named = [[passage for passage in dict.fromkeys(each) if passage in candidates] for each in given]
    orders = [each for each in named if len(each) > 1]
    if not orders:
        return ranking
    shown = list(dict.fromkeys([*ranking["shown"], *(passage for order in orders for passage in order)]))
    of_llm = ranking["ranking"] if ranking["weight"] > 0 else []
    places = {passage: place for place, passage in enumerate(shown)}
    agreed = aggregate([[places[passage] for passage in each] for each in (of_llm, *orders)], len(shown))
    return ranking | {"shown": shown, "ranking": [shown[place] for place in agreed], "weight": 1.0}


def merge_orders(rounds: Sequence[Sequence[Record]]) -> list[Record]:
    """The ranking record of each question of all `rounds`, in the order of the first round that has it.

    Rounds after the first show the best so far among passages that were not seen before, so what beats it beats all
    that it has beaten. `ranking` is as much of the joint order as follows; `shown` is all that it stands before, whose
    order among each other is not known where no round has compared them.
    """
    said: dict[str, list[Record]] = {}
    for records in rounds:
        for record in records:
            said.setdefault(record["id"], []).append(record)
    return [_merged(each) for each in said.values()]


def _merged(records: Sequence[Record]) -> Record:
    heard = [record for record in records if record["ranking"] and record["weight"]]
    if len(heard) < 2:
        return heard[0] if heard else records[0]
    ids = list(dict.fromkeys(passage for record in heard for passage in record["shown"]))
    numbers = {passage: number for number, passage in enumerate(ids)}
    order: list[int] = []
    said: list[tuple[list[int], list[int]]] = []
    for record in heard:
        placed = [numbers[passage] for passage in record["ranking"]]
        rest = [numbers[passage] for passage in record["shown"] if passage not in set(record["ranking"])]
        said.append((placed, rest))
        order = _inserted([*placed, *rest], order)
    front = [ids[number] for number in proven_front(order, said)]
    agreements = [record["agreement"] for record in heard if record.get("agreement") is not None]
    return heard[0] | {
        "ranking": front,
        "shown": ids,
        "status": joint_status([record["status"] for record in heard]),
        "n_asked": sum(record["n_asked"] for record in heard),
        "reply": "",
        "agreement": min(agreements, default=None),
        "weight": min(record["weight"] for record in heard),
        "best_at": [pair for record in heard for pair in record["best_at"]],
        "n_rounds": len(heard),
    }


def _inserted(new: Sequence[int], before: Sequence[int]) -> list[int]:
    """All of both: what `new` puts before the first that it shares with `before`, then `before`, then the others."""
    shared = next((place for place, item in enumerate(new) if item in before), 0)
    return list(dict.fromkeys([*new[:shared], *before, *new]))


def merge_candidates(rounds: Sequence[Sequence[Record]]) -> list[Record]:
    """The candidate record of each question: what the first of the `rounds` has shown, what later ones have shown, and
    what was not shown.
    """
    later: Mapping[str, list[Record]] = {record["id"]: [] for record in rounds[0]}
    for records in rounds[1:]:
        for record in records:
            later[record["id"]].append(record)
    return [_joined(record, later[record["id"]]) if later[record["id"]] else record for record in rounds[0]]


def _joined(first: Record, later: Sequence[Record]) -> Record:
    """`first` says how many of its candidates were shown ("n_shown"), as do all records of a second round's run."""
    n = first["n_shown"]
    head = {c["passage"]: c for c in first["candidates"][:n]}
    for record in later:
        for candidate in record["candidates"]:
            head.setdefault(candidate["passage"], candidate)
    tail = [c for c in first["candidates"][n:] if c["passage"] not in head]
    return first | {"candidates": [*head.values(), *tail], "n_shown": len(head)}
