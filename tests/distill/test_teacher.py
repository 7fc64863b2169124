"""What is asked brings out the order that a teacher has, and no more than it said."""

import asyncio
import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage

from distill.teacher.aggregation import aggregate, first_agreement, pair_agreement, proven_front
from distill.teacher.asking import (
    Limits,
    Order,
    calls_per_question,
    cut,
    estimate_tokens,
    fit_passages,
    n_shuffles,
    order_question,
    shuffled,
)
from indexes.errors import InputError


class ByWorth:
    """A teacher that prefers the higher number in a passage, whatever it is asked; some replies hold no order."""

    def __init__(self, refuses: Sequence[int] = (), names_at_most: int = 1000) -> None:
        self.refuses = refuses
        self.names_at_most = names_at_most
        self.prompts: list[str] = []

    async def ask(self, messages: Sequence[BaseMessage]) -> str:
        text = str(messages[1].content)
        self.prompts.append(text)
        if len(self.prompts) in self.refuses:
            return "I would rather not."
        found = re.findall(r"\[(\d+)\] worth (\d+)", text)
        numbers = [f"[{number}]" for number, worth in sorted(found, key=lambda pair: -int(pair[1]))]
        return " > ".join(numbers[: self.names_at_most])


def order(
    worths: Sequence[int], teacher: ByWorth | None = None, limits: Limits | None = None, shuffles: int = 1
) -> Order:
    passages = [f"worth {worth}" for worth in worths]
    asking = order_question(
        teacher or ByWorth(), "which?", passages, key="k", shuffles=shuffles, limits=limits or Limits()
    )
    return asyncio.run(asking)


def true_order(worths: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(worths)), key=lambda item: -worths[item]))


@settings(max_examples=40)
@given(st.permutations(range(8)), st.integers(1, 3))
def test_a_consistent_teachers_order_comes_out_whole(worths: list[int], shuffles: int) -> None:
    teacher = ByWorth()
    found = order(worths, teacher, shuffles=shuffles)
    assert (found.order, found.status) == (true_order(worths), "ok")
    assert sorted(found.shown) == list(range(8))
    assert found.n_asked == len(teacher.prompts) == calls_per_question(shuffles, 8)


@settings(max_examples=40)
@given(st.integers(2, 40).flatmap(lambda n: st.permutations(range(n))), st.integers(2, 9), st.integers(1, 8))
def test_windows_say_the_front_and_never_the_retrievals_tail(worths: list[int], window: int, stride: int) -> None:
    limits = Limits(window=window, stride=min(stride, window - 1))
    found = order(worths, limits=limits)
    assert found.order == true_order(worths)[: len(found.order)]
    overlap = window - min(stride, window - 1)
    assert len(found.order) >= min(len(worths), overlap)
    assert found.n_asked == calls_per_question(1, len(worths), limits)


@given(st.integers(1, 200), st.integers(2, 30), st.integers(1, 29))
def test_windows_cover_everything_and_overlap(n: int, window: int, stride: int) -> None:
    spans = Limits(window=window, stride=stride).windows(n)
    assert {item for first, last in spans for item in range(first, last)} == set(range(n))
    assert spans[-1][0] == 0
    assert all(last - first <= window for first, last in spans)
    assert all(front[0] < back[0] < front[1] for back, front in itertools.pairwise(spans))


def test_what_was_not_compared_is_not_in_the_order() -> None:
    assert proven_front([0, 1, 2, 3], [((0, 1), [2, 3])]) == (0, 1)
    assert proven_front([0, 1, 2, 3], [((2, 3), []), ((0, 1), [2])]) == (0, 1, 2, 3)
    assert proven_front([0, 1, 2, 3], [((), [2, 3]), ((0, 1, 2), [])]) == ()


def test_a_partial_order_is_the_top_and_a_window_refused_thrice_proves_nothing() -> None:
    partial = order([3, 1, 4, 0, 5], ByWorth(names_at_most=2))
    assert (partial.order, partial.status) == ((4, 2), "partial")
    refused = order([3, 1, 4, 0, 5], ByWorth(refuses=range(10)))
    assert (refused.order, refused.status, refused.n_asked) == ((), "refused", 3)
    back_refused = order(list(range(6)), ByWorth(refuses=(1, 2, 3)), Limits(window=4, stride=2))
    assert (back_refused.order, back_refused.status) == ((), "partial")


