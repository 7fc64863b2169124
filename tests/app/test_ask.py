"""What the Ask tab shows, step by step, with a fake encoder and a scripted LLM."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_endpoint import ScriptedEndpoint

from app.answering import Turn
from app.handlers import ask
from app.handlers.buttons import StopFlag, press_stop
from app.streaming import MAX_QUESTION_CHARACTERS
from app.workbench import Reader, Workbench
from distill.llm.connection import LLMConfig
from indexes.corpus import Corpus
from indexes.ingest import delete_corpus

QUESTION = "Why do honey bees dance?"


def shown(views: list[ask.AskView], field: str) -> list[str]:
    """What the page got for one component, without the updates that change nothing."""
    return [value for view in views if isinstance(value := getattr(view, field), str)]


def is_enabled(update: object) -> bool | None:
    return update.get("interactive") if isinstance(update, dict) else None


def test_passages_come_before_the_answer_and_the_buttons_come_back(bench: Workbench, corpus: str) -> None:
    views = list(ask.ask(bench, QUESTION, corpus, "keywords", False, (), StopFlag()))
    with_passages = next(n for n, view in enumerate(views) if "bees.txt" in str(view.passages))
    with_words = next(n for n, view in enumerate(views) if "Bees" in str(view.answer))
    assert with_passages < with_words
    assert (is_enabled(views[0].ask), is_enabled(views[0].stop)) == (False, True)
    assert (is_enabled(views[-1].ask), is_enabled(views[-1].stop)) == (True, False)
    assert 'href="#ask-passage-1"' in shown(views, "answer")[-1]
    assert "complete after" in shown(views, "answer")[-1]


def test_the_llm_reads_what_is_shown_in_that_order(bench: Workbench, corpus: str, endpoint: ScriptedEndpoint) -> None:
    (passages,) = [html for html in shown(list(_ask(bench, corpus)), "passages") if html]
    assert passages.index("Honey bees dance") < passages.index("Sourdough")
    assert "[1] bees\nHoney bees dance" in endpoint.requests[0].text


@pytest.mark.parametrize(
    ("question", "sentence"),
    [("", "Type a question"), ("  \n ", "Type a question"), ("word " * MAX_QUESTION_CHARACTERS, "Shorten it")],
)
def test_an_empty_or_endless_question_gives_a_sentence(
    bench: Workbench, corpus: str, endpoint: ScriptedEndpoint, question: str, sentence: str
) -> None:
    (view,) = ask.ask(bench, question, corpus, "keywords", False, (), StopFlag())
    assert sentence in view.answer
    assert is_enabled(view.ask)
    assert not endpoint.requests


def test_a_corpus_deleted_in_another_window_gives_a_sentence(bench: Workbench, corpus: str) -> None:
    delete_corpus(bench.paths, corpus)
    last = list(_ask(bench, corpus))[-1]
    assert "There is no corpus" in last.answer
    assert is_enabled(last.ask)


def test_without_a_corpus_or_an_index_a_sentence_says_what_to_do(bench: Workbench) -> None:
    assert "Corpora tab" in list(ask.ask(bench, QUESTION, None, None, False, (), StopFlag()))[-1].answer
    Corpus.open_or_create(bench.paths, "new", bench.retrievers.encoder("keywords"))
    assert "not indexed yet" in list(ask.ask(bench, QUESTION, "new", None, False, (), StopFlag()))[-1].answer


def test_who_asks_before_anything_was_picked_asks_the_first(bench: Workbench, corpus: str) -> None:
    views = list(ask.ask(bench, QUESTION, None, None, False, (), StopFlag()))
    assert "bees.txt" in shown(views, "passages")[-1]


def test_an_unreachable_llm_leaves_the_passages_and_says_why(bench: Workbench, corpus: str) -> None:
    views = list(_ask(_without_llm(bench), corpus))
    assert "bees.txt" in shown(views, "passages")[-1]
    assert 'role="alert"' in shown(views, "answer")[-1]
    assert is_enabled(views[-1].ask)


def test_a_stream_that_breaks_keeps_what_came(bench: Workbench, corpus: str, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "Bees dance because of flowers [1]."
    endpoint.break_streams(after_words=2)
    last = shown(list(_ask(bench, corpus)), "answer")[-1]
    assert "Bees dance" in last
    assert "kept" in last


def test_stop_keeps_what_came(bench: Workbench, corpus: str, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "word " * 200
    endpoint.delay_s = 0.02
    flag = StopFlag()
    views = []
    for view in ask.ask(bench, QUESTION, corpus, "keywords", False, (), flag):
        views.append(view)
        if "word word" in str(view.answer):
            press_stop(flag)
    last = shown(views, "answer")[-1]
    assert "Stopped." in last
    assert "word word" in last
    assert 'aria-busy="false"' in last
    assert is_enabled(views[-1].ask)


def test_who_does_not_wait_for_the_llm_has_the_passages(
    bench: Workbench, corpus: str, endpoint: ScriptedEndpoint
) -> None:
    """Also where the LLM is still reading a follow-up: it is searched as typed."""
    flag, views = StopFlag(), []
    turns = (Turn(question="Why?", searched="Why?", answer="So."),)
    endpoint.delay_s = 20
    for view in ask.ask(bench, QUESTION, corpus, "keywords", False, turns, flag):
        views.append(view)
        press_stop(flag)
    assert views[0].stop["value"] == "Skip the answer"
    assert "bees.txt" in shown(views, "passages")[-1]
    assert "Searched as typed" in shown(views, "asked")[-1]
    assert "No answer was written" in shown(views, "answer")[-1]
    assert (views[-1].stop["value"], views[-1].turns) == ("Stop", turns)


def test_a_new_question_is_not_stopped_by_an_old_click(bench: Workbench, corpus: str) -> None:
    flag = StopFlag()
    press_stop(flag)
    views = list(ask.ask(bench, QUESTION, corpus, "keywords", False, (), flag))
    assert "complete after" in shown(views, "answer")[-1]


def test_a_refusal_is_shown_as_one(bench: Workbench, corpus: str, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "The corpus does not say."
    assert "refusal" in shown(list(_ask(bench, corpus)), "answer")[-1]


def _ask(bench: Workbench, corpus: str) -> list[ask.AskView]:
    return list(ask.ask(bench, QUESTION, corpus, "keywords", False, (), StopFlag()))


def _without_llm(bench: Workbench) -> Workbench:
    config = LLMConfig(base_url="http://127.0.0.1:9/v1", api_key="a-key", model="none")
    return replace(bench, reader=Reader(config, bench.paths))
