"""Orders made elsewhere teach like the LLM's; what does not fit this run is said and left out."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.records import CandidateList, Retrieved
from distill.teacher.orders import read_rankings
from indexes.errors import InputError

CANDIDATES = (
    Retrieved(passage="p1", document="a"),
    Retrieved(passage="p2", document="b"),
    Retrieved(passage="p3", document="a"),
    Retrieved(passage="p4", document="c"),
)
RECORDS = [CandidateList(id=f"q{n}", question="?", candidates=CANDIDATES) for n in (1, 2)]


def file_of(folder: Path, *lines: Any) -> Path:
    file = folder / "given.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_a_document_stands_for_its_candidates_in_the_order_of_retrieval(tmp_path: Path) -> None:
    given_rankings = read_rankings(file_of(tmp_path, {"id": "q1", "ranking": ["c", "a"]}), RECORDS)
    (record,) = given_rankings.rankings
    assert (record.ranking, record.status) == (("p4", "p1", "p3"), "partial")
    assert (record.weight, record.agreement, record.shown) == (1.0, None, ("p1", "p2", "p3", "p4"))
    assert given_rankings.notes == (f"{tmp_path / 'given.jsonl'} has no order of 1 of 2 questions.",)


def test_passages_and_documents_may_be_mixed_and_each_stands_once(tmp_path: Path) -> None:
    (record,) = read_rankings(file_of(tmp_path, {"id": "q1", "ranking": ["p3", "b", "a", "p4"]}), RECORDS).rankings
    assert (record.ranking, record.status) == (("p3", "p2", "p1", "p4"), "ok")


def test_several_lines_about_a_question_are_one_order_that_counts_by_their_agreement(tmp_path: Path) -> None:
    orders = [["p1", "p2", "p3", "p4"], ["p1", "p2", "p4", "p3"], ["p1", "p2", "p3", "p4"]]
    opposed = [["p1", "p2", "p3", "p4"], ["p4", "p3", "p2", "p1"]]
    lines = [{"id": "q1", "ranking": order} for order in orders] + [{"id": "q2", "ranking": order} for order in opposed]
    first, second = read_rankings(file_of(tmp_path, *lines), RECORDS).rankings
    assert (first.ranking, first.n_asked) == (("p1", "p2", "p3", "p4"), 3)
    assert (first.agreement, first.weight) == (pytest.approx(7 / 9, abs=1e-3), 1)
    assert (second.agreement, second.weight) == (-1, 0)


def test_strangers_are_named_and_left_out(tmp_path: Path) -> None:
    lines = [{"id": "q1", "ranking": ["zz", "p1", 17]}, {"id": "q9", "ranking": ["p1"]}, {"id": "q2", "ranking": ["x"]}]
    found = read_rankings(file_of(tmp_path, *lines), RECORDS)
    assert [record.ranking for record in found.rankings] == [("p1",), ()]
    assert [note.split("given.jsonl ")[1] for note in found.notes] == [
        "orders 1 questions that this run does not have (q9): left out.",
        "names 3 ids that are no candidates (zz, 17, x): left out.",
        "places no candidate of 1 questions (q2): they do not teach.",
    ]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[1]", '{"id": "q1"}', '{"id": "q1", "ranking": "p1"}', '{"id": null, "ranking": []}', "[" * 9999],
)
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "given.jsonl"
    file.write_text('{"id": "q1", "ranking": ["p1"]}\n' + line, encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_rankings(file, RECORDS)


def test_a_file_that_fits_no_question_is_refused_with_ids_that_would(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="q1, q2"):
        read_rankings(file_of(tmp_path, {"id": "other", "ranking": ["p1"]}), RECORDS)
    with pytest.raises(InputError, match="there is none"):
        read_rankings(tmp_path / "none.jsonl", RECORDS)


@given(st.lists(st.permutations(["p1", "p2", "p3", "p4"]), min_size=1, max_size=4))
def test_whole_orders_give_whole_orders(tmp_path_factory: pytest.TempPathFactory, orders: list[list[str]]) -> None:
    lines = [{"id": "q1", "ranking": order} for order in orders]
    (record,) = read_rankings(file_of(tmp_path_factory.getbasetemp(), *lines), RECORDS).rankings
    assert sorted(record.ranking) == ["p1", "p2", "p3", "p4"]
    assert 0 <= record.weight <= 1
    if len(orders) == 1:
        assert record.ranking == tuple(orders[0])
