"""Each look at the same questions leaves less of the alpha, whatever has become of the runs that looked before."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.verdict.verdict import ALPHA, alpha_of, take_look
from indexes.types import Query


def query(text: str, *positives: str) -> Query:
    return Query(id=text, text=text, positives=positives or ("d",), split="dev")


ASKED = [query("a"), query("b"), query("c")]


def test_the_levels_of_all_looks_together_never_pass_alpha() -> None:
    # 6 · 0.05 / π² = 0.030396…; a quarter of it at the second look, a ninth at the third.
    assert [round(alpha_of(look), 5) for look in (1, 2, 3)] == [0.0304, 0.0076, 0.00338]
    assert 0.99 * ALPHA < sum(map(alpha_of, range(1, 1000))) < ALPHA


def test_each_run_looks_once_and_the_next_one_after_it(tmp_path: Path) -> None:
    ledger = tmp_path / "data" / "looks.jsonl"
    assert [take_look(ledger, run, ASKED) for run in ("one", "two", "one", "three", "two")] == [1, 2, 1, 3, 2]


@pytest.mark.parametrize(
    ("earlier", "look"),
    [
        (ASKED, 2),
        ([query("a"), query("b"), query("z")], 2),
        ([query("a"), query("y"), query("z")], 1),
        ([query("a", "e"), query("b", "e"), query("c")], 1),  # others answer them: other questions
    ],
)
def test_a_look_counts_that_shared_half_of_the_questions(tmp_path: Path, earlier: list[Query], look: int) -> None:
    take_look(tmp_path / "looks.jsonl", "before", earlier)
    assert take_look(tmp_path / "looks.jsonl", "now", ASKED) == look


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"run": "x"}', "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")]
)
def test_a_look_that_nobody_can_read_any_more_counts(tmp_path: Path, damaged: str) -> None:
    ledger = tmp_path / "looks.jsonl"
    ledger.write_text(damaged, encoding="utf-8")  # and no end of the line: a kill tore it
    assert take_look(ledger, "now", ASKED) == 2
    assert take_look(ledger, "next", ASKED) == 3
    assert take_look(ledger, "now", ASKED) == 2
