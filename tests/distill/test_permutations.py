"""Agreement of two rankings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.permutations import kendall_tau


def test_kendall_tau_counts_pairs() -> None:
    assert kendall_tau("abcd", "abcd") == 1
    assert kendall_tau("abcd", "dcba") == -1
    assert kendall_tau("abc", "acb") == pytest.approx(1 / 3)
    assert kendall_tau("ab", "xy") == 0


@given(st.permutations("abcdef"), st.permutations("abcdef"))
def test_kendall_tau_is_the_same_both_ways_and_turns_over_with_one_ranking(first: list[str], second: list[str]) -> None:
    tau = kendall_tau(first, second)
    assert -1 <= tau == kendall_tau(second, first)
    assert kendall_tau(first[::-1], second) == pytest.approx(-tau)
