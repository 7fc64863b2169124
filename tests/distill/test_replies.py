"""Only what the LLM said becomes a label; nothing is made up, whatever form the reply has."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.teacher.replies import parse_choice, parse_permutation

AS_ASKED = [
    ("[2] > [1] > [3]", (1, 0, 2)),
    (" [2]>[1]>[3].\n", (1, 0, 2)),
    ("**[2]** > **[1]** > **[3]**", (1, 0, 2)),
    ("<think>maybe [1] > [2] > [3]</think>[3] > [1] > [2]", (2, 0, 1)),
    ("<Reasoning>\n[1] > [2]\n</Reasoning>\n\n[3] > [1] > [2]", (2, 0, 1)),
    ("first [1] > [2] > [3], hm</think>\n[3] > [1] > [2]", (2, 0, 1)),
    ("[٣] > [١] > [٢]", (2, 0, 1)),
    ("[३] > [१] > [२]", (2, 0, 1)),
    ("［３］＞［１］＞［２］", (2, 0, 1)),
    ("【3】>【1】>【2】", (2, 0, 1)),
]

IN_ANOTHER_FORM = [
    ("[2] > [1] > [3] > [2]", (1, 0, 2)),
    ("[2] > [1] > [3] > [7]", (1, 0, 2)),
    ("Ranking (from 1 = best): [3] > [2] > [1]", (2, 1, 0)),
    ("[1] > [2] > [3]\n\nOn reflection: [3] > [1] > [2]", (2, 0, 1)),
    ("2 > 3 > 1", (1, 2, 0)),
    ("③ → ① → ②", (2, 0, 1)),
    ("3, 1, 2", (2, 0, 1)),
    ("[3], [1], [2]", (2, 0, 1)),
    ("[3][1][2]", (2, 0, 1)),
    ("[1]\n[2]\n[3]", (0, 1, 2)),
    ("[3, 1, 2]", (2, 0, 1)),
    ('{"ranking": [3, 1, 2]}', (2, 0, 1)),
    ('```json\n["[3]", "[1]", "[2]"]\n```', (2, 0, 1)),
    ("['passage 3', 'passage 1', 'passage 2']", (2, 0, 1)),
    ("1. [3]\n2. [1]\n3. [2]", (2, 0, 1)),
    ("1. [3] because it names the rule\n2. [1]: less so\n3. [2]", (2, 0, 1)),
    ("1) Passage 3\n2) Passage 1\n3) Passage 2", (2, 0, 1)),
    ("- [3]\n- [1]\n- [2]", (2, 0, 1)),
    ("Rank 1: passage 3\nRank 2: passage 1\nRank 3: passage 2", (2, 0, 1)),
    ("The best is passage 3, followed by passage 1 and then passage 2.", (2, 0, 1)),
    ("Passage two, then passage three, and last Passage One.", (1, 2, 0)),
]

NO_ORDER = [
    "[2]",
    "I cannot rank these 3 passages.",
    "",
    "<think>[1] > [2] > [3]",
    "[3] = [2] > [1]",
    "Passage [1] is about cats, passage [2] about dogs, passage [3] about fish.",
    "[1] fits, [2] does not, so [2] is worst.",
    "[7] > [8] > [9]",
    "0 > 0",
]


@pytest.mark.parametrize(("reply", "order"), AS_ASKED)
def test_an_order_in_the_form_asked_for_is_ok(reply: str, order: tuple[int, ...]) -> None:
    found = parse_permutation(reply, 3)
    assert (found.order, found.status) == (order, "ok")


@pytest.mark.parametrize(("reply", "order"), IN_ANOTHER_FORM)
def test_an_order_in_another_form_is_read_as_a_person_would(reply: str, order: tuple[int, ...]) -> None:
    found = parse_permutation(reply, 3)
    assert (found.order, found.status) == (order, "repaired")


@pytest.mark.parametrize("reply", NO_ORDER)
def test_what_names_no_order_is_refused_rather_than_guessed(reply: str) -> None:
    found = parse_permutation(reply, 3)
    assert (found.order, found.status) == ((), "refused")


def test_an_order_of_some_has_no_tail() -> None:
    found = parse_permutation("[3] > [1]", 3)
    assert (found.order, found.status) == ((2, 0), "partial")


@pytest.mark.parametrize(
    ("reply", "position", "status"),
    [
        ("[2]", 1, "ok"),
        ("2.", 1, "ok"),
        (" **[3]**", 2, "ok"),
        ("[٢]", 1, "ok"),
        ("<think>1 or 2</think>\n\n2", 1, "ok"),
        ("Passage 2", 1, "repaired"),
        ('{"best": 3}', 2, "repaired"),
        ("[2] because [1] is about another rule", 1, "repaired"),
        ("[3] > [1] > [2]", 2, "repaired"),
        ("Of these 3 passages, [2] answers it.", 1, "repaired"),
        ("Between [1] and [2] it is hard to say.", None, "refused"),
        ("Passage 1 beats 2", None, "refused"),
        ("[7]", None, "refused"),
        ("None of them.", None, "refused"),
    ],
)
def test_a_choice_is_the_one_passage_that_was_named(reply: str, position: int | None, status: str) -> None:
    found = parse_choice(reply, 3)
    assert (found.position, found.status) == (position, status)


@given(
    st.text(st.sampled_from("0123[]>,=. \n{}\"'-aeé٣①passage"), max_size=120) | st.text(max_size=200),
    st.integers(1, 20),
)
def test_any_reply_gives_distinct_known_positions(reply: str, n: int) -> None:
    found = parse_permutation(reply, n)
    assert len(set(found.order)) == len(found.order) <= n
    assert all(0 <= position < n for position in found.order)
    assert (found.status in ("ok", "repaired")) == (len(found.order) == n)
    choice = parse_choice(reply, n)
    assert (choice.position is None) == (choice.status == "refused")
    assert choice.position is None or 0 <= choice.position < n


@given(st.permutations(range(1, 11)))
def test_a_well_formed_reply_is_taken_as_it_is(numbers: list[int]) -> None:
    found = parse_permutation(" > ".join(f"[{number}]" for number in numbers), 10)
    assert found.status == "ok"
    assert [position + 1 for position in found.order] == numbers


@pytest.mark.parametrize("part", ["[", "{", "[1,", "1 > ", "[1] ", "1", "1. ", " ", "<think>", "\n", "passage ", '["'])
def test_endless_babble_is_read_in_no_time(part: str) -> None:
    begun = time.perf_counter()
    parse_permutation(part * 20_000, 10)
    parse_choice(part * 20_000, 10)
    assert time.perf_counter() - begun < 5
