"""The listwise loss is the Plackett-Luce likelihood, whatever the padding and the scale."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.listwise import PADDING, UNRANKED, list_mle

SCORES = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


def probability(scores: list[float], order: tuple[int, ...]) -> float:
    """Plackett-Luce by its definition: draw the first, then the next from the rest, …"""
    left, result = list(range(len(scores))), 1.0
    for position in order:
        result *= math.exp(scores[position]) / sum(math.exp(scores[other]) for other in left)
        left.remove(position)
    return result


def loss(scores: list[float], targets: list[int]) -> float:
    return float(list_mle(torch.tensor([scores]), torch.tensor([targets])))


@given(SCORES, st.data())
def test_it_is_the_likelihood_of_the_order(scores: list[float], data: st.DataObject) -> None:
    order = tuple(data.draw(st.permutations(range(len(scores)))))
    targets = [order.index(position) for position in range(len(scores))]
    assert loss(scores, targets) * len(scores) == pytest.approx(-math.log(probability(scores, order)), abs=1e-4)


def test_an_unplaced_tail_counts_as_every_order_of_it() -> None:
    scores = [0.3, -1.0, 2.0, 0.5]
    total = sum(probability(scores, (2, *tail)) for tail in itertools.permutations((0, 1, 3)))
    assert loss(scores, [UNRANKED, UNRANKED, 0, UNRANKED]) == pytest.approx(-math.log(total), abs=1e-5)


@given(SCORES)
def test_padding_and_a_shift_change_nothing(scores: list[float]) -> None:
    targets = list(range(len(scores)))
    padded = loss([*scores, 99.0, -99.0], [*targets, PADDING, PADDING])
    shifted = loss([score + 7 for score in scores], targets)
    assert padded == pytest.approx(loss(scores, targets), abs=1e-4)
    assert shifted == pytest.approx(loss(scores, targets), abs=1e-4)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6))
def test_gradients_are_finite_and_padding_gets_none(scores: list[float]) -> None:
    values = torch.tensor([[*scores, 0.0]], requires_grad=True)
    targets = torch.tensor([[*range(len(scores)), PADDING]])
    list_mle(values, targets).backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert values.grad[0, -1] == 0


def test_lists_without_a_placed_candidate_cost_nothing() -> None:
    assert loss([1.0, 2.0], [UNRANKED, UNRANKED]) == 0
