"""Each method's targets hold what its teacher said, and nothing that it did not say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.jsonl import Record
from distill.retriever.targets import (
    add_to_scores,
    contrastive,
    direct,
    intermediate,
    order_utilities,
    pseudo_label,
    said_by_places,
    utility,
)
from distill.retriever.training_lists import spread


def ranking(placed: list[str], shown: list[str], weight: float = 1.0) -> Record:
    return {"id": "q", "ranking": placed, "shown": shown, "weight": weight}


def scores(**logits: float) -> Record:
    return {"id": "q", "question": "why?", "passages": list(logits), "scores": list(logits.values())}


def softmax(record: Record, temperature: float = 1.0) -> dict[str, float]:
    logits = np.asarray(record["scores"]) / temperature
    values = np.exp(logits - logits.max())
    return dict(zip(record["passages"], (values / values.sum()).tolist(), strict=True))


def blended(record: Record, order: Record, blend: float, temperature: float = 1.0) -> Record:
    """`record` and, beside its scores, `blend` times what `order` says by its places."""
    (target,) = intermediate([record], said_by_places({order["id"]: order}, blend), temperature=temperature)
    return target


CANDIDATES = [{"id": "q", "question": "why?", "candidates": []}, {"id": "silent", "question": "?", "candidates": []}]


@st.composite
def lists_with_orders(draw: st.DrawFn) -> tuple[Record, Record]:
    """A ranker's list and an order of some of the passages shown, which are some of its candidates and some others."""
    logits = draw(st.lists(st.floats(-20, 20), min_size=2, max_size=8))
    record = scores(**{f"p{place}": logit for place, logit in enumerate(logits)})
    shown = draw(st.permutations([*record["passages"], "x1", "x2"]))[: draw(st.integers(1, len(logits) + 2))]
    return record, ranking(shown[: draw(st.integers(0, len(shown)))], shown)


@given(lists_with_orders(), st.floats(0, 10), st.sampled_from([0.5, 1.0, 3.0]))
def test_an_order_moves_only_what_it_was_shown(pair: tuple[Record, Record], weight: float, temperature: float) -> None:
    """Were the probability of what the LLM never saw to change, its order would teach what it does not know."""
    record, order = pair
    before, after = (
        softmax(record, temperature),
        softmax(blended(record, order, weight, temperature), temperature),
    )
    for passage in set(record["passages"]) - set(order["shown"]):
        assert after[passage] == pytest.approx(before[passage], abs=1e-9)


@given(lists_with_orders(), st.floats(0, 10))
def test_the_blend_never_turns_against_the_order(pair: tuple[Record, Record], weight: float) -> None:
    """Of two passages the earlier one gains on the later one, and what was left out gains on none that was placed."""
    record, order = pair
    before = dict(zip(record["passages"], record["scores"], strict=True))
    moved = blended(record, order, weight)
    after = dict(zip(moved["passages"], moved["scores"], strict=True))
    left_out = [passage for passage in order["shown"] if passage not in order["ranking"]]
    known = [passage for passage in [*order["ranking"], *left_out] if passage in before]
    gains = [after[passage] - before[passage] for passage in known]
    assert gains == pytest.approx(sorted(gains, reverse=True), abs=1e-9)


def test_what_was_left_out_shares_one_utility_below_all_that_was_placed() -> None:
    utilities = order_utilities(ranking(["b", "a"], ["a", "b", "c", "d", "e"]))
    assert utilities["b"] == utility(1) > utilities["a"] == utility(2) > utilities["c"]
    assert utilities["c"] == utilities["d"] == utilities["e"] == pytest.approx(np.mean([utility(p) for p in (3, 4, 5)]))


def test_an_order_of_everything_and_of_nothing() -> None:
    record = scores(a=1.0, b=0.0)
    assert blended(record, ranking([], ["a", "b"]), 5.0) == record
    turned = blended(record, ranking(["b", "a"], ["b", "a"]), 5.0)
    assert softmax(turned)["b"] > 0.8
    assert math.fsum(map(math.exp, turned["scores"])) == pytest.approx(math.fsum(map(math.exp, record["scores"])))


def test_intermediate_is_the_ranker_and_takes_an_order_by_its_weight() -> None:
    record = scores(a=1.0, b=0.0)
    order = ranking(["b", "a"], ["a", "b"], weight=0.5)
    assert intermediate([record]) == [record]
    assert blended(record, order, 4.0) == add_to_scores(record, {"b": -2.0, "a": -2.0 * math.log2(3)})
    assert intermediate([record | {"id": "other"}], {"q": {"a": 5.0}}) == [record | {"id": "other"}]


def test_direct_turns_places_into_scores_and_leaves_out_questions_without_an_order() -> None:
    (target,) = direct(CANDIDATES, {"q": ranking(["b", "a"], ["a", "b", "c"], 0.7), "silent": ranking([], ["a", "b"])})
    assert dict(zip(target["passages"], target["scores"], strict=True)) == {
        "b": -2.0,
        "a": -2 * math.log2(3),
        "c": -4.0,
    }
    assert (target["question"], target["weight"]) == ("why?", 0.7)


def test_contrastive_knows_one_passage_and_nothing_about_the_rest() -> None:
    (target,) = contrastive(CANDIDATES, {"q": ranking(["b", "a"], ["a", "b", "c"])})
    assert softmax(target, 3.0) == {"b": 1.0, "a": 0.0, "c": 0.0}


def test_pseudo_labels_measure_from_the_source_passage_else_from_the_best() -> None:
    record = scores(a=1.0, b=3.0, c=2.0, d=0.0)
    (by_source,) = pseudo_label([record], {"q": "c"})
    assert spread(by_source, 4)["passages"] == ["c", "b", "a", "d"]
    assert spread(by_source, 2)["passages"] == ["c", "d"]
    (by_score,) = pseudo_label([record], {"q": "not a candidate"})
    assert spread(by_score, 4)["passages"] == ["b", "c", "a", "d"]