def test_two_shuffles_that_follow_one_another_differ_even_of_two_passages() -> None:
    for question in range(20):
        shown = [shuffled([0, 1], f"q{question}", repeat) for repeat in range(4)]
        assert all(a != b for a, b in itertools.pairwise(shown))


def test_a_teacher_that_looks_at_the_place_disagrees_with_itself() -> None:
    class Last(ByWorth):
        async def ask(self, messages: Sequence[BaseMessage]) -> str:
            text = str(messages[1].content)
            numbers = re.findall(r"^\[(\d+)\] worth", text, re.MULTILINE)
            return " > ".join(f"[{n}]" for n in reversed(numbers))

    shuffles = order(range(8), Last(), shuffles=9)
    assert (first_agreement(shuffles.passes) or 0) < 0.3
    assert {place for place, _ in shuffles.best_at} == {7}


@pytest.mark.parametrize("mode", ["listwise-0", "listwise-21", "best", "best-of", "auto", "listwise-3-kemeny", ""])
def test_modes_that_are_none_are_refused_with_those_that_are(mode: str) -> None:
    with pytest.raises(InputError, match="Use listwise"):
        n_shuffles(mode)


def test_a_mode_says_how_many_shuffles() -> None:
    assert [n_shuffles(mode) for mode in ("listwise", " Listwise-1", "listwise-20")] == [1, 1, 20]


@given(st.permutations(range(6)), st.integers(1, 4))
def test_orders_that_agree_stay_as_they_are(order: list[int], times: int) -> None:
    assert aggregate([order[:4]] * times, 6) == tuple(order[:4])


def test_an_aggregate_ends_where_most_say_nothing() -> None:
    assert aggregate([[0, 1, 2, 3], [0, 1], [0, 1]], 5) == (0, 1)
    assert aggregate([[], []], 5) == ()
    assert aggregate([[], [2, 1]], 5) == (2, 1)


def test_agreement_counts_the_pairs_that_both_decide() -> None:
    assert pair_agreement([0, 1, 2], [2, 1, 0], 3) == -1
    assert pair_agreement([0], [0, 1, 2], 3) == 1
    assert pair_agreement([0], [], 3) == 0
    assert first_agreement([[0, 1], []]) is None
    assert first_agreement([[0, 1], [0, 2], [1, 0]]) == pytest.approx(1 / 3)


@given(st.lists(st.text(max_size=300), min_size=1, max_size=6), st.integers(0, 300))
def test_cut_passages_fit_the_budget_and_whole_ones_stay(passages: list[str], budget: int) -> None:
    fitted = fit_passages(passages, budget)
    assert sum(map(estimate_tokens, fitted)) <= budget
    if sum(map(estimate_tokens, passages)) <= budget:
        assert fitted == passages
    assert all(passage.startswith(short.removesuffix(" …")) for passage, short in zip(passages, fitted, strict=True))


def test_a_cut_is_at_a_word_and_at_a_character_where_there_are_no_words() -> None:
    assert cut("one two three four", 5, len) == "one …"
    assert cut("一二三四五六七八", 5, len) == "一二三 …"


def test_long_passages_take_what_short_ones_leave() -> None:
    assert fit_passages(["ab", "c" * 50], 20, len) == ["ab", "c" * 16 + " …"]


def test_a_small_context_makes_small_windows() -> None:
    small = Limits(context_tokens=700)
    assert len(small.windows(10)) > len(Limits().windows(10)) == 1
    worths = [3, 7, 1, 9, 4, 0, 8, 2, 6, 5]
    teacher = ByWorth()
    found = asyncio.run(
        order_question(
            teacher,
            "which?",
            [f"worth {worth}: " + "and so on " * 200 for worth in worths],
            key="k",
            limits=small,
        )
    )
    assert found.order[0] == 3
    assert max(map(estimate_tokens, teacher.prompts)) < 700
