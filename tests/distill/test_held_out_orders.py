"""Orders that are to judge are drawn apart, few enough to be spared and enough to tell."""

from __future__ import annotations

import pytest

from distill.records import CandidateList, Ranking, Retrieved
from distill.teacher.orders import draw_held_out, first_choices


def rankings(n: int, ranking: tuple[str, ...] = ("a", "b")) -> list[Ranking]:
    return [Ranking(id=f"q{place:03}", ranking=ranking, shown=("b", "a", "c")) for place in range(n)]


@pytest.mark.parametrize(("n", "n_kept"), [(89, 0), (90, 30), (180, 30), (600, 100)])
def test_a_sixth_and_at_least_thirty_are_kept_out_but_never_more_than_a_third(n: int, n_kept: int) -> None:
    drawn = draw_held_out(rankings(n), seed=13)
    assert len(set(drawn)) == n_kept
    assert drawn == draw_held_out(rankings(n)[::-1], seed=13)


def test_a_reply_without_an_order_is_none_to_judge_by() -> None:
    assert draw_held_out(rankings(100, ("a",)), seed=13) == []


def test_the_document_of_the_first_choice_stands_for_the_answer() -> None:
    candidates = [
        CandidateList(
            id="q000",
            question="Why?",
            candidates=(Retrieved(passage="b", document="B"), Retrieved(passage="a", document="A")),
        )
    ]
    (query,) = first_choices(rankings(1), candidates)
    assert (query.id, query.text, query.grades, query.split) == ("q000", "Why?", {"A": 1}, "dev")
