"""Which passages the teacher is shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.candidates import with_sources


def record(n: int) -> dict[str, Any]:
    return {"id": "q", "question": "?", "candidates": [{"passage": f"p{i}"} for i in range(n)]}


def order(found: dict[str, Any]) -> list[str]:
    return [candidate["passage"] for candidate in found["candidates"]]


def test_a_source_that_was_found_late_is_shown_in_place_of_the_last() -> None:
    found = with_sources(record(6), {"q": ["p4"]}, 3)
    assert order(found) == ["p0", "p1", "p4", "p2", "p3", "p5"]


@pytest.mark.parametrize("sources", [{}, {"other": ["p4"]}, {"q": ["p1"]}, {"q": ["elsewhere"]}])
def test_without_a_late_source_nothing_moves(sources: dict[str, list[str]]) -> None:
    assert with_sources(record(6), sources, 3) == record(6)


@given(
    n=st.integers(1, 12),
    n_shown=st.integers(1, 12),
    sources=st.sets(st.integers(0, 14).map("p{}".format), max_size=6),
)
def test_nothing_is_lost_or_doubled_and_sources_are_shown_first(n: int, n_shown: int, sources: set[str]) -> None:
    before = record(n)
    after = order(with_sources(before, {"q": sorted(sources)}, n_shown))
    assert sorted(after) == sorted(order(before))
    n_known = len(sources & set(after))
    assert len(sources & set(after[:n_shown])) == min(n_known, n_shown)
