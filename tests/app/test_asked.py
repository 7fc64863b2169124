"""The questions that people ask are kept where the page is told to, and nowhere else."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from app.handlers import ask, pickers
from app.handlers.buttons import StopFlag
from app.settings import Settings
from app.votes import MOST_KEPT, asked_file, count_asked
from app.workbench import Workbench
from distill.questions.reading import read_log
from indexes.ingest import delete_corpus

QUESTION = "Why do honey bees dance?"


def ask_once(bench: Workbench, corpus: str, question: str = QUESTION) -> None:
    for _ in ask.ask(bench, question, corpus, "keywords", False, (), StopFlag()):
        pass


def test_by_default_no_question_is_kept(bench: Workbench, corpus: str) -> None:
    assert Settings().app_log_questions is False
    ask_once(bench, corpus)
    pickers.ask(bench, QUESTION, corpus, "")
    assert not asked_file(bench.paths, corpus).exists()
    assert count_asked(bench.paths, corpus) == 0


def test_kept_questions_are_what_a_distillation_reads_and_say_nothing_of_who_asked(
    bench: Workbench, corpus: str
) -> None:
    keeping = replace(bench, keeps_questions=True)
    ask_once(keeping, corpus)
    ask_once(keeping, corpus, "Why do the <b>tides</b> rise?")
    pickers.ask(keeping, QUESTION, corpus, "")
    file = asked_file(bench.paths, corpus)
    assert [query.text for query in read_log(file)] == [QUESTION, "Why do the <b>tides</b> rise?"]
    assert count_asked(bench.paths, corpus) == 2
    assert all(set(json.loads(line)) == {"time", "question"} for line in file.read_text(encoding="utf-8").splitlines())


def test_a_question_that_nobody_could_search_for_is_not_kept(bench: Workbench, corpus: str) -> None:
    ask_once(replace(bench, keeps_questions=True), corpus, " ")
    assert count_asked(bench.paths, corpus) == 0


def test_the_questions_go_with_their_corpus(bench: Workbench, corpus: str) -> None:
    ask_once(replace(bench, keeps_questions=True), corpus)
    delete_corpus(bench.paths, corpus)
    assert not asked_file(bench.paths, corpus).exists()


def test_the_oldest_questions_make_room_for_new_ones(bench: Workbench, corpus: str) -> None:
    """A page that anybody can ask would fill the disk otherwise, and slow down with every question."""
    keeping = replace(bench, keeps_questions=True)
    file = asked_file(bench.paths, corpus)
    file.write_text("".join(_line(f"old {n}") for n in range(3 * MOST_KEPT)), encoding="utf-8")
    keeping.keep_question(corpus, "new")
    kept = [query.text for query in read_log(file)]
    assert len(kept) <= MOST_KEPT
    assert kept[-2:] == [f"old {3 * MOST_KEPT - 1}", "new"]
    keeping.keep_question(corpus, "newer")  # there is room again, so nothing is dropped
    assert [query.text for query in read_log(file)] == [*kept, "newer"]


def test_many_who_ask_a_full_corpus_at_once_are_all_kept_in_whole_lines(bench: Workbench, corpus: str) -> None:
    keeping = replace(bench, keeps_questions=True)
    file = asked_file(bench.paths, corpus)
    file.write_text("".join(_line(f"old {n}") for n in range(MOST_KEPT - 10)), encoding="utf-8")
    asked = [f"new {n}" for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda question: keeping.keep_question(corpus, question), asked))
    kept = [json.loads(line)["question"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(kept) <= MOST_KEPT
    assert set(asked) <= set(kept)
    assert kept[0] != "old 0"


def _line(question: str) -> str:
    return json.dumps({"time": "2026-01-01T00:00:00+00:00", "question": question}) + "\n"
