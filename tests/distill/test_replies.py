"""Only what the LLM said becomes a label; nothing is made up, whatever form the reply has."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.teacher.replies import parse_permutation

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
    "The best is passage 3, followed by passage 1 and then passage 2.",
    "[3] (0.9), [1] (0.7), [2] (0.5)",
    "The worst is [1], the best [3].",
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


BEST_LAST = [
    "[4] < [2] < [1] < [3]",
    "Ascending relevance: [4] < [2] < [1] < [3]",
    "4 < 2 < 1 < 3",
    "[4] &lt; [2] &lt; [1] &lt; [3]",
    r"$[4] \prec [2] \prec [1] \prec [3]$",
    "[4] <- [2] <- [1] <- [3]",
    "From worst to best: [4], [2], [1], [3]",
    "From worst to best: [4] → [2] → [1] → [3]",
    "Worst to best:\n1. [4]\n2. [2]\n3. [1]\n4. [3]",
    "Least relevant first: [4], [2], [1], [3]",
    "Least relevant first:\n[4]\n[2]\n[1]\n[3]",
    "Starting with the least relevant: [4], [2], [1], [3]",
    "The order (best last): [4], [2], [1], [3]",
    "[4], [2], [1], [3] (from least to most relevant)",
    "In increasing order of relevance: 4, 2, 1, 3",
    "Sorted by ascending relevance: [4, 2, 1, 3]",
    '{"worst_to_best": [4, 2, 1, 3]}',
    '{"order": "ascending", "ranking": [4, 2, 1, 3]}',
    "4. [4]\n3. [2]\n2. [1]\n1. [3]",
    "4) Passage 4\n3) Passage 2\n2) Passage 1\n1) Passage 3",
    "4. [4] 3. [2] 2. [1] 1. [3]",
    "Rank 4: passage 4\nRank 3: passage 2\nRank 2: passage 1\nRank 1: passage 3",
    "| 4 | [4] |\n| 3 | [2] |\n| 2 | [1] |\n| 1 | [3] |",
    "4. [4]\n3. [2]\n2. [1]\n1. [3]\n(from worst to best)",
    "1. [4] (least relevant)\n2. [2]\n3. [1]\n4. [3] (most relevant)",
    "Vom schlechtesten zum besten: [4], [2], [1], [3]",
    "Am wenigsten relevant zuerst: [4], [2], [1], [3]",
    "In aufsteigender Reihenfolge der Relevanz: [4], [2], [1], [3]",
    "Du moins pertinent au plus pertinent : [4], [2], [1], [3]",
    "Par ordre croissant de pertinence : [4], [2], [1], [3]",
    "De peor a mejor: [4], [2], [1], [3]",
    "De menor a mayor relevancia: [4], [2], [1], [3]",
    "En orden ascendente de relevancia: [4], [2], [1], [3]",
    "从最差到最好：[4], [2], [1], [3]",
]

BEST_FIRST = [
    "From most to least relevant: [3] > [1] > [2] > [4]",
    "From most to least relevant: [3], [1], [2], [4]",
    "Here they are from best to worst:\n1. [3]\n2. [1]\n3. [2]\n4. [4] is not relevant",
    "Most relevant first, least relevant last: [3], [1], [2], [4]",
    "[3] > [1] > [2] > [4]\n\n[2] and [4] are not relevant at all.",
    "None answers in full, but: [3] > [1] > [2] > [4]",
    "1. [3] though not complete, it names the rule\n2. [1]\n3. [2]\n4. [4]",
    "1. [3] more specific than [1], at least as to the year\n2. [1]\n3. [2]\n4. [4]",
    "1. [3]\n1. [1]\n1. [2]\n1. [4]",
    "Ranking (1 = most relevant, 4 = least relevant): [3] > [1] > [2] > [4]",
    "Ranking (1 = most relevant, 4 = least relevant): [3], [1], [2], [4]",
    "Sorted by descending relevance: 3, 1, 2, 4",
    "Absteigend nach Relevanz: [3], [1], [2], [4]",
    "Par ordre décroissant de pertinence : [3], [1], [2], [4]",
    "En orden descendente: [3], [1], [2], [4]",
    "Ascending: [4] < [2] < [1] < [3]; so from most to least relevant: [3] > [1] > [2] > [4]",
]

UNCLEAR_OR_RULED_OUT = [
    "[2] is not relevant; [4] a little; [3] partly; [1] is the best",
    "None of [2], [1] answers",
    "None of [2], [1], [4], [3] answers",
    "Neither [2] nor [1] answers it",
    "[2], [4] and [1] are irrelevant",
    "[2], [4] do not answer it",
    "Irrelevant: [4], [2]",
    '{"irrelevant": [2, 1], "relevant": [3]}',
    "Keine von [2], [1] antwortet",
    "Aucun de [2], [1] ne répond",
    "Ninguno de [2], [1] responde",
    "[3] answers directly. [1] helps. [4] and [2] do not.",
    "From worst to best: [4] > [2] > [1] > [3]",
    "Best to worst: [3] < [1] < [2] < [4]",
    "Best first:\n4. [3]\n3. [1]\n2. [2]\n1. [4]",
    "[4] < [2] > [1] < [3]",
    "[4] < [2]",
    "Worst first: [4], [2]",
    "In reverse order: [4], [2], [1], [3]",
    "Sorted in ascending order of rank: [3], [1], [2], [4]",
    "1. [4] is the worst\n2. [2]\n3. [1]\n4. [3]",
    "3. [4]\n1. [2]\n2. [1]",
    "The worst is [4], then [2], then [1], then [3]",
    "[4] is worse than [2], which is worse than [1], then [3]",
    "[4] - rank 3, [2] - rank 1, [1] - rank 4, [3] - rank 2",
    "[4]: 0.1, [2]: 0.3, [1]: 0.5, [3]: 0.9",
    "Passage [3] is about cats, [1] about dogs, [4] about fish, [2] about birds.",
    "The most relevant is passage 3, followed by passage 1, passage 2 and finally passage 4.",
    "[3] is the best, [1] is less relevant, [2] even less and [4] is the worst",
    "First [3], which names the rule, then [1], which hints at it, then [2], then [4].",
    "rank 3, [2] - rank 1, [4]",
    "See [1, 3] for the rule and [2, 4] for the rest.",
]


@pytest.mark.parametrize("reply", BEST_LAST)
def test_an_order_that_ends_with_its_best_is_never_taken_as_it_stands(reply: str) -> None:
    found = parse_permutation(reply, 4)
    assert (found.order, found.status) == ((), "refused")


@pytest.mark.parametrize("reply", BEST_FIRST)
def test_an_order_that_begins_with_its_best_stays_whatever_else_is_said(reply: str) -> None:
    found = parse_permutation(reply, 4)
    assert (found.order, found.status) == ((2, 0, 1, 3), "repaired")


@pytest.mark.parametrize("reply", UNCLEAR_OR_RULED_OUT)
def test_passages_that_are_ruled_out_an_end_that_is_not_clear_and_prose_are_no_order(reply: str) -> None:
    found = parse_permutation(reply, 4)
    assert (found.order, found.status) == ((), "refused")


@given(
    st.text(st.sampled_from("0123[]>,=. \n{}\"'-aeé٣①passage"), max_size=120) | st.text(max_size=200),
    st.integers(1, 20),
)
def test_any_reply_gives_distinct_known_positions(reply: str, n: int) -> None:
    found = parse_permutation(reply, n)
    assert len(set(found.order)) == len(found.order) <= n
    assert all(0 <= position < n for position in found.order)
    assert (found.status in ("ok", "repaired")) == (len(found.order) == n)


@given(st.permutations(range(1, 11)))
def test_a_well_formed_reply_is_taken_as_it_is(numbers: list[int]) -> None:
    found = parse_permutation(" > ".join(f"[{number}]" for number in numbers), 10)
    assert found.status == "ok"
    assert [position + 1 for position in found.order] == numbers


@pytest.mark.parametrize(
    "part",
    ["[", "{", "[1,", "1 > ", "[1] ", "1", "1. ", " ", "<think>", "\n", "passage ", '["', "1 < ", "worst ", "not "],
)
def test_endless_babble_is_read_in_no_time(part: str) -> None:
    begun = time.perf_counter()
    parse_permutation(part * 20_000, 10)
    assert time.perf_counter() - begun < 5
