"""Orders count by how often teacher and ranker turn out to err, which nobody has told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.jsonl import Record
from distill.retriever.evidence import weigh_orders
from distill.retriever.targets import said_by_places

N = 8  # passages of a list
Floats = NDArray[np.float64]


class Lists:
    """Lists whose answers are known to the test alone, and a teacher's orders of them.

    The ranker's scores are `sharpness` times logits of the answers; `answer` is how much the teacher knows, `retrieval`
    how far it follows the order that it was given.
    """

    def __init__(self, n: int, answer: float, *, sharpness: float = 1.0, retrieval: float = 0.5, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        logits = 1.5 * draw.normal(size=(n, N))
        self.answers = np.array([draw.choice(N, p=np.exp(row) / np.exp(row).sum()) for row in logits])
        utilities = answer * np.eye(N)[self.answers] - retrieval * np.log1p(np.arange(N)) + draw.gumbel(size=(n, N))
        self.orders = np.argsort(-utilities, axis=1)
        self.logits: Floats = sharpness * logits
        names = [f"p{place}" for place in range(N)]
        self.scores: list[Record] = [
            {"id": f"q{i}", "question": "", "passages": names, "scores": row.tolist()}
            for i, row in enumerate(self.logits)
        ]
        self.rankings: dict[str, Record] = {
            f"q{i}": {"id": f"q{i}", "ranking": [names[place] for place in order], "shown": names, "weight": 1.0}
            for i, order in enumerate(self.orders)
        }

    def said(self) -> Floats:
        """What the orders say, shape (n, N)."""
        said = weigh_orders(self.scores, self.rankings)
        return np.array([[said[each["id"]][passage] for passage in each["passages"]] for each in self.scores])

    def hits(self, values: Floats) -> float:
        """The share of lists whose answer has the highest of `values`."""
        return float((values.argmax(1) == self.answers).mean())

    @property
    def teacher_hits(self) -> float:
        return float((self.orders[:, 0] == self.answers).mean())


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("answer", [1.5, 3.0, 6.0])
def test_order_and_scores_together_find_more_answers_than_either(answer: float, sharpness: float) -> None:
    lists = Lists(600, answer, sharpness=sharpness)
    together = lists.hits(lists.logits + lists.said())
    assert together > lists.hits(lists.logits) + 0.02
    assert together > lists.teacher_hits - (0.04 if answer == 6.0 else 0.0), "the surest may lapse"


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_a_teacher_that_knows_nothing_does_less_harm_than_by_its_places(sharpness: float) -> None:
    lists = Lists(600, 0.0, sharpness=sharpness)
    places = said_by_places(lists.rankings, 1.0)
    by_places = np.array([[places[each["id"]][passage] for passage in each["passages"]] for each in lists.scores])
    assert lists.hits(lists.logits + lists.said()) > lists.hits(lists.logits + by_places)


def test_the_surer_the_teacher_the_more_its_first_place_counts() -> None:
    gains = []
    for answer in (0.5, 1.5, 3.0, 6.0):
        lists = Lists(400, answer)
        said = lists.said()
        gains.append(np.mean(np.take_along_axis(said, lists.orders[:, :1], 1) - said.mean(1, keepdims=True)))
    assert gains == sorted(gains)


def test_what_one_order_can_say_is_bounded_however_sure_the_teacher() -> None:
    assert np.ptp(Lists(400, 50.0).said(), axis=1).max() < 8.0


def test_following_the_retrieval_is_not_taken_for_knowing() -> None:
    """A teacher that repeats the order it was given says nothing for the passages that stood first."""
    lists = Lists(600, 0.0, retrieval=8.0)
    assert np.ptp(lists.said(), axis=1).mean() < 1.0


def test_an_order_counts_by_its_weight_and_only_for_what_was_scored_and_shown() -> None:
    lists = Lists(50, 3.0)
    full = weigh_orders(lists.scores, lists.rankings)
    lists.rankings["q0"] |= {"weight": 0.0}
    lists.rankings["q1"] |= {"ranking": ["p3", "stranger", "p1"], "shown": ["p1", "p2", "p3", "stranger"]}
    lists.rankings["q2"] |= {"ranking": []}
    del lists.rankings["q3"]
    some = weigh_orders(lists.scores, lists.rankings)
    assert set(full) - set(some) == {"q0", "q2", "q3"}
    assert set(some["q1"]) == {"p1", "p2", "p3"}
    assert some["q1"]["p3"] > some["q1"]["p1"] > some["q1"]["p2"]
    halved = weigh_orders(lists.scores[4:5], {"q4": lists.rankings["q4"] | {"weight": 1e-9}})
    assert max(map(abs, halved["q4"].values())) < 1e-6


def test_without_any_order_nothing_is_said() -> None:
    lists = Lists(3, 3.0)
    assert weigh_orders(lists.scores, {}) == {}
    assert weigh_orders([], lists.rankings) == {}
