"""People's orders count beside the LLM's, and their questions train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.questions.sources import assign_splits
from distill.records import CandidateList, Ranking, Retrieved, VotedOrder
from distill.teacher.orders import beside, read_votes, voted_questions
from indexes.errors import InputError
from indexes.types import Query

QUERIES = [Query(id="q1", text="Why do bees dance?"), Query(id="q2", text="What pulls the sea?")]
CANDIDATES = [
    CandidateList(
        id=query.id, question=query.text, candidates=tuple(Retrieved(passage=name, document=name) for name in "abcdef")
    )
    for query in QUERIES
]


def voted(question: str, ranking: list[str]) -> VotedOrder:
    return VotedOrder(question=question, ranking=tuple(ranking))


def ranked(question: str, order: str, weight: float = 1.0) -> Ranking:
    return Ranking(id=question, ranking=tuple(order), shown=tuple("abc"), weight=weight)


def test_a_vote_counts_as_much_as_the_llms_order_and_touches_no_other_question() -> None:
    first, second = beside(
        [ranked("q1", "abc"), ranked("q2", "abc")],
        CANDIDATES,
        QUERIES,
        [voted("why do BEES dance", ["c", "a", "b"]), voted("Why do bees dance?", ["c", "b", "a"])],
    )
    assert first.ranking == ("c", "a", "b")
    assert second == ranked("q2", "abc")


def test_a_passage_that_only_people_saw_joins_and_a_stranger_does_not() -> None:
    (record, _) = beside(
        [ranked("q1", "abc"), ranked("q2", "abc")],
        CANDIDATES,
        QUERIES,
        [voted(QUERIES[0].text, ["e", "a", "stranger"])],
    )
    assert record.shown == ("a", "b", "c", "e")
    assert set(record.ranking) == {"a", "b", "c", "e"}
    assert record.ranking.index("a") < record.ranking.index("b")


def test_where_the_llms_order_is_worth_nothing_people_are_heard_alone() -> None:
    (record,) = beside([ranked("q1", "abc", weight=0.0)], CANDIDATES, QUERIES, [voted(QUERIES[0].text, ["b", "a"])])
    assert (record.ranking, record.weight) == (("b", "a"), 1.0)


def test_where_the_llm_gave_no_order_people_are_heard_alone() -> None:
    """Nobody was asked for orders, or whoever gave them was refused: votes are not lost with them."""
    votes = [voted(QUERIES[1].text, ["d", "a", "stranger"]), voted("Of another corpus?", ["a", "b"])]
    (alone,) = beside([], CANDIDATES, QUERIES, votes)
    assert (alone.id, alone.ranking, alone.weight) == ("q2", ("d", "a"), 1.0)
    assert set(alone.shown) == {"d", "a"}
    asked, unasked = beside([ranked("q1", "abc")], CANDIDATES, QUERIES, votes)
    assert (asked, unasked) == (ranked("q1", "abc"), alone)


def test_voted_questions_train_once_and_never_one_that_is_held_out() -> None:
    votes = [
        voted("Why do bees dance?", ["a", "b"]),
        voted("why do bees dance", ["b", "a"]),
        voted("How is glass made?", ["a", "b"]),
    ]
    asked = voted_questions(votes)
    assert len(asked) == 2
    held_out = Query(id="h", text="How is glass made?", split="dev")
    split = assign_splits([Query(id="t", text="Who?", split="train"), held_out], seed=1, asked=asked)
    assert [query.text for query in split if query.split == "train"] == ["Who?", "Why do bees dance?"]


@pytest.mark.parametrize(
    "line", ["nonsense", "{}", '{"question": 3, "ranking": []}', '{"question": "Q", "ranking": [1]}']
)
def test_a_line_of_another_form_gives_a_sentence(tmp_path: Path, line: str) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text(json.dumps({"question": "Q", "ranking": ["a", "b"]}) + f"\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"votes.jsonl, line 2 is no.*Expected is"):
        read_votes(file)
