"""What the Compare tab shows, step by step; a blind comparison gives nothing away before the vote on what was shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

import pytest
from scripted_endpoint import ScriptedEndpoint

from app.handlers import compare, pickers
from app.handlers.buttons import Link, StopFlag, make_link, read_link
from app.votes import VoteBook
from app.workbench import Workbench
from distill.verdict.promotion import promote

QUESTION = "Why do honey bees dance?"


def compared(
    bench: Workbench, corpus: str, *keys: str, with_answers: bool = True, is_blind: bool = False
) -> list[compare.CompareView]:
    left, right, *more = keys
    return list(compare.compare(bench, QUESTION, corpus, left, right, more, with_answers, is_blind, StopFlag()))


def sent(views: Sequence[compare.CompareView], field: str) -> str:
    """The last that was sent to a part of the page."""
    return next(value for view in reversed(views) if isinstance(value := getattr(view, field), str))


def is_enabled(update: object) -> bool | None:
    return update.get("interactive") if isinstance(update, dict) else None


def test_both_sides_find_and_answer(bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint) -> None:
    views = compared(bench, corpus, "keywords", taught)
    assert sent(views, "passages").count('class="source">bees.txt') == 2
    left, right = sent(views, "answers").split('id="right-title"')
    assert "Left · Baseline" in left
    assert 'href="#left-passage-1"' in left
    assert "Right · Taught" in right
    assert 'href="#right-passage-1"' in right
    assert "4 of 4 passages were found by both" in sent(views, "summary")
    assert "Taught" in sent(views, "summary")
    assert len(endpoint.requests) == 2
    assert is_enabled(views[-1].compare)


def test_without_answers_no_llm_is_asked(
    bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint
) -> None:
    views = compared(bench, corpus, "keywords", taught, with_answers=False)
    assert "bees.txt" in sent(views, "passages")
    assert sent(views, "answers") == ""
    assert not endpoint.requests


@pytest.mark.parametrize("keys", [("keywords", "keywords"), ("keywords", "lexical", "fused", "lexical")])
def test_equal_sides_are_no_comparison(bench: Workbench, corpus: str, keys: tuple[str, ...]) -> None:
    (view,) = compared(bench, corpus, *keys)
    assert "Pick different ones" in view.summary


def test_four_retrievers_stand_side_by_side(
    bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint
) -> None:
    views = compared(bench, corpus, "keywords", taught, "lexical", "fused")
    answers, passages = sent(views, "answers"), sent(views, "passages")
    for prefix, name in zip(
        ("left", "right", "third", "fourth"),
        ("First · Baseline", "Second · Taught", "Third · Words", "Fourth · Baseline + words"),
        strict=True,
    ):
        assert f'<h2 id="{prefix}-title">{name}</h2>' in answers
        assert f'href="#{prefix}-passage-1"' in answers
        assert f'id="{prefix}-passage-1"' in passages
        assert f"<h2>{name}</h2>" in passages
    assert "found by all four" in sent(views, "summary")
    assert len(endpoint.requests) == 4
    ballot = sent(views, "ballot")
    assert ballot.count("<button") == 5
    assert "Fourth is best" in ballot
    assert "None is best" in ballot


def test_more_than_four_are_refused(bench: Workbench, corpus: str, taught: str) -> None:
    (view,) = compared(bench, corpus, "keywords", taught, "lexical", "fused", "reranked(lexical)")
    assert "at most 4" in view.summary


def test_among_several_sides_moves_are_told_against_the_first(bench: Workbench, corpus: str, taught: str) -> None:
    # Words alone find one passage only; so three of the four of the first side are not found by it.
    views = compared(bench, corpus, "lexical", "keywords", taught, with_answers=False)
    first, second, third = sent(views, "passages").split('class="side"')[1:]
    assert 'class="move' not in first, "every passage of it was found by another"
    for side in (second, third):
        assert side.count(">new</span>") == 3
        assert "on the first side" in side


def test_one_retriever_is_offered_with_the_way_to_a_second(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_compare_choices(bench, corpus, None, None)
    assert "Nothing has been taught on corpus &#x27;nature&#x27; yet. Open the Teach tab" in choices.teach["value"]
    assert "python -m" not in choices.teach["value"], "who reads this is on a page"
    assert (choices.left["value"], choices.right["value"]) == ("keywords", "lexical"), "the words are there already"


def test_two_retrievers_are_offered_side_by_side(bench: Workbench, corpus: str, taught: str) -> None:
    choices = pickers.list_compare_choices(bench, None, None, None)
    assert (choices.left["value"], choices.right["value"]) == ("keywords", taught)
    assert choices.left["choices"] == [
        ("Baseline", "keywords"),
        ("Taught", "taught"),
        ("Words", "lexical"),
        ("Baseline + words", "fused(keywords)"),
        ("Both", "fused(taught)"),
    ]
    assert choices.body["visible"] is True


def test_a_promoted_retriever_becomes_the_right_side_unless_a_person_picked_one(
    bench: Workbench, corpus: str, taught: str
) -> None:
    promote(bench.paths, corpus, taught, "a-run")
    assert pickers.list_compare_choices(bench, corpus, "keywords", "lexical").right["value"] == taught
    picked = pickers.list_compare_choices(bench, corpus, "keywords", "lexical", [], True)
    assert "value" not in picked.right
    opposite = pickers.list_compare_choices(bench, corpus, taught, "lexical")
    assert "value" not in opposite.right, "it is the left side already"


def test_further_retrievers_that_are_gone_are_taken_away(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_compare_choices(bench, corpus, "keywords", "lexical", ["gone", "fused"], True)
    assert choices.more["value"] == ["fused(keywords)"]


def test_a_link_brings_back_the_comparison(bench: Workbench, corpus: str, taught: str) -> None:
    link = make_link(QUESTION, corpus, sides=["lexical", "keywords", "fused(keywords)"])
    assert link in sent(compared(bench, corpus, "lexical", "keywords", "fused"), "summary").replace("&amp;", "&")
    read = read_link(dict(parse_qsl(link[1:])))
    assert read.sides == ("lexical", "keywords", "fused(keywords)")
    choices = pickers.list_compare_choices(bench, None, None, None, None, False, read)
    assert (choices.left["value"], choices.right["value"]) == ("lexical", "keywords")
    assert choices.more["value"] == ["fused(keywords)"]
    assert choices.is_picked is True, "a promotion later does not replace what the link named"
    later = pickers.list_compare_choices(bench, corpus, "keywords", "lexical", [], False, read)
    assert "value" not in later.left, "what was picked since is not undone"


def test_a_link_to_a_retriever_that_is_gone_begins_with_the_usual_ones(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_compare_choices(bench, None, None, None, None, False, Link(corpus="gone", sides=("x",)))
    assert (choices.left["value"], choices.right["value"]) == ("keywords", "lexical")


TELLTALES = re.compile(r"keywords|taught|baseline|distilled|\d ms|after \d|similarity|class=.score", re.IGNORECASE)


def state_of(views: list[compare.CompareView]) -> compare.Compared:
    return next(view.compared for view in reversed(views) if isinstance(view.compared, compare.Compared))


def test_nothing_gives_the_sides_away_before_the_vote(bench: Workbench, corpus: str, taught: str) -> None:
    for views in (
        compared(bench, corpus, "keywords", taught, is_blind=True),
        compared(bench, corpus, "keywords", taught, "lexical", "fused", is_blind=True),
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
    state = state_of(compared(bench, corpus, "keywords", taught, is_blind=True))
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
    state = state_of(compared(bench, corpus, "keywords", taught, is_blind=True))
    compare.vote(bench, "left", state, "me")
    assert "that vote stands" in compare.vote(bench, "right", state, "me").note
    assert [vote.verdict for vote in VoteBook(bench.paths.votes).votes()] == ["left"]
    assert "is kept" in compare.vote(bench, "right", state, "another").note


def test_a_second_vote_on_an_open_comparison_replaces_the_first(bench: Workbench, corpus: str, taught: str) -> None:
    state = state_of(compared(bench, corpus, "keywords", taught, is_blind=False))
    compare.vote(bench, "left", state, "me")
    compare.vote(bench, "both bad", state, "me")
    assert [vote.verdict for vote in VoteBook(bench.paths.votes).votes()] == ["both bad"]


@pytest.mark.parametrize(("verdict", "has_compared"), [("left", False), ("<b>", True)])
def test_a_vote_on_nothing_or_of_another_kind_is_refused(
    bench: Workbench, corpus: str, taught: str, verdict: str, has_compared: bool
) -> None:
    state = state_of(compared(bench, corpus, "keywords", taught, is_blind=True)) if has_compared else None
    assert 'role="alert"' in compare.vote(bench, verdict, state, "me").note
    assert not bench.paths.votes.exists()


def test_a_thumb_is_kept_for_a_passage_that_is_shown_and_refused_for_any_other(
    bench: Workbench, corpus: str, taught: str
) -> None:
    state = state_of(compared(bench, corpus, "keywords", taught, is_blind=False))
    shown = state.sides[0].passages[2]
    assert compare.judge_passage(bench, {"passage": shown, "thumb": "up"}, state, "me") == ""
    for event in ({"passage": "x", "thumb": "up"}, {"passage": shown, "thumb": "sideways"}, {}):
        assert 'role="alert"' in compare.judge_passage(bench, event, state, "me")
    assert [thumb.passage for thumb in VoteBook(bench.paths.votes).thumbs()] == [shown]


def test_the_running_score_does_not_depend_on_the_sides(bench: Workbench, corpus: str, taught: str) -> None:
    compare.vote(bench, "left", state_of(compared(bench, corpus, "keywords", taught, is_blind=True)), "me")
    score = compare.show_score(bench, corpus, ["keywords", taught])
    assert "1 decided votes" in score
    assert score == compare.show_score(bench, corpus, [taught, "keywords"])
    assert "Nobody has voted" in compare.show_score(bench, corpus, ["keywords", "lexical"])


def test_the_best_of_several_is_kept_with_all_that_was_shown_and_counts_against_each_other(
    bench: Workbench, corpus: str, taught: str
) -> None:
    state = state_of(compared(bench, corpus, "keywords", taught, "lexical", is_blind=True))
    view = compare.vote(bench, "third", state, "me")
    assert f"First was {state.labels[0]}, second was {state.labels[1]}, third was {state.labels[2]}" in view.note
    (vote,) = VoteBook(bench.paths.votes).votes()
    assert vote.sides == state.sides
    assert vote.winner == state.sides[2]
    assert view.score.count("<th scope") == 2, "nothing is known of the two that were not the best"
    assert view.score.count("1 of 1") + view.score.count("0 of 1") == 2


def test_a_vote_that_does_not_fit_the_number_of_sides_is_refused(bench: Workbench, corpus: str, taught: str) -> None:
    three = state_of(compared(bench, corpus, "keywords", taught, "lexical", is_blind=False))
    two = state_of(compared(bench, corpus, "keywords", taught, is_blind=False))
    for verdict, state in (("left", three), ("tie", three), ("fourth", three), ("first", two), ("none", two)):
        assert "A vote is one of" in compare.vote(bench, verdict, state, "me").note
    assert not bench.paths.votes.exists()
