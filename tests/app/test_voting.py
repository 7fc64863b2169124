"""A blind comparison gives nothing away before the vote, and a vote is about what was shown."""

from __future__ import annotations

import re

import pytest

from app.handlers import compare
from app.handlers.buttons import StopFlag
from app.votes import VoteBook
from app.workbench import Workbench

QUESTION = "Why do honey bees dance?"
TELLTALES = re.compile(r"keywords|taught|baseline|distilled|\d ms|after \d|similarity|class=.score", re.IGNORECASE)


def compared(bench: Workbench, corpus: str, taught: str, *, is_blind: bool) -> list[compare.CompareView]:
    return several(bench, corpus, "keywords", taught, is_blind=is_blind)


def several(bench: Workbench, corpus: str, *keys: str, is_blind: bool) -> list[compare.CompareView]:
    left, right, *more = keys
    return list(compare.compare(bench, QUESTION, corpus, left, right, more, True, is_blind, StopFlag()))


def state_of(views: list[compare.CompareView]) -> compare.Compared:
    return next(view.compared for view in reversed(views) if isinstance(view.compared, compare.Compared))


def test_nothing_gives_the_sides_away_before_the_vote(bench: Workbench, corpus: str, taught: str) -> None:
    for views in (
        compared(bench, corpus, taught, is_blind=True),
        several(bench, corpus, "keywords", taught, "lexical", "fused", is_blind=True),
    ):
        sent = " ".join(str(value) for view in views for value in view[:-1])
        assert "bees.txt" in sent
        assert TELLTALES.search(sent) is None


def test_the_lot_decides_the_sides(bench: Workbench, corpus: str, taught: str) -> None:
    lefts = {
        state_of(list(compare.compare(bench, QUESTION, corpus, "keywords", taught, [], False, True, StopFlag())))
        .sides[0]
        .retriever
        for _ in range(24)
    }
    assert lefts == {"keywords", taught}, "24 equal draws would come once in eight million"


def test_the_vote_names_the_sides_and_keeps_what_was_shown(bench: Workbench, corpus: str, taught: str) -> None:
    state = state_of(compared(bench, corpus, taught, is_blind=True))
    view = compare.vote(bench, "left", state, "me")
    assert f"Left was {state.labels[0]}, right was {state.labels[1]}" in view.note
    assert f"Left · {state.labels[0]}" in view.answers
    assert "Bees dance" in view.answers
    assert 'class="score"' in view.passages
    (vote,) = VoteBook(bench.paths.votes).votes()
    assert (vote.corpus, vote.question, vote.is_blind, vote.verdict) == (corpus, QUESTION, True, "left")
    assert vote.sides == state.sides
    assert len(vote.sides[0].passages) == 4
    assert vote.time.endswith("+00:00")


def test_a_second_vote_on_a_blind_comparison_is_refused(bench: Workbench, corpus: str, taught: str) -> None:
    state = state_of(compared(bench, corpus, taught, is_blind=True))
    compare.vote(bench, "left", state, "me")
    assert "that vote stands" in compare.vote(bench, "right", state, "me").note
    assert [vote.verdict for vote in VoteBook(bench.paths.votes).votes()] == ["left"]
    assert "is kept" in compare.vote(bench, "right", state, "another").note


def test_a_second_vote_on_an_open_comparison_replaces_the_first(bench: Workbench, corpus: str, taught: str) -> None:
    state = state_of(compared(bench, corpus, taught, is_blind=False))
    compare.vote(bench, "left", state, "me")
    compare.vote(bench, "both bad", state, "me")
    assert [vote.verdict for vote in VoteBook(bench.paths.votes).votes()] == ["both bad"]


@pytest.mark.parametrize(("verdict", "has_compared"), [("left", False), ("<b>", True)])
def test_a_vote_on_nothing_or_of_another_kind_is_refused(
    bench: Workbench, corpus: str, taught: str, verdict: str, has_compared: bool
) -> None:
    state = state_of(compared(bench, corpus, taught, is_blind=True)) if has_compared else None
    assert 'role="alert"' in compare.vote(bench, verdict, state, "me").note
    assert not bench.paths.votes.exists()


def test_a_thumb_is_kept_for_a_passage_that_is_shown_and_refused_for_any_other(
    bench: Workbench, corpus: str, taught: str
) -> None:
    state = state_of(compared(bench, corpus, taught, is_blind=False))
    shown = state.sides[0].passages[2]
    assert compare.judge_passage(bench, {"passage": shown, "thumb": "up"}, state, "me") == ""
    for event in ({"passage": "x", "thumb": "up"}, {"passage": shown, "thumb": "sideways"}, {}):
        assert 'role="alert"' in compare.judge_passage(bench, event, state, "me")
    assert [thumb.passage for thumb in VoteBook(bench.paths.votes).thumbs()] == [shown]


def test_the_running_score_does_not_depend_on_the_sides(bench: Workbench, corpus: str, taught: str) -> None:
    compare.vote(bench, "left", state_of(compared(bench, corpus, taught, is_blind=True)), "me")
    score = compare.show_score(bench, corpus, ["keywords", taught])
    assert "1 decided votes" in score
    assert score == compare.show_score(bench, corpus, [taught, "keywords"])
    assert "Nobody has voted" in compare.show_score(bench, corpus, ["keywords", "lexical"])


def test_the_best_of_several_is_kept_with_all_that_was_shown_and_counts_against_each_other(
    bench: Workbench, corpus: str, taught: str
) -> None:
    state = state_of(several(bench, corpus, "keywords", taught, "lexical", is_blind=True))
    view = compare.vote(bench, "third", state, "me")
    assert f"First was {state.labels[0]}, second was {state.labels[1]}, third was {state.labels[2]}" in view.note
    (vote,) = VoteBook(bench.paths.votes).votes()
    assert vote.sides == state.sides
    assert vote.winner == state.sides[2]
    assert view.score.count("<th scope") == 2, "nothing is known of the two that were not the best"
    assert view.score.count("1 of 1") + view.score.count("0 of 1") == 2


def test_a_vote_that_does_not_fit_the_number_of_sides_is_refused(bench: Workbench, corpus: str, taught: str) -> None:
    three = state_of(several(bench, corpus, "keywords", taught, "lexical", is_blind=False))
    two = state_of(compared(bench, corpus, taught, is_blind=False))
    for verdict, state in (("left", three), ("tie", three), ("fourth", three), ("first", two), ("none", two)):
        assert "A vote is one of" in compare.vote(bench, verdict, state, "me").note
    assert not bench.paths.votes.exists()
