"""Orders of several rounds become one that says what was compared, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distill.records import CandidateList, Ranking, Retrieved
from distill.teacher.orders import merge_candidates, merge_orders


def said(ranking: str, shown: str = "", **changes: Any) -> Ranking:
    """A ranking of passages that are letters."""
    record = Ranking(
        id="q",
        ranking=tuple(ranking),
        shown=tuple(shown or ranking),
        status="ok",
        n_asked=1,
        reply="as it was",
        agreement=None,
        weight=1.0,
        best_at=([0, len(shown or ranking)],),
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


@settings(max_examples=60, deadline=None)
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


def candidates(passages: str, **more: Any) -> CandidateList:
    return CandidateList(id="q", question="?", candidates=tuple(Retrieved(passage=each) for each in passages), **more)


def test_later_candidates_come_behind_what_was_shown_and_before_what_was_not() -> None:
    (found,) = merge_candidates([[candidates("abcde", n_shown=2)], [candidates("bdx")]])
    assert found == candidates("abdxce", n_shown=4)
    (alone,) = merge_candidates([[candidates("abc")], []])
    assert alone == candidates("abc")
