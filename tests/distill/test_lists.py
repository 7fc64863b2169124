"""Targets are the teacher's where the ranker is useless, the ranker's where no order is, and never invented."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.records import Ranking, ScoreList
from distill.retriever.evidence import Evidence
from distill.retriever.lists import by_evidence, training_lists

N, DEEPER = 8, 12
NAMES = [f"p{place:02d}" for place in range(DEEPER)]


def lists(
    n: int, *, ranker: float, teacher: float, ordered: int
) -> tuple[list[ScoreList], dict[str, Ranking], list[str]]:
    """Score records, orders of the first `ordered` by question, and the answers. The answer's score is `ranker`
    standard deviations above the others', and what the teacher, who saw the first eight, makes of it `teacher` above.
    """
    draw = np.random.default_rng(0)
    answers = draw.integers(N, size=n)
    is_answer = np.arange(DEEPER)[None] == answers[:, None]
    values: NDArray[np.float64] = ranker * is_answer + draw.normal(size=(n, DEEPER))
    liked = np.argsort(-(teacher * is_answer[:, :N] + draw.gumbel(size=(n, N))), axis=1)
    scores: list[ScoreList] = [
        ScoreList(id=f"q{i}", question=f"question {i}", passages=tuple(NAMES), scores=tuple(row.tolist()))
        for i, row in enumerate(values)
    ]
    orders: dict[str, Ranking] = {
        f"q{i}": Ranking(
            id=f"q{i}", ranking=tuple(NAMES[place] for place in liked[i]), shown=tuple(NAMES[:N]), weight=1.0
        )
        for i in range(ordered)
    }
    return scores, orders, [NAMES[answer] for answer in answers]


def evidence(*, confidence: float, answer: float) -> Evidence:
    """What `fit_evidence` may find; `test_evidence.py` says how well it finds it."""
    return Evidence(
        spread=1.0,
        confidence=confidence,
        answer=answer,
        ranker=0.0,
        retrieval=0.0,
        place=0.3,
        outside=0.1,
        teacher_first=0.5,
        ranker_first=0.5,
        n_lists=200,
    )


USELESS_RANKER = evidence(confidence=0.05, answer=6.0)
BOTH_GOOD = evidence(confidence=4.0, answer=6.0)
USELESS_TEACHER = evidence(confidence=4.0, answer=0.0)


def best(record: ScoreList) -> str:
    return record.passages[int(np.argmax(record.scores))]


def test_they_follow_the_orders_where_the_ranker_is_useless_and_leave_out_what_has_none() -> None:
    scores, orders, _ = lists(200, ranker=0.0, teacher=8.0, ordered=150)
    found = by_evidence(scores, orders, USELESS_RANKER, scores)
    assert [each.id for each in found] == list(orders)
    assert np.mean([best(each) == orders[each.id].ranking[0] for each in found]) > 0.98


def test_they_follow_the_ranker_where_no_order_is() -> None:
    scores, orders, answers = lists(200, ranker=4.0, teacher=8.0, ordered=100)
    found = by_evidence(scores, orders, BOTH_GOOD, scores)
    assert [each.id for each in found] == [each.id for each in scores]
    assert found[100:] == scores[100:], "its scores are logits as they are, and no surer than they say"
    assert np.mean([best(found[i]) == answers[i] for i in range(100)]) > 0.98


def test_they_follow_the_ranker_where_the_orders_know_nothing() -> None:
    scores, orders, _ = lists(200, ranker=4.0, teacher=0.0, ordered=200)
    found = by_evidence(scores, orders, USELESS_TEACHER, scores)
    assert np.mean([best(target) == best(each) for target, each in zip(found, scores, strict=True)]) > 0.9
    assert np.mean([best(each) == orders[each.id].ranking[0] for each in found]) < 0.3


def test_they_are_logarithms_of_probabilities_that_training_takes() -> None:
    """A passage without any chance has a floor: JSON has no infinity, and training refuses it."""
    scores, orders, _ = lists(60, ranker=4.0, teacher=8.0, ordered=60)
    found = by_evidence(scores, orders, BOTH_GOOD, scores)
    for record, target in zip(scores, found, strict=True):
        assert replace(target, scores=()) == replace(record, scores=()), "the rest of a record stays"
        assert math.fsum(map(math.exp, target.scores)) == pytest.approx(1.0, abs=0.01)
        assert min(target.scores) >= math.log(1e-6) - 1e-3
    assert len(training_lists(found, dict.fromkeys(NAMES, "text"), 5)) == 60


def test_where_no_order_is_the_trained_ranker_speaks() -> None:
    """It has learned from the orders of other questions; where there is an order it would only repeat it."""
    scores, orders, _ = lists(60, ranker=4.0, teacher=8.0, ordered=40)
    trained = [replace(each, scores=tuple(2 * value for value in each.scores)) for each in scores]
    found = by_evidence(scores, orders, BOTH_GOOD, trained)
    assert found[:40] == by_evidence(scores, orders, BOTH_GOOD, scores)[:40]
    assert found[40:] == trained[40:]
    assert len(by_evidence(scores, orders, USELESS_RANKER, trained)) == 40, "nor is it heard where it knew nothing"


def test_an_order_that_says_nothing_is_none() -> None:
    scores, orders, _ = lists(60, ranker=0.0, teacher=8.0, ordered=60)
    orders["q0"] = replace(orders["q0"], ranking=())
    orders["q1"] = replace(orders["q1"], weight=0.0)
    orders["q2"] = replace(orders["q2"], shown=(), ranking=())
    found = by_evidence(scores, orders, USELESS_RANKER, scores)
    assert [each.id for each in found] == [each.id for each in scores[3:]]
