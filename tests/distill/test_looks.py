"""Runs that were judged on the same questions before are found, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.verdict.looks import earlier_runs
from indexes.paths import DataPaths
from indexes.queries import write_queries
from indexes.types import Query


def query(text: str, split: str = "dev") -> Query:
    return Query(id=text, text=text, positives=("d",), split=split)


def finished_run(paths: DataPaths, name: str, queries: list[Query], corpus: str = "nature") -> Path:
    folder = paths.run(name)
    folder.mkdir(parents=True)
    write_queries(folder / "questions.jsonl", queries)
    (folder / "metrics.json").write_text(json.dumps({"config": {"name": name, "corpus": corpus}}), encoding="utf-8")
    return folder


ASKED = [query("a"), query("b"), query("c")]


@pytest.mark.parametrize(
    ("queries", "counts"),
    [
        (ASKED, True),
        ([query("a"), query("b"), query("z")], True),
        ([query("a"), query("y"), query("z")], False),
        ([query("a", "train"), query("b", "train"), query("c")], False),
    ],
)
def test_a_run_counts_that_shares_half_of_the_held_out_questions(
    paths: DataPaths, queries: list[Query], counts: bool
) -> None:
    finished_run(paths, "before", queries)
    assert earlier_runs(paths, "nature", "now", ASKED) == (["before"] if counts else [])


def test_the_run_itself_and_those_over_another_corpus_do_not_count(paths: DataPaths) -> None:
    finished_run(paths, "now", ASKED)
    finished_run(paths, "elsewhere", ASKED, corpus="law")
    assert earlier_runs(paths, "nature", "now", ASKED) == []


def test_unfinished_and_damaged_runs_do_not_count(paths: DataPaths) -> None:
    (finished_run(paths, "unfinished", ASKED) / "metrics.json").unlink()
    (finished_run(paths, "cut", ASKED) / "metrics.json").write_text("{", encoding="utf-8")
    (finished_run(paths, "odd", ASKED) / "metrics.json").write_text("[]", encoding="utf-8")
    (finished_run(paths, "gone", ASKED) / "questions.jsonl").unlink()
    assert earlier_runs(paths, "nature", "now", ASKED) == []


def test_without_any_runs_or_questions_there_is_nothing_earlier(paths: DataPaths) -> None:
    assert earlier_runs(paths, "nature", "now", ASKED) == []
    finished_run(paths, "before", ASKED)
    assert earlier_runs(paths, "nature", "now", []) == []
