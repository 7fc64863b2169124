"""How passages move between two retrievers."""

from __future__ import annotations

from app.comparison import compare_sides, find_moves
from app.retriever import Choice, Retrieval
from indexes.retrievers import Retriever
from indexes.types import Candidate, Passage


def side(*ids: str) -> Retrieval:
    """What a retriever found: passages that are called like their documents."""
    choice = Choice(retriever=Retriever(encoder="one"), meaning="")
    return Retrieval(corpus="c", choice=choice, candidates=tuple(candidates(*ids)), took_ms=1)


def candidates(*ids: str) -> list[Candidate]:
    return [Candidate(passage=Passage(id=i, document_id=i[0], source="s", text="t"), score=1.0) for i in ids]


def test_gains_are_counted_against_the_other_side() -> None:
    moves = find_moves(candidates("b1", "a1", "c1", "d1"), candidates("a1", "x1", "b1", "d1"))
    assert [move.gain for move in moves] == [2, -1, None, 0]
    assert [move.other_rank for move in moves] == [3, 1, None, 4]


def test_another_passage_of_the_same_document_is_told_from_a_loss() -> None:
    (move,) = find_moves(candidates("a2"), candidates("b1", "a1"))
    assert (move.other_rank, move.document_rank) == (None, 2)


def test_both_sides_are_measured_against_each_other() -> None:
    comparison = compare_sides([side("a", "b", "c"), side("b", "a", "d")])
    assert [[move.gain for move in moves] for moves in comparison.moves] == [[1, -1, None], [1, -1, None]]
    assert comparison.n_shared == 2


def test_a_retriever_that_finds_nothing_is_compared_too() -> None:
    comparison = compare_sides([side(), side("x")])
    assert comparison.n_shared == 0
    assert [len(moves) for moves in comparison.moves] == [0, 1]


def test_more_than_two_retrievers_are_measured_against_the_first() -> None:
    comparison = compare_sides([side(*name) for name in ("abc", "bac", "cab")])
    assert [move.gain for move in comparison.moves[2]] == [2, -1, -1]
    assert [move.other_rank for move in comparison.moves[0]] == [2, 1, 1], "the best rank on any other side"
