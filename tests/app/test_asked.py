"""The questions that people ask are kept where the page is told to, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace

from app.asked import asked_file, count_asked
from app.handlers import asking, endpoints
from app.handlers.buttons import StopFlag
from app.settings import Settings
from app.workbench import Workbench
from distill.questions.sources import read_log
from indexes.ingest import delete_corpus

QUESTION = "Why do honey bees dance?"


def ask(bench: Workbench, corpus: str, question: str = QUESTION) -> None:
    for _ in asking.ask(bench, question, corpus, "keywords", False, (), StopFlag()):
        pass


def test_by_default_no_question_is_kept(bench: Workbench, corpus: str) -> None:
    assert Settings().app_log_questions is False
    ask(bench, corpus)
    endpoints.ask(bench, QUESTION, corpus, "")
    assert not asked_file(bench.paths, corpus).exists()
    assert count_asked(bench.paths, corpus) == 0


def test_kept_questions_are_what_a_distillation_reads_and_say_nothing_of_who_asked(
    bench: Workbench, corpus: str
) -> None:
    keeping = replace(bench, keeps_questions=True)
    ask(keeping, corpus)
    ask(keeping, corpus, "Why do the <b>tides</b> rise?")
    endpoints.ask(keeping, QUESTION, corpus, "")
    file = asked_file(bench.paths, corpus)
    assert [query.text for query in read_log(file)] == [QUESTION, "Why do the <b>tides</b> rise?"]
    assert count_asked(bench.paths, corpus) == 2
    assert all(set(json.loads(line)) == {"time", "question"} for line in file.read_text(encoding="utf-8").splitlines())


def test_a_question_that_nobody_could_search_for_is_not_kept(bench: Workbench, corpus: str) -> None:
    ask(replace(bench, keeps_questions=True), corpus, " ")
    assert count_asked(bench.paths, corpus) == 0


def test_the_questions_go_with_their_corpus(bench: Workbench, corpus: str) -> None:
    ask(replace(bench, keeps_questions=True), corpus)
    delete_corpus(bench.paths, corpus)
    assert not asked_file(bench.paths, corpus).exists()
