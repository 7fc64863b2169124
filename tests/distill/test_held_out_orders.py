"""Where no question judges, orders that trained nothing do, and are named as the teacher's own word."""

from __future__ import annotations

from typing import Any

import pytest

from distill.verdict.held_out_orders import FIRST_CHOICE, decide_by_orders, draw, first_choice_ranks
from distill.verdict.verdict import Rows
from indexes.evaluation import MetricsByQuery


def rankings(n: int, ranking: tuple[str, ...] = ("a", "b")) -> list[dict[str, Any]]:
    return [{"id": f"q{place:03}", "ranking": list(ranking), "shown": ["b", "a", "c"]} for place in range(n)]


def ranks(mean: float, n: int = 40, spread: float = 0.1) -> MetricsByQuery:
    return {f"q{place}": {FIRST_CHOICE: mean + spread * (-1) ** place} for place in range(n)}


@pytest.mark.parametrize(("n", "n_kept"), [(89, 0), (90, 30), (180, 30), (600, 100)])
def test_a_sixth_and_at_least_thirty_are_kept_out_but_never_more_than_a_third(n: int, n_kept: int) -> None:
    drawn = draw(rankings(n), seed=13)
    assert len(set(drawn)) == n_kept
    assert drawn == draw(rankings(n)[::-1], seed=13)


def test_a_reply_without_an_order_is_none_to_judge_by() -> None:
    assert draw(rankings(100, ("a",)), seed=13) == []


def test_the_first_choice_counts_by_its_place_among_what_was_shown() -> None:
    scores = {"a": 0.2, "b": 0.9, "c": 0.1, "unseen": 1.0}
    found = first_choice_ranks(rankings(1), {"q000": "?"}, lambda question, ids: [scores[each] for each in ids])
    assert found == {"q000": {FIRST_CHOICE: 1 / 2}}, "b is above it; what was not shown does not count"


def test_a_retriever_that_scores_all_alike_has_the_first_choice_in_the_middle() -> None:
    found = first_choice_ranks(rankings(1), {"q000": "?"}, lambda question, ids: [0.5] * len(ids))
    assert found == {"q000": {FIRST_CHOICE: 1 / 2}}  # of three


def test_the_teachers_word_is_named_as_that_and_promotes_nothing() -> None:
    by_row = {"base": ranks(0.5), "new": ranks(0.6, spread=0.0), "new-free": ranks(0.4, spread=0.0)}
    found = decide_by_orders(by_row, Rows(base="base", control="new-free", taught="new"), corpus="laws")
    assert (found.encoder, found.promoted, found.judged_by, found.n_questions) == ("", False, "orders", 40)
    assert "By the teacher's own word, 40 orders that trained nothing" in found.sentence
    assert "stands higher than the base has it (mean reciprocal rank 0.500 → 0.600, +0.100" in found.sentence
    assert "the free control: 0.500 → 0.400, -0.100" in found.sentence
    assert "so the baseline stays" in found.sentence
    assert any("does harm" in advice.sentence for advice in found.advice), "it is noticed without a label"
    assert found.advice[-1].option == "python -m distill promote laws new"


def test_what_stands_no_higher_is_not_offered_for_promotion() -> None:
    by_row = {"base": ranks(0.5), "new": ranks(0.5, spread=-0.1)}
    found = decide_by_orders(by_row, Rows(base="base", taught="new", standing="before"), corpus="laws")
    assert "not surely higher or lower" in found.sentence and "'before' stays promoted" in found.sentence
    assert not any("promote" in advice.option for advice in found.advice)


def test_without_questions_and_orders_the_advice_says_what_to_give() -> None:
    found = decide_by_orders({}, Rows(base="base", taught="new"), corpus="laws", trust="weigh")
    assert (found.promoted, found.judged_by, found.reason) == (False, "", "unjudged")
    assert "nothing could be measured: the baseline stays" in found.sentence
    assert '"positives"' in found.advice[0].sentence
