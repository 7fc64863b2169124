"""Orders of a file, of people, of several rounds, and those that judge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.questions.reading import assign_splits
from distill.records import CandidateList, Ranking, Retrieved, VotedOrder
from distill.teacher.orders import (
    beside,
    draw_held_out,
    first_choices,
    merge_candidates,
    merge_orders,
    read_rankings,
    read_votes,
    voted_questions,
)
from indexes.errors import InputError
from indexes.types import Query

CANDIDATES = (
    Retrieved(passage="p1", document="a"),
    Retrieved(passage="p2", document="b"),
    Retrieved(passage="p3", document="a"),
    Retrieved(passage="p4", document="c"),
)
RECORDS = [CandidateList(id=f"q{n}", question="?", candidates=CANDIDATES) for n in (1, 2)]


def file_of(folder: Path, *lines: Any) -> Path:
    file = folder / "given.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_a_document_stands_for_its_candidates_in_the_order_of_retrieval(tmp_path: Path) -> None:
    (record,), notes = read_rankings(file_of(tmp_path, {"id": "q1", "ranking": ["c", "a"]}), RECORDS)
    assert (record.ranking, record.status) == (("p4", "p1", "p3"), "partial")
    assert (record.weight, record.shown) == (1.0, ("p1", "p2", "p3", "p4"))
    assert notes == [f"{tmp_path / 'given.jsonl'} has no order of 1 of 2 questions."]


def test_passages_and_documents_may_be_mixed_and_each_stands_once(tmp_path: Path) -> None:
    [record], _ = read_rankings(file_of(tmp_path, {"id": "q1", "ranking": ["p3", "b", "a", "p4"]}), RECORDS)
    assert (record.ranking, record.status) == (("p3", "p2", "p1", "p4"), "ok")


def test_several_lines_about_a_question_are_one_order_that_counts_by_their_agreement(tmp_path: Path) -> None:
    orders = [["p1", "p2", "p3", "p4"], ["p1", "p2", "p4", "p3"], ["p1", "p2", "p3", "p4"]]
    opposed = [["p1", "p2", "p3", "p4"], ["p4", "p3", "p2", "p1"]]
    lines = [{"id": "q1", "ranking": order} for order in orders] + [{"id": "q2", "ranking": order} for order in opposed]
    [first, second], _ = read_rankings(file_of(tmp_path, *lines), RECORDS)
    assert (first.ranking, first.n_asked) == (("p1", "p2", "p3", "p4"), 3)
    assert first.weight == 1
    assert second.weight == 0


def test_strangers_are_named_and_left_out(tmp_path: Path) -> None:
    lines = [{"id": "q1", "ranking": ["zz", "p1", 17]}, {"id": "q9", "ranking": ["p1"]}, {"id": "q2", "ranking": ["x"]}]
    found, notes = read_rankings(file_of(tmp_path, *lines), RECORDS)
    assert [record.ranking for record in found] == [("p1",), ()]
    assert [note.split("given.jsonl ")[1] for note in notes] == [
        "orders 1 questions that this run does not have (q9): left out.",
        "names 3 ids that are no candidates (zz, 17, x): left out.",
        "places no candidate of 1 questions (q2): they do not teach.",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1]",
        '{"id": "q1"}',
        '{"id": "q1", "ranking": "p1"}',
        '{"id": null, "ranking": []}',
        '{"id": 1.5, "ranking": []}',
        '{"id": "q1", "ranking": [true]}',
        "[" * 9999,
    ],
)
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "given.jsonl"
    file.write_text('{"id": "q1", "ranking": ["p1"]}\n' + line, encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_rankings(file, RECORDS)


def test_a_file_that_fits_no_question_is_refused_with_ids_that_would(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="q1, q2"):
        read_rankings(file_of(tmp_path, {"id": "other", "ranking": ["p1"]}), RECORDS)
    with pytest.raises(InputError, match="there is none"):
        read_rankings(tmp_path / "none.jsonl", RECORDS)


@given(st.lists(st.permutations(["p1", "p2", "p3", "p4"]), min_size=1, max_size=4))
def test_whole_orders_give_whole_orders(tmp_path_factory: pytest.TempPathFactory, orders: list[list[str]]) -> None:
    lines = [{"id": "q1", "ranking": order} for order in orders]
    [record], _ = read_rankings(file_of(tmp_path_factory.getbasetemp(), *lines), RECORDS)
    assert sorted(record.ranking) == ["p1", "p2", "p3", "p4"]
    assert 0 <= record.weight <= 1
    if len(orders) == 1:
        assert record.ranking == tuple(orders[0])


QUERIES = [Query(id="q1", text="Why do bees dance?"), Query(id="q2", text="What pulls the sea?")]
FOUND = [
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
        FOUND,
        QUERIES,
        [voted("why do BEES dance", ["c", "a", "b"]), voted("Why do bees dance?", ["c", "b", "a"])],
    )
    assert first.ranking == ("c", "a", "b")
    assert second == ranked("q2", "abc")


def test_a_passage_that_only_people_saw_joins_and_a_stranger_does_not() -> None:
    (record, _) = beside(
        [ranked("q1", "abc"), ranked("q2", "abc")],
        FOUND,
        QUERIES,
        [voted(QUERIES[0].text, ["e", "a", "stranger"])],
    )
    assert record.shown == ("a", "b", "c", "e")
    assert set(record.ranking) == {"a", "b", "c", "e"}
    assert record.ranking.index("a") < record.ranking.index("b")


def test_where_the_llms_order_is_worth_nothing_people_are_heard_alone() -> None:
    (record,) = beside([ranked("q1", "abc", weight=0.0)], FOUND, QUERIES, [voted(QUERIES[0].text, ["b", "a"])])
    assert (record.ranking, record.weight) == (("b", "a"), 1.0)


def test_where_the_llm_gave_no_order_people_are_heard_alone() -> None:
    """Nobody was asked for orders, or whoever gave them was refused: votes are not lost with them."""
    votes = [voted(QUERIES[1].text, ["d", "a", "stranger"]), voted("Of another corpus?", ["a", "b"])]
    (alone,) = beside([], FOUND, QUERIES, votes)
    assert (alone.id, alone.ranking, alone.weight) == ("q2", ("d", "a"), 1.0)
    assert set(alone.shown) == {"d", "a"}
    asked, unasked = beside([ranked("q1", "abc")], FOUND, QUERIES, votes)
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


def said(ranking: str, shown: str = "", **changes: Any) -> Ranking:
    """A ranking of passages that are letters."""
    record = Ranking(
        id="q",
        ranking=tuple(ranking),
        shown=tuple(shown or ranking),
        status="ok",
        n_asked=1,
        reply="as it was",
        weight=1.0,
    )
    return replace(record, **changes)


def merged(*rounds: Ranking) -> Ranking:
    (found,) = merge_orders([[each] for each in rounds])
    return found


def test_a_better_passage_comes_before_the_best_so_far_and_so_before_all_that_it_has_beaten() -> None:
    found = merged(said("abc"), said("xay"))
    assert found.ranking == ("x", "a"), "whether y comes before b nobody has said"
    assert found.shown == tuple("abcxy")
    assert (found.n_asked, found.n_rounds, found.weight) == (2, 2, 1.0)


def test_where_all_that_is_new_is_better_the_whole_order_follows() -> None:
    assert merged(said("abc"), said("xya")).ranking == tuple("xyabc")


def test_a_best_that_stays_the_best_is_known_to_come_before_all_others() -> None:
    found = merged(said("abc"), said("axy"))
    assert (found.ranking, found.shown) == (("a",), tuple("abcxy"))


def test_what_a_reply_left_out_comes_after_what_it_placed() -> None:
    assert merged(said("abc"), said("x", shown="xya")).ranking == ("x",)


def test_a_round_without_an_order_changes_nothing() -> None:
    first = said("abc")
    assert merged(first, said("", shown="axy", status="refused")) == first
    assert merged(first, said("xay", weight=0.0)) == first
    second = said("xy")
    assert merged(said("", shown="abc", status="refused"), second) == second


def test_three_rounds_join_as_two_do() -> None:
    assert merged(said("ab"), said("ca"), said("dc")).ranking == tuple("dcab")


@settings(max_examples=60)
@given(st.permutations(range(12)), st.integers(2, 5), st.integers(1, 5))
def test_no_order_says_more_than_its_rounds(worths: list[int], size: int, named: int) -> None:
    """A teacher that prefers the higher worth, names only some, and sees the best so far with what is new."""
    letters = "abcdefghijkl"
    worth = dict(zip(letters, worths, strict=True))
    rounds, left, best = [], list(letters), ""
    while left:
        shown = [*best, *left[:size]]
        del left[:size]
        placed = sorted(shown, key=worth.__getitem__, reverse=True)[:named]
        best = placed[0]
        rounds.append(said("".join(placed), "".join(shown)))
    found = merged(*rounds)
    assert sorted(found.shown) == list(letters)
    assert found.ranking[0] == letters[worths.index(11)]
    proven = {(a, b) for r in rounds for n, a in enumerate(r.ranking) for b in {*r.shown} - {*r.ranking[: n + 1]}}
    for middle in letters:
        proven |= {(a, c) for a in letters for c in letters if {(a, middle), (middle, c)} <= proven}
    ranking = found.ranking
    claimed = {(a, b) for n, a in enumerate(ranking) for b in {*found.shown} - {*ranking[: n + 1]}}
    assert claimed <= proven


def listed(passages: str, **more: Any) -> CandidateList:
    return CandidateList(id="q", question="?", candidates=tuple(Retrieved(passage=each) for each in passages), **more)


def test_later_candidates_come_behind_what_was_shown_and_before_what_was_not() -> None:
    (found,) = merge_candidates([[listed("abcde", n_shown=2)], [listed("bdx")]])
    assert found == listed("abdxce", n_shown=4)
    (alone,) = merge_candidates([[listed("abc")], []])
    assert alone == listed("abc")


def many(n: int, ranking: tuple[str, ...] = ("a", "b")) -> list[Ranking]:
    return [Ranking(id=f"q{place:03}", ranking=ranking, shown=("b", "a", "c")) for place in range(n)]


@pytest.mark.parametrize(("n", "n_kept"), [(89, 0), (90, 30), (180, 30), (600, 100)])
def test_a_sixth_and_at_least_thirty_are_kept_out_but_never_more_than_a_third(n: int, n_kept: int) -> None:
    drawn = draw_held_out(many(n), seed=13)
    assert len(set(drawn)) == n_kept
    assert drawn == draw_held_out(many(n)[::-1], seed=13)


def test_a_reply_without_an_order_is_none_to_judge_by() -> None:
    assert draw_held_out(many(100, ("a",)), seed=13) == []


def test_the_document_of_the_first_choice_stands_for_the_answer() -> None:
    candidates = [
        CandidateList(
            id="q000",
            question="Why?",
            candidates=(Retrieved(passage="b", document="B"), Retrieved(passage="a", document="A")),
        )
    ]
    (query,) = first_choices(many(1), candidates)
    assert (query.id, query.text, query.grades, query.split) == ("q000", "Why?", {"A": 1}, "dev")
