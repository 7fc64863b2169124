"""The share of words is what the teacher's first choices speak for, and few of them change little."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from distill.records import CandidateList, Ranking
from distill.stages.judging import Heard, fit_mix, hear, was_open
from indexes.filters import EVERYTHING, PassageFilter
from indexes.mixes import Mix
from indexes.types import Candidate, Passage


def ranking(*names: str) -> list[Candidate]:
    """Passages whose scores fall by a tenth from 1."""
    return [candidate(name, 1 - place / 10) for place, name in enumerate(names)]


def candidate(name: str, score: float) -> Candidate:
    return Candidate(passage=Passage(id=name, document_id=name, source="s", text=f"text of {name}"), score=score)


MEANING, WORDS = ranking(*"abcdef"), ranking(*"ghijke")


def heard(best: str, weight: float = 1.0) -> Heard:
    return Heard(question="why?", best=best, dense=MEANING, lexical=WORDS, weight=weight)


@pytest.mark.parametrize(("best", "share"), [("a", 0.4), ("g", 0.6), ("e", 0.3), ("k", 0.7)])
def test_the_share_is_the_nearest_to_the_prior_that_puts_the_firsts_first(best: str, share: float) -> None:
    """By meaning a to f have 1, 0.8 … 0, by words g to k and e 1, 0.9 … 0.5.

    a is first while meaning counts more, g where words do. e stands fifth up to 0.3, with a, b, c and g before
    it, then sixth; k has only g to j before it once its 0.6 · 0.7 passes the 0.41 of e and the 0.3 of a.
    """
    assert fit_mix([heard(best)] * 500).lexical == share


def test_words_that_only_bring_in_what_is_wrong_count_nothing() -> None:
    """f is sixth by meaning; with any share of words ten passages are before it."""
    assert fit_mix([heard("f")] * 500).lexical == 0.0


def test_few_orders_stay_near_the_prior_and_many_leave_it() -> None:
    shares = [fit_mix([heard("f")] * n, Mix(lexical=0.8)).lexical for n in (0, 2, 20, 500)]
    assert shares[0] == 0.8
    assert shares == sorted(shares, reverse=True)
    assert shares[1] >= 0.7 and shares[-1] == 0.0


def test_a_mix_says_how_many_orders_it_heard_and_without_any_the_prior_stays() -> None:
    prior = Mix(lexical=0.3, n_orders=40)
    assert fit_mix([], prior) is prior
    assert fit_mix([heard("a")] * 7, prior).n_orders == 7


def test_an_order_counts_by_its_weight() -> None:
    doubted = [heard("f", weight=0.01)] * 100
    assert fit_mix([*doubted, *[heard("k")] * 500]).lexical == 0.7
    assert fit_mix([*[heard("f")] * 500, *[heard("k", weight=0.01)] * 500]).lexical == 0.0


def test_orders_count_where_one_search_alone_would_have_shown_their_first() -> None:
    """Of what is late in both searches a fused pool shows only what both have, which speaks for a mix by itself."""
    shown = {f"text of {name}" for name in "abghe"}
    assert was_open(heard("b"), shown)
    assert was_open(heard("h"), shown)
    assert not was_open(heard("e"), shown)
    assert was_open(heard("e"), shown | {f"text of {name}" for name in "cd"})


class Fixed:
    """A search that always finds the same."""

    def __init__(self, found: list[Candidate]) -> None:
        self._found = found

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        return [self._found[:k] for _ in questions]


def test_orders_are_heard_by_what_both_searches_find() -> None:
    records = [CandidateList(id=f"q{n}", question=f"question {n}", candidates=()) for n in range(4)]
    orders = {
        "q0": Ranking(id="q0", ranking=("b", "a"), shown=("a", "b", "g", "h"), weight=0.5),
        "q2": Ranking(id="q2", ranking=("e", "a"), shown=("a", "b", "g", "h", "e")),
        "q3": Ranking(id="q3", ranking=("g", "a"), shown=("a", "b", "g", "h")),
    }
    texts = {c.passage.id: c.passage.full_text for c in (*MEANING, *WORDS)}
    found = hear(records, orders, Fixed(MEANING), Fixed(WORDS), texts)
    assert {identifier: (each.question, each.best, each.weight) for identifier, each in found.items()} == {
        "q0": ("question 0", "b", 0.5),
        "q3": ("question 3", "g", 1.0),
    }
