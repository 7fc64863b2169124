"""What people say about passages: orders that count beside the LLM's, or alone where it gave none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.jsonl import Record, read_records
from distill.questions.filters import key_of
from distill.teacher.aggregation import aggregate
from distill.teacher.ranking import no_order
from indexes.errors import InputError, StoreError
from indexes.types import Query

_FORM = '{"question": "…", "ranking": ["best passage id", "second best"]}'


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
        raise InputError(f"'{file}' has a line of another form than {_FORM}. Mend or remove it.") from None
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
        _joined(each, found.get(each["id"], []), given.get(keys.get(each["id"], ""), []))
        for each in (*rankings, *unranked)
    ]
    return [each for each in joined if each["id"] in ranked or each["ranking"]]


def _joined(ranking: Record, candidates: Sequence[str], given: Sequence[Sequence[str]]) -> Record:
    named = [[passage for passage in dict.fromkeys(each) if passage in candidates] for each in given]
    orders = [each for each in named if len(each) > 1]
    if not orders:
        return ranking
    shown = list(dict.fromkeys([*ranking["shown"], *(passage for order in orders for passage in order)]))
    of_llm = ranking["ranking"] if ranking["weight"] > 0 else []
    places = {passage: place for place, passage in enumerate(shown)}
    agreed = aggregate([[places[passage] for passage in each] for each in (of_llm, *orders)], len(shown))
    return ranking | {"shown": shown, "ranking": [shown[place] for place in agreed], "weight": 1.0}
