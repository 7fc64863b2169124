"""Which retrieval proposes is chosen without labels, by what words find and by the teacher's first choices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint
from worth_lesson import QUESTIONS, begun, config_of, worth

from distill.candidates import Found, join
from distill.json_files import read_json, read_records, write_json
from distill.pipeline import estimate
from distill.records import CandidateList, Ranking
from distill.run import Distillation
from distill.run_config import FROM_FILE, WITHOUT_LLM
from distill.stages.labelling import assess, make_candidates, make_questions, make_rankings
from distill.stages.proposing import choose_retrieval, words_match
from distill.teacher.trust import N_PROBES
from indexes.paths import DataPaths
from indexes.types import Candidate, Passage


def found(dense: str, lexical: str) -> Found:
    """What two searches find, passages being letters."""
    lists = [
        [
            Candidate(passage=Passage(id=each, document_id=each, source="s", text=each), score=1.0 - place / 10)
            for place, each in enumerate(letters)
        ]
        for letters in (dense, lexical)
    ]
    return Found(dense=lists[0], lexical=lists[1])


def letters(candidates: Sequence[Candidate]) -> str:
    return "".join(candidate.passage.id for candidate in candidates)


def test_each_retrieval_proposes_in_its_way() -> None:
    both = found("abcd", "xcay")
    assert letters(join(both, "dense", 3)) == "abc"
    assert letters(join(both, "lexical", 3)) == "xca"
    assert letters(join(both, "union", 5)) == "axbcd"
    assert letters(join(both, "fused", 2)) == "ac"


def test_words_match_where_their_best_passage_is_near_by_meaning_too() -> None:
    assert words_match([found("abc", "b"), found("abc", "x"), found("abc", ""), found("abc", "a")]) == 0.5
    assert words_match([]) == 0


@pytest.mark.parametrize(("match", "expected"), [(0.75, "fused"), (0.26, "dense")])
def test_without_a_teacher_words_count_where_they_match(match: float, expected: str) -> None:
    choice = choose_retrieval({}, {}, match, 2)
    assert (choice.retrieval, choice.n_asked, choice.shares) == (expected, 0, {})


def test_a_teacher_that_clearly_prefers_what_another_retrieval_finds_decides() -> None:
    lists = {f"q{number}": found("abcd", "wxyz") for number in range(30)}
    by_meaning = choose_retrieval(lists, dict.fromkeys(lists, "b"), 0.9, 2)
    assert (by_meaning.retrieval, by_meaning.shares["dense"], by_meaning.shares["fused"]) == ("dense", 1.0, 0.0)
    assert "dense 100%" in by_meaning.sentence
    assert choose_retrieval(lists, dict.fromkeys(lists, "x"), 0.9, 2).retrieval == "lexical"


def test_a_sample_that_hardly_differs_changes_nothing() -> None:
    lists = {f"q{number}": found("abcd", "wxyz") for number in range(30)}
    firsts = {name: "b" if number < 2 else "a" for number, name in enumerate(lists)}
    assert choose_retrieval(lists, firsts, 0.9, 2).retrieval == "fused"


def up_to_orders(run: Distillation) -> dict[str, Ranking]:
    for stage in (make_questions, make_candidates, assess, make_rankings):
        stage(run)
    return {record.id: record for record in read_records(run.file("rankings.jsonl"), Ranking)}


def test_the_teacher_is_asked_once_about_the_union_and_its_orders_teach(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    run = begun(paths, worth_questions, ranking_endpoint.base_url)
    make_questions(run)
    make_candidates(run)
    n_sample = len(ranking_endpoint.requests)
    assert n_sample == len(QUESTIONS), "a question each: a sample of so few is all of them"
    choice = read_json(run.file("retrieval.json"))
    assert (choice["n_asked"], choice["retrieval"]) == (len(QUESTIONS), "fused")
    records = {record.id: record for record in read_records(run.file("candidates.jsonl"), CandidateList)}
    write_json(run.file("teacher.json"), {"name": "scripted", "mode": "listwise", "trust": "use", "weight": 0.7})
    make_rankings(run)
    assert len(ranking_endpoint.requests) == n_sample, "what the sample has said is not asked again"
    for order in read_records(run.file("rankings.jsonl"), Ranking):
        shown = [candidate.passage for candidate in records[order.id].candidates[: len(order.shown)]]
        assert set(order.shown) == set(shown)
        assert order.ranking == tuple(sorted(shown, key=lambda passage: -worth(run.texts[passage])))
        assert order.weight == 0.7, "they count by the assessment that came after them"


def test_without_a_teacher_nobody_is_asked(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    run = begun(paths, worth_questions, ranking_endpoint.base_url, teacher=WITHOUT_LLM)
    make_questions(run)
    make_candidates(run)
    assert not ranking_endpoint.requests
    assert read_json(run.file("retrieval.json"))["n_asked"] == 0


def test_a_named_retrieval_is_taken_and_nobody_asked(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    run = begun(paths, worth_questions, ranking_endpoint.base_url, retrieval="dense")
    make_questions(run)
    make_candidates(run)
    assert not ranking_endpoint.requests
    assert not run.file("retrieval.json").exists()


def test_what_a_file_of_orders_has_shown_is_what_its_teacher_was_shown(
    paths: DataPaths, worth_questions: Path, tmp_path: Path
) -> None:
    """Found or not: an order of passages that this retrieval would not have proposed is no less an order."""
    file = tmp_path / "orders.jsonl"
    order = {"id": "q0", "ranking": ["d27", "d3", "d9"], "shown": ["d9", "d3", "d27", "d14"]}
    file.write_text(json.dumps(order) + "\n")
    run = begun(paths, worth_questions, "http://127.0.0.1:9/v1", teacher=FROM_FILE, rankings=str(file), n_candidates=2)
    found = up_to_orders(run)["q0"]
    document_of = {passage.id: passage.document_id for passage in run.corpus.passages()}
    assert [document_of[passage] for passage in found.ranking] == ["d27", "d3", "d9"]
    assert {document_of[passage] for passage in found.shown} == {"d9", "d3", "d27", "d14"}
    records = {record.id: record for record in read_records(run.file("candidates.jsonl"), CandidateList)}
    assert len(records["q0"].candidates) == 4
    assert records["q1"].n_shown is None
    assert "questions" in read_json(run.file("kept-out.json")), "orders of a file are held out as any others are"


def test_an_order_that_does_not_say_what_was_shown_is_of_all_candidates(
    paths: DataPaths, worth_questions: Path, tmp_path: Path
) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text(json.dumps({"id": "q0", "ranking": ["d27"]}) + "\n")
    run = begun(paths, worth_questions, "http://127.0.0.1:9/v1", teacher=FROM_FILE, rankings=str(file))
    found = up_to_orders(run)["q0"]
    assert len(found.shown) == run.config.n_candidates
    assert found.ranking == (next(p.id for p in run.corpus.passages() if p.document_id == "d27"),)


def test_deeper_lists_are_asked_in_windows_as_often_as_was_foreseen(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    deep: dict[str, object] = {"n_candidates": 30, "retrieval": "dense"}
    foreseen = estimate(config_of(worth_questions, **deep), None, n_characters=100, is_embedded=False)
    run = begun(paths, worth_questions, ranking_endpoint.base_url, **deep)
    for order in up_to_orders(run).values():
        best = sorted(order.shown, key=lambda passage: -worth(run.texts[passage]))
        assert len(order.shown) == 30
        assert order.ranking[:10] == tuple(best[:10]), "the windows of twenty overlap by ten"
        assert order.n_asked == 2
    n_asked = sum("Question: " in request.text for request in ranking_endpoint.requests)
    assert n_asked == foreseen.calls == 2 * (2 + 1) * len(QUESTIONS) + N_PROBES, "assessed twice, then asked"


def test_sample_and_second_round_are_foreseen(worth_questions: Path) -> None:
    def calls(**settings: object) -> int:
        return estimate(config_of(worth_questions, **settings), None, n_characters=100, is_embedded=False).calls

    plain = calls(retrieval="dense")
    assert calls() == plain, "a sample of up to ten from either side is one request, whose order teaches"
    assert calls(n_candidates=20) == calls(n_candidates=20, retrieval="dense") + 2 * len(QUESTIONS)
    assert calls(retrieval="dense", rounds=2) == plain + len(QUESTIONS)
    assert calls(retrieval="dense", rounds=2, teacher=FROM_FILE, rankings="orders.jsonl") == len(QUESTIONS)
