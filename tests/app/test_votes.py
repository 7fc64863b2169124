"""Votes are kept with what was shown, counted once a visitor, and become orders that a distillation reads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import commands
from app.votes import PassageThumb, Side, Thumb, Verdict, Vote, VoteBook, count_votes, export_votes, voted_orders
from app.workbench import Workbench
from distill.questions.reading import assign_splits
from distill.records import CandidateList, Retrieved, VotedOrder
from distill.teacher.orders import read_rankings
from indexes.errors import InputError, StoreError
from indexes.queries import read_queries
from indexes.types import Query

LEFT = Side(retriever="base", passages=("a", "b", "c"), documents=("A", "B", "C"))
RIGHT = Side(retriever="taught", passages=("c", "a", "d"), documents=("C", "A", "D"))


def a_vote(verdict: Verdict = "right", visitor: str = "v", question: str = "Why?", **other: object) -> Vote:
    vote = Vote(
        time="2026-01-01T00:00:00+00:00",
        visitor=visitor,
        comparison="one",
        corpus="nature",
        question=question,
        sides=(LEFT, RIGHT),
        is_blind=True,
        verdict=verdict,
    )
    return replace(vote, **other)  # type: ignore[arg-type]


def a_thumb(passage: str, thumb: Thumb = "up", visitor: str = "v", sides: tuple[Side, ...] = (LEFT,)) -> PassageThumb:
    return PassageThumb(
        time="2026-01-01T00:00:00+00:00",
        visitor=visitor,
        corpus="nature",
        question="Why?",
        sides=sides,
        passage=passage,
        document=passage.upper(),
        thumb=thumb,
    )


@pytest.fixture
def book(tmp_path: Path) -> VoteBook:
    return VoteBook(tmp_path / "data" / "votes.jsonl")


def test_a_vote_comes_back_as_it_was_given(book: VoteBook) -> None:
    book.add(a_vote())
    book.add(a_thumb("b"))
    assert book.votes() == [a_vote()]
    assert book.thumbs() == [a_thumb("b")]


def test_a_second_vote_of_a_visitor_replaces_the_first_whichever_side_the_retrievers_stood_on(book: VoteBook) -> None:
    book.add(a_vote("right"))
    book.add(a_vote("right", question="WHY", sides=(RIGHT, LEFT), comparison="two"))
    (vote,) = book.votes()
    assert vote.winner == LEFT
    assert len(book.votes()) == 1
    assert book.has_voted("v", "one")
    assert not book.has_voted("another", "one")


def test_a_thumb_that_is_taken_back_is_gone(book: VoteBook) -> None:
    book.add(a_thumb("b"))
    book.add(a_thumb("b", "none"))
    assert book.thumbs() == []


def test_no_vote_is_lost_when_many_vote_at_once(book: VoteBook) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: book.add(a_vote(visitor=f"v{n}")), range(40)))
    assert len(book.votes()) == 40


def test_a_line_of_another_version_is_left_out_and_a_broken_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    book = VoteBook(file)
    book.add(a_vote())
    with file.open("a") as opened:
        opened.write('{"kind": "vote", "verdict": "left"}\n{"kind": "applause"}\n')
    assert len(book.votes()) == 1
    with file.open("a") as opened:
        opened.write("not json\n")
    with pytest.raises(StoreError, match="not JSON"):
        book.votes()


def test_the_score_counts_retrievers_and_not_sides() -> None:
    votes = [a_vote("right", f"r{n}") for n in range(7)]
    votes += [a_vote("left", f"s{n}", sides=(RIGHT, LEFT)) for n in range(2)]
    votes += [a_vote("left", "l"), a_vote("tie", "t"), a_vote("both bad", "b"), a_vote("left", "o", corpus="other")]
    score = count_votes(votes, "nature", "base", "taught")
    assert (score.first, score.second, score.ties, score.both_bad) == (1, 9, 1, 1)
    # Wilson's interval for 9 of 10, as tables have it
    assert (round(score.low, 3), round(score.high, 3)) == (0.596, 0.982)


def test_the_best_of_several_is_better_than_each_other_and_says_nothing_of_them() -> None:
    third = Side(retriever="words", passages=("a",), documents=("A",))
    vote = a_vote("second", sides=(LEFT, RIGHT, third))
    assert vote.winner == RIGHT
    assert count_votes([vote], "nature", "base", "taught").second == 1
    assert count_votes([vote], "nature", "taught", "words").first == 1
    assert count_votes([vote], "nature", "base", "words").n == 0
    none = a_vote("none", "w", sides=(LEFT, RIGHT, third))
    assert none.winner is None
    assert count_votes([none], "nature", "base", "words").ties == 1


def test_a_visitor_counts_once_for_a_question_and_a_pair_however_many_sides_were_shown(book: VoteBook) -> None:
    third = Side(retriever="words", passages=("a",), documents=("A",))
    book.add(a_vote("right"))
    book.add(a_vote("first", sides=(LEFT, RIGHT, third)))
    score = count_votes(book.votes(), "nature", "base", "taught")
    assert (score.first, score.second) == (1, 0), "what was said last"
    book.add(a_vote("right"))
    assert count_votes(book.votes(), "nature", "base", "taught").second == 1


def test_a_vote_for_the_best_of_several_teaches_its_order() -> None:
    third = Side(retriever="words", passages=("d", "a"), documents=("D", "A"))
    orders, _ = voted_orders([a_vote("third", sides=(LEFT, RIGHT, third))], [], "nature")
    assert [order.ranking for order in orders] == [("d", "a")]
    assert voted_orders([a_vote("none", sides=(LEFT, RIGHT, third))], [], "nature")[0] == []


def test_without_a_decided_vote_nothing_is_known() -> None:
    score = count_votes([a_vote("tie")], "nature", "base", "taught")
    assert (score.low, score.high, score.share) == (0.0, 1.0, 0.5)


def test_a_vote_teaches_the_order_of_its_side_with_thumbs_before_and_behind() -> None:
    orders, questions = voted_orders([a_vote("right")], [a_thumb("d"), a_thumb("c", "down")], "nature")
    assert orders == [VotedOrder(question="Why?", ranking=("d", "a", "c"))]
    assert questions == [Query(id="v1", text="Why?", positives=("D",))]


def test_a_thumb_alone_says_that_it_is_better_than_what_was_passed_over() -> None:
    orders, _ = voted_orders([], [a_thumb("b")], "nature")
    assert [order.ranking for order in orders] == [("b", "a", "c")]
    orders, _ = voted_orders([], [a_thumb("a")], "nature")
    assert [order.ranking for order in orders] == [("a", "b")], "nothing is known of what stands lower"


def test_ties_and_thumbs_down_alone_order_nothing() -> None:
    votes = [a_vote("tie"), a_vote("both bad", "w")]
    assert voted_orders(votes, [a_thumb("a", "down", "x")], "nature")[0] == []


def test_each_visitor_has_an_order_and_the_same_question_stands_once() -> None:
    votes = [a_vote("left", "v"), a_vote("right", "w", question="why")]
    orders, questions = voted_orders(votes, [], "nature")
    assert [order.question for order in orders] == [questions[0].text] * 2
    assert len(questions) == 1


def test_a_distillation_reads_what_is_written(bench: Workbench, corpus: str, tmp_path: Path) -> None:
    book = VoteBook(bench.paths.votes)
    for n, question in enumerate(["Why?", "Who?", "Where?", "When?", "What?"]):
        book.add(a_vote("left", f"v{n}", question))
    questions, rankings = tmp_path / "questions.jsonl", tmp_path / "rankings.jsonl"
    assert export_votes(bench.paths, corpus, questions, rankings) == (5, 5)
    queries = assign_splits(read_queries(questions), seed=1)
    assert {query.text for query in queries} == {"Why?", "Who?", "Where?", "When?", "What?"}
    candidates = tuple(Retrieved(passage=p, document=p.upper()) for p in ("c", "b", "a"))
    records = [CandidateList(id=query.id, question=query.text, candidates=candidates) for query in queries]
    given, notes = read_rankings(rankings, records)
    assert notes == []
    assert [each.ranking for each in given] == [("a", "b", "c")] * 5


def test_the_command_says_what_it_wrote_and_what_is_missing(
    bench: Workbench, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(bench.paths.root))
    command = ["votes", corpus, "--questions", str(tmp_path / "q.jsonl"), "--rankings", str(tmp_path / "r.jsonl")]
    with pytest.raises(InputError, match="Nobody's votes"):
        CliRunner().invoke(commands, command, catch_exceptions=False)
    VoteBook(bench.paths.votes).add(a_vote("left"))
    assert CliRunner().invoke(commands, command).exit_code == 0
    assert json.loads((tmp_path / "r.jsonl").read_text())["ranking"] == ["a", "b", "c"]
