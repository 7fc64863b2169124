"""Agreement is how high the scores put the teacher's first passage, by hand-worked lists."""

import math

import pytest

from distill.candidates import PADDING, UNRANKED, rank_targets
from distill.ranker.agreement import first_place
from distill.records import CandidateList, Ranking, Retrieved


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([3.0, 2.0, 1.0], [0, 1, 2], 1.0),
        ([3.0, 2.0, 1.0], [1, 0, 2], 1 / 2),
        ([3.0, 2.0, 1.0], [2, 1, 0], 1 / 3),
        ([1.0, 3.0, 2.0], [0, 1, 2], 1 / 3),
        ([-5.0], [0], 1.0),
    ],
)
def test_it_is_the_reciprocal_of_the_place_of_the_first(
    scores: list[float], targets: list[int], expected: float
) -> None:
    assert first_place([scores], [targets]) == pytest.approx(expected)


def test_what_comes_after_the_first_does_not_count() -> None:
    """What a teacher puts last follows the order that it was shown more than the question."""
    assert first_place([[3.0, 2.0, 1.0]], [[0, 2, 1]]) == first_place([[3.0, 1.0, 2.0]], [[0, 2, 1]]) == 1


@pytest.mark.parametrize(("scores", "place"), [([1.0, 1.0], 1.5), ([1.0] * 4, 2.5), ([1.0, 2.0, 1.0, 0.0], 2.5)])
def test_equal_scores_share_the_mean_of_their_places(scores: list[float], place: float) -> None:
    targets = [0, *range(1, len(scores))]
    assert first_place([scores], [targets]) == pytest.approx(1 / place)
    turned = [scores[::-1]], [targets[::-1]]
    assert first_place(*turned) == pytest.approx(1 / place), "the order of the columns decides nothing"


def test_what_was_not_placed_is_behind_the_first_and_what_was_not_seen_is_not_there() -> None:
    assert first_place([[1.0, 9.0, 8.0]], [[0, UNRANKED, UNRANKED]]) == pytest.approx(1 / 3)
    assert first_place([[1.0, 9.0, 0.0]], [[0, PADDING, 1]]) == 1


def test_lists_count_by_their_weights_and_those_that_say_nothing_do_not_count() -> None:
    scores = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    targets = [[0, 1], [1, 0], [UNRANKED, UNRANKED]]
    assert first_place(scores, targets) == pytest.approx(0.75)
    assert first_place(scores, targets, [3.0, 1.0, 5.0]) == pytest.approx((3 * 1 + 1 * 0.5) / 4)
    assert first_place(scores, targets, [0.0, 0.0, 5.0]) == 0
    assert first_place([], []) == 0


def test_scores_that_are_no_numbers_do_not_pass_for_agreement() -> None:
    assert math.isnan(first_place([[math.nan, 1.0]], [[0, 1]]))
    assert math.isnan(first_place([[2.0, 1.0], [1.0, math.nan]], [[0, 1], [0, 1]]))


def test_what_the_teacher_never_saw_teaches_nothing() -> None:
    record = CandidateList(id="q", question="?", candidates=tuple(Retrieved(passage=p) for p in ("a", "b", "c", "d")))
    ranking = Ranking(id="q", ranking=("c", "a"), shown=("a", "b", "c"))
    assert rank_targets(record, ranking) == [1, UNRANKED, 0, PADDING]
