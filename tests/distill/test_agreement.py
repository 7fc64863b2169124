"""Agreement is Kendall τ over what the teacher said, and calibration finds the temperature that was there."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from distill.ranker.agreement import agreement, calibrate, preference_margins
from distill.ranker.targets import PADDING, UNRANKED, rank_targets


@settings(max_examples=50)
@given(st.data())
def test_on_whole_orders_it_is_kendalls_tau(data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(6)))
    scores = data.draw(st.permutations(range(6)))
    expected = kendalltau([-score for score in scores], order).statistic
    assert agreement([[float(s) for s in scores]], [list(order)]) == pytest.approx(expected)


def test_a_partial_order_counts_by_the_pairs_that_were_said() -> None:
    targets = [UNRANKED, 0, UNRANKED, PADDING]
    assert len(preference_margins([0.0, 1.0, 2.0, 9.0], targets)) == 2
    assert agreement([[0.0, 1.0, 2.0, 9.0]], [targets]) == 0
    assert agreement([[0.0, 3.0, 2.0, 9.0]], [targets]) == 1


def test_lists_count_by_their_weights_and_those_that_say_nothing_do_not_count() -> None:
    scores = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    targets = [[0, 1], [1, 0], [UNRANKED, UNRANKED]]
    assert agreement(scores, targets) == 0
    assert agreement(scores, targets, [3.0, 1.0, 5.0]) == 0.5
    assert agreement([], []) == 0


def test_scores_that_are_no_numbers_do_not_pass_for_agreement() -> None:
    assert math.isnan(agreement([[math.nan, 1.0]], [[0, 1]]))


def test_what_the_teacher_never_saw_teaches_nothing() -> None:
    record = {"candidates": [{"passage": p} for p in ("a", "b", "c", "d")]}
    ranking = {"ranking": ["c", "a"], "shown": ["a", "b", "c"]}
    assert rank_targets(record, ranking) == [1, UNRANKED, 0, PADDING]


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_calibration_finds_how_far_scores_are_from_probabilities(temperature: float) -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0, 3, 20_000)
    prefers_first = rng.uniform(size=20_000) < 1 / (1 + np.exp(-differences / temperature))
    scores = [[difference, 0.0] for difference in differences.tolist()]
    targets = [[0, 1] if first else [1, 0] for first in prefers_first]
    found = calibrate(scores, targets)
    assert found is not None
    assert found.n_pairs == 20_000
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.error_at_best < 0.02 < 0.04 < found.error


def test_without_pairs_there_is_nothing_to_calibrate() -> None:
    assert calibrate([], []) is None
    assert calibrate([[1.0]], [[0]]) is None
