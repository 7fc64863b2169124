"""Orders from elsewhere: of another LLM, of a file, of people; those of several rounds as one; those that judge."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from distill.json_files import read_records
from distill.questions.reading import key_of
from distill.records import CandidateList, Ranking, Retrieved, VotedOrder
from distill.teacher.aggregation import aggregate, proven_front
from distill.teacher.asking import Order, joint_status
from distill.teacher.ranking import as_ranking, no_order
from indexes.errors import InputError, StoreError
from indexes.evaluation import FEW_QUERIES
from indexes.queries import read_lines
from indexes.types import Query

_FORM = '{"id": "question id", "ranking": ["best document or passage id", "second best"]}'
_MOST_NAMED = 3


_Id = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOrder:
    """Ids of documents or passages in the order of a file, best first, and what was shown for it where the file says
    so: then there was nothing else.
    """

    id: _Id
    ranking: tuple[_Id, ...]
    shown: tuple[_Id, ...] | None = None


_GIVEN = TypeAdapter(GivenOrder)


def read_given(file: Path) -> dict[str, list[GivenOrder]]:
    """The orders in `file`, a JSON object a line, by question id; raises `InputError` for a line of another form."""
    given: dict[str, list[GivenOrder]] = defaultdict(list)
    for number, line in enumerate(read_lines(file, "rankings"), start=1):
        if line.strip():
            try:
                order = _GIVEN.validate_json(line)
            except ValidationError:
                raise InputError(
                    f"{file}, line {number} is no JSON with a question id and a list of ids. Expected is {_FORM}."
                ) from None
            given[order.id].append(order)
    return dict(given)


def read_rankings(file: Path, records: Sequence[CandidateList]) -> tuple[list[Ranking], list[str]]:
    """The orders in `file` of the questions in `records`, and what of it could not be used, in sentences.

    An id names a candidate passage or a document, which stands for its candidate passages in the order of retrieval.
    Several lines about one question are several orders of it: they become one (Borda), and how often they put the same
    first says how much it counts. Raises `InputError` if no candidate is placed.
    """
    lines = read_given(file)
    found: list[Ranking] = []
    strangers: dict[str, None] = {}
    for record in records:
        if given := lines.pop(record.id, None):
            orders = [_positions(record, each.ranking, strangers) for each in given]
            found.append(as_ranking(record, _one_order(record, orders)))
    if not any(record.ranking for record in found):
        raise InputError(
            f"{file} places no candidate of any question. Its lines must be of the form {_FORM}, with the ids of this "
            f"run's questions (such as {_named([record.id for record in records])}) and of documents or passages "
            "that their retrieval found."
        )
    return found, list(_notes(file, found, len(records), list(lines), list(strangers)))


def _positions(record: CandidateList, ids: Sequence[str], strangers: dict[str, None]) -> list[int]:
    """The positions of the candidates that `ids` name, each once; ids that name none are added to `strangers`."""
    places: dict[str, list[int]] = defaultdict(list)
    documents = {candidate.passage: candidate.document for candidate in record.candidates}
    for position, passage in enumerate(record.passages):
        places[passage] = [position]
        if (document := documents[passage]) and document not in documents:
            places[document].append(position)
    strangers.update(dict.fromkeys(each for each in ids if each not in places))
    return list(dict.fromkeys(position for each in ids for position in places.get(each, ())))


def _one_order(record: CandidateList, orders: Sequence[Sequence[int]]) -> Order:
    n = len(record.passages)
    order = aggregate(orders, n)
    return Order(
        order=order,
        status="ok" if len(order) == n else "partial" if order else "refused",
        shown=tuple(range(n)),
        n_asked=len(orders),
        passes=tuple(map(tuple, orders)),
    )


def _notes(
    file: Path, found: Sequence[Ranking], n_questions: int, unknown: Sequence[str], strangers: Sequence[str]
) -> Iterator[str]:
    if unknown:
        yield f"{file} orders {len(unknown)} questions that this run does not have ({_named(unknown)}): left out."
    if strangers:
        yield f"{file} names {len(strangers)} ids that are no candidates ({_named(strangers)}): left out."
    if empty := [record.id for record in found if not record.ranking]:
        yield f"{file} places no candidate of {len(empty)} questions ({_named(empty)}): they do not teach."
    if missing := n_questions - len(found):
        yield f"{file} has no order of {missing} of {n_questions} questions."


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")


_VOTE_FORM = '{"question": "…", "ranking": ["best passage id", "second best"]}'


def read_votes(file: Path) -> list[VotedOrder]:
    """The lines of `file`; raises `InputError` for another form."""
    if not file.is_file():
        raise InputError(f"A file of people's orders was expected at '{file}', but there is none. Check the path.")
    try:
        votes = read_records(file, VotedOrder)
    except StoreError as error:
        raise InputError(f"{error} Expected is {_VOTE_FORM}.") from None
    if any(not vote.question.strip() for vote in votes):
        raise InputError(f"'{file}' has a line without a question. Expected is {_VOTE_FORM}.")
    return votes


def voted_questions(votes: Sequence[VotedOrder]) -> list[Query]:
    """The questions that people voted on, each once: nobody knows every answer to them, so they only train."""
    texts = list({key_of(vote.question): vote.question for vote in reversed(votes)}.values())
    return [Query(id=f"v{number}", text=text) for number, text in enumerate(texts, start=1)]


def beside(
    rankings: Sequence[Ranking],
    candidates: Sequence[CandidateList],
    queries: Sequence[Query],
    votes: Sequence[VotedOrder],
) -> list[Ranking]:
    """`rankings` in which people's orders of the same questions' candidates count as much as the LLM's, one for one.

    Passages that only people saw join the list; one that they do not name is where the LLM put it. Where the LLM gave
    no order, as nobody asked it or it was refused, people are heard alone.
    """
    given: Mapping[str, list[Sequence[str]]] = defaultdict(list)
    for vote in votes:
        given[key_of(vote.question)].append(vote.ranking)
    found = {record.id: record.passages for record in candidates}
    keys = {query.id: key_of(query.text) for query in queries}
    ranked = {each.id for each in rankings}
    unranked = [no_order(identifier) for identifier in found if identifier not in ranked]
    joined = [
        _joined_with_votes(each, found.get(each.id, []), given.get(keys.get(each.id, ""), []))
        for each in (*rankings, *unranked)
    ]
    return [each for each in joined if each.id in ranked or each.ranking]


def _joined_with_votes(ranking: Ranking, candidates: Sequence[str], given: Sequence[Sequence[str]]) -> Ranking:
    named = [[passage for passage in dict.fromkeys(each) if passage in candidates] for each in given]
    orders = [each for each in named if len(each) > 1]
    if not orders:
        return ranking
    shown = list(dict.fromkeys([*ranking.shown, *(passage for order in orders for passage in order)]))
    of_llm = ranking.ranking if ranking.weight > 0 else ()
    places = {passage: place for place, passage in enumerate(shown)}
    agreed = aggregate([[places[passage] for passage in each] for each in (of_llm, *orders)], len(shown))
    return replace(ranking, shown=tuple(shown), ranking=tuple(shown[place] for place in agreed), weight=1.0)


def merge_orders(rounds: Sequence[Sequence[Ranking]]) -> list[Ranking]:
    """The ranking of each question of all `rounds`, in the order of the first round that has it.

    Rounds after the first show the best so far among passages that were not seen before, so what beats it beats all
    that it has beaten. `ranking` is as much of the joint order as follows; `shown` is all that it stands before, whose
    order among each other is not known where no round has compared them.
    """
    said: dict[str, list[Ranking]] = {}
    for records in rounds:
        for record in records:
            said.setdefault(record.id, []).append(record)
    return [_merged(each) for each in said.values()]


def _merged(records: Sequence[Ranking]) -> Ranking:
    heard = [record for record in records if record.ranking and record.weight]
    if len(heard) < 2:
        return heard[0] if heard else records[0]
    ids = list(dict.fromkeys(passage for record in heard for passage in record.shown))
    numbers = {passage: number for number, passage in enumerate(ids)}
    order: list[int] = []
    said: list[tuple[list[int], list[int]]] = []
    for record in heard:
        placed = [numbers[passage] for passage in record.ranking]
        rest = [numbers[passage] for passage in record.shown if passage not in set(record.ranking)]
        said.append((placed, rest))
        order = _inserted([*placed, *rest], order)
    return Ranking(
        id=heard[0].id,
        ranking=tuple(ids[number] for number in proven_front(order, said)),
        shown=tuple(ids),
        status=joint_status([record.status for record in heard]),
        n_asked=sum(record.n_asked for record in heard),
        weight=min(record.weight for record in heard),
        n_rounds=len(heard),
    )


def _inserted(new: Sequence[int], before: Sequence[int]) -> list[int]:
    """All of both: what `new` puts before the first that it shares with `before`, then `before`, then the others."""
    shared = next((place for place, item in enumerate(new) if item in before), 0)
    return list(dict.fromkeys([*new[:shared], *before, *new]))


def merge_candidates(rounds: Sequence[Sequence[CandidateList]]) -> list[CandidateList]:
    """The candidates of each question: what the first of the `rounds` has shown, what later ones have shown, and
    what was not shown.
    """
    later: Mapping[str, list[CandidateList]] = {record.id: [] for record in rounds[0]}
    for records in rounds[1:]:
        for record in records:
            later[record.id].append(record)
    return [_joined(record, later[record.id]) if later[record.id] else record for record in rounds[0]]


def _joined(first: CandidateList, later: Sequence[CandidateList]) -> CandidateList:
    n = first.n_shown
    head: dict[str, Retrieved] = {c.passage: c for c in first.candidates[:n]}
    for record in later:
        for candidate in record.candidates:
            head.setdefault(candidate.passage, candidate)
    tail = [c for c in first.candidates[n:] if c.passage not in head]
    return replace(first, candidates=(*head.values(), *tail), n_shown=len(head))


# Orders that never train judge where no question can. Nobody has said which documents answer the questions, so the
# passage that the teacher put first stands for the answer, and retrievers are judged by where they find it in the whole
# corpus. Its place among the passages that were shown foretells less: the teacher does not see what a retriever now
# puts above all of them (benchmarks/order_verdict.py). What a retriever finds that is better than all that was shown
# counts against it, so the word errs on the side of the base. Whether the teacher's opinion is any good it cannot tell,
# so nothing is promoted by it.
_SHARE = 6  # one in so many orders is kept out


def draw_held_out(rankings: Sequence[Ranking], seed: int) -> list[str]:
    """Ids of the questions whose orders are to be kept out of training: a sixth, at least `FEW_QUERIES`, by `seed`.

    None where that would take more than a third of them.
    """
    ids = sorted(record.id for record in rankings if len(record.ranking) > 1)
    n = max(FEW_QUERIES, len(ids) // _SHARE)
    return sorted(random.Random(seed).sample(ids, n)) if 3 * n <= len(ids) else []  # noqa: S311


def first_choices(rankings: Sequence[Ranking], candidates: Sequence[CandidateList]) -> list[Query]:
    """A question for each of the `rankings`, answered by the document of the passage that the teacher put first.

    `candidates` have the questions, and the documents of passages.
    """
    texts = {record.id: record.question for record in candidates}
    documents = {c.passage: c.document for record in candidates for c in record.candidates}
    return [
        Query(id=record.id, text=texts[record.id], positives=(documents[record.ranking[0]],), split="dev")
        for record in rankings
    ]
