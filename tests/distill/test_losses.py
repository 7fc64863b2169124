"""Each loss falls as the scores near the teacher's order, whatever the padding, the scale and the order of columns."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.candidates import PADDING, UNRANKED
from distill.ranker.losses import Loss, list_mle, p_list_mle

# Steps of 1/8: a shift of such scores changes none of their differences.
SCORES = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=2, max_size=6)
every_loss = pytest.mark.parametrize("loss", [list_mle, p_list_mle])
few = settings(max_examples=25)


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    """Scores and the teacher's ranks, of which a part may be missing at the end."""
    scores = draw(SCORES)
    n_placed = draw(st.integers(0, len(scores)))
    ranks = [*range(n_placed), *[UNRANKED] * (len(scores) - n_placed)]
    return scores, draw(st.permutations(ranks))


def value(loss: Loss, scores: list[float], targets: list[int]) -> float:
    return float(loss(torch.tensor([scores]), torch.tensor([targets])))


def probability(scores: list[float], order: tuple[int, ...]) -> float:
    """Plackett-Luce by its definition: draw the first, then the next from the rest, …"""
    left, result = list(range(len(scores))), 1.0
    for position in order:
        result *= math.exp(scores[position]) / sum(math.exp(scores[other]) for other in left)
        left.remove(position)
    return result


@every_loss
@few
@given(lists())
def test_a_shift_padding_and_the_order_of_columns_change_nothing(
    loss: Loss, drawn: tuple[list[float], list[int]]
) -> None:
    scores, targets = drawn
    expected = pytest.approx(value(loss, scores, targets), abs=1e-4)
    assert value(loss, [score + 7 for score in scores], targets) == expected
    assert value(loss, [99.0, *scores, -99.0], [PADDING, *targets, PADDING]) == expected
    assert value(loss, scores[::-1], targets[::-1]) == expected


@every_loss
@few
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6), st.integers(0, 6))
def test_extreme_scores_give_finite_gradients_and_padding_gets_none(
    loss: Loss, scores: list[float], n_placed: int
) -> None:
    values = torch.tensor([[*scores, 0.0]], requires_grad=True)
    ranks = [place if place < n_placed else UNRANKED for place in range(len(scores))]
    result = loss(values, torch.tensor([[*ranks, PADDING]]))
    result.backward()
    assert torch.isfinite(result)
    assert result >= 0
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert values.grad[0, -1] == 0


@every_loss
def test_a_few_steps_down_the_gradient_give_the_order_and_leave_the_tail_alone(loss: Loss) -> None:
    scores = torch.zeros(1, 5, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss(scores, torch.tensor([[UNRANKED, 1, UNRANKED, 0, 2]])).backward()
        optimizer.step()
    found = scores.detach()[0].tolist()
    assert found[3] > found[1] > found[4] > found[0]
    assert found[0] == pytest.approx(found[2], abs=1e-3)


@every_loss
def test_a_weight_says_how_much_a_list_counts(loss: Loss) -> None:
    scores = torch.tensor([[0.0, 1.0, 0.5], [2.0, 0.0, 1.0]])
    targets = torch.tensor([[0, 1, 2], [2, 1, UNRANKED]])
    first, second = (float(loss(scores[i : i + 1], targets[i : i + 1])) for i in range(2))
    assert min(first, second) > 0
    assert float(loss(scores, targets)) == pytest.approx((first + second) / 2)
    assert float(loss(scores, targets, torch.tensor([0.0, 0.5]))) == pytest.approx(second / 4)


@every_loss
def test_lists_that_say_nothing_cost_nothing(loss: Loss) -> None:
    assert value(loss, [1.0, 2.0], [UNRANKED, UNRANKED]) == 0
    assert value(loss, [1.0, 2.0], [0, PADDING]) == pytest.approx(0, abs=1e-6)
    assert value(loss, [1.0], [PADDING]) == 0


@every_loss
def test_splitting_a_batch_gives_the_mean_of_the_parts(loss: Loss) -> None:
    """Otherwise a batch that is halved for want of memory would train something else."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 5, generator=generator)
    targets = torch.tensor([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, UNRANKED, 1, PADDING, PADDING], [1, 0, 2, 4, 3]])
    halves: Tensor = (loss(scores[:2], targets[:2]) + loss(scores[2:], targets[2:])) / 2
    assert float(loss(scores, targets)) == pytest.approx(float(halves))


@few
@given(SCORES, st.data())
def test_list_mle_is_the_likelihood_of_the_order(scores: list[float], data: st.DataObject) -> None:
    order = tuple(data.draw(st.permutations(range(len(scores)))))
    targets = [order.index(position) for position in range(len(scores))]
    expected = pytest.approx(-math.log(probability(scores, order)), abs=1e-4)
    assert value(list_mle, scores, targets) * len(scores) == expected


def test_an_unplaced_tail_counts_as_every_order_of_it() -> None:
    scores = [0.3, -1.0, 2.0, 0.5]
    total = sum(probability(scores, (2, *tail)) for tail in itertools.permutations((0, 1, 3)))
    targets = [UNRANKED, UNRANKED, 0, UNRANKED]
    assert value(list_mle, scores, targets) == pytest.approx(-math.log(total), abs=1e-5)
    assert value(p_list_mle, scores, targets) == pytest.approx(-math.log(total), abs=1e-5)


def test_p_list_mle_cares_most_for_the_first_place() -> None:
    first_wrong, last_wrong = [1.0, 2.0, 0.0, -1.0], [2.0, 1.0, -1.0, 0.0]
    assert value(p_list_mle, first_wrong, [0, 1, 2, 3]) > 1.5 * value(p_list_mle, last_wrong, [0, 1, 2, 3])
    weights = [7 / 11, 3 / 11, 1 / 11]  # 2^(4-i) - 1
    terms = [math.log(sum(math.exp(s) for s in last_wrong[i:])) - last_wrong[i] for i in range(3)]
    expected = sum(w * t for w, t in zip(weights, terms, strict=True))
    assert value(p_list_mle, last_wrong, [0, 1, 2, 3]) == pytest.approx(expected, abs=1e-5)


@every_loss
def test_an_unplaced_candidate_that_stands_for_many_counts_as_all_of_them(loss: Loss) -> None:
    """The log-sum-exp of others' scores is one candidate; the first place is as likely as beside each of them."""
    others = [0.2, -1.0, 3.0]
    together = float(torch.tensor(others).logsumexp(0))
    apart = value(loss, [1.0, *others], [0, UNRANKED, UNRANKED, UNRANKED])
    assert value(loss, [1.0, together], [0, UNRANKED]) == pytest.approx(apart, abs=1e-5)


def test_beside_others_passages_the_first_places_still_decide() -> None:
    """Place i of n, the one that stands for the others being the n-th, counts 2^(n-i) - 1."""
    scores, targets = [1.0, 2.0, -0.5, 0.7], [0, 1, 2, UNRANKED]
    terms = [math.log(sum(math.exp(s) for s in scores[i:])) - scores[i] for i in range(3)]
    expected = sum(w * t for w, t in zip([7 / 11, 3 / 11, 1 / 11], terms, strict=True))
    assert value(p_list_mle, scores, targets) == pytest.approx(expected, abs=1e-5)
    values = torch.tensor([[0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    p_list_mle(values, torch.tensor([targets])).backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    first, second, third, rest = values.grad[0].tolist()
    assert first < second < third < rest
    assert rest > 0
