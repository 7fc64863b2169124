"""Only what the LLM said about the order becomes a label; nothing is made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.permutations import kendall_tau, parse_permutation


@pytest.mark.parametrize(
    ("reply", "order", "status"),
    [
        ("[2] > [1] > [3]", (1, 0, 2), "ok"),
        (" [2]>[1]>[3].\n", (1, 0, 2), "ok"),
        ("[2] > [1] > [3] > [2]", (1, 0, 2), "repaired"),
        ("[2] > [1] > [3] > [7]", (1, 0, 2), "repaired"),
        ("Ranking (from 1 = best): [3] > [2] > [1]", (2, 1, 0), "repaired"),
        ("<think>maybe [1] > [2] > [3]</think>[3] > [1] > [2]", (2, 0, 1), "ok"),
        ("<think>[1] > [2] > [3]", (), "refused"),
        ("2 > 3 > 1", (1, 2, 0), "repaired"),
        ("[3, 1, 2]", (2, 0, 1), "repaired"),
        ('{"ranking": [3, 1, 2]}', (2, 0, 1), "repaired"),
        ('["[3]", "[1]", "[2]"]', (2, 0, 1), "repaired"),
        ("1. [3]\n2. [1]\n3. [2]", (2, 0, 1), "repaired"),
        ("1. Passage 3\n2. Passage 1\n3. Passage 2", (2, 0, 1), "repaired"),
        ("[3] > [1]", (2, 0), "partial"),
        ("[2]", (), "refused"),
        ("I cannot rank these 3 passages.", (), "refused"),
        ("", (), "refused"),
        ("[٣] > [١] > [٢]", (2, 0, 1), "ok"),
    ],
)
def test_replies_are_read_as_a_person_would(reply: str, order: tuple[int, ...], status: str) -> None:
    found = parse_permutation(reply, 3)
    assert (found.order, found.status) == (order, status)


@given(st.text(max_size=200), st.integers(1, 20))
def test_any_reply_gives_distinct_known_positions(reply: str, n: int) -> None:
    found = parse_permutation(reply, n)
    assert len(set(found.order)) == len(found.order) <= n
    assert all(0 <= position < n for position in found.order)
    assert (found.status in ("ok", "repaired")) == (len(found.order) == n)


@given(st.permutations(range(1, 11)))
def test_a_well_formed_reply_is_taken_as_it_is(numbers: list[int]) -> None:
    reply = " > ".join(f"[{number}]" for number in numbers)
    found = parse_permutation(reply, 10)
    assert found.status == "ok"
    assert [position + 1 for position in found.order] == numbers


def test_kendall_tau_counts_pairs() -> None:
    assert kendall_tau("abcd", "abcd") == 1
    assert kendall_tau("abcd", "dcba") == -1
    assert kendall_tau("abc", "acb") == pytest.approx(1 / 3)
    assert kendall_tau("ab", "xy") == 0
