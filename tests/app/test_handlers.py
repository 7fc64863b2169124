"""What each handler shows, step by step, with a fake encoder and a scripted LLM."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scripted_endpoint import ScriptedEndpoint

from app import handlers
from app.handlers import StopFlag
from app.replies import MAX_QUESTION_CHARACTERS, open_retriever
from app.workbench import Workbench
from distill.promotion import promote, rollback
from indexes.corpus import Corpus, list_corpora
from indexes.ingest import delete_corpus

WriteFiles = Callable[[dict[str, str]], list[str]]
QUESTION = "Why do honey bees dance?"


def shown(views: list[handlers.AskView], field: str) -> list[str]:
    """What the page got for one component, without the updates that change nothing."""
    return [value for view in views if isinstance(value := getattr(view, field), str)]


def is_enabled(update: object) -> bool | None:
    return update.get("interactive") if isinstance(update, dict) else None


# --- Ask -------------------------------------------------------------------------------------------------------


def test_passages_come_before_the_answer_and_the_buttons_come_back(bench: Workbench, corpus: str) -> None:
    views = list(handlers.ask(bench, QUESTION, corpus, "keywords", StopFlag()))
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
    (view,) = handlers.ask(bench, question, corpus, "keywords", StopFlag())
    assert sentence in view.answer
    assert is_enabled(view.ask)
    assert not endpoint.requests


def test_a_corpus_deleted_in_another_window_gives_a_sentence(bench: Workbench, corpus: str) -> None:
    delete_corpus(bench.paths, corpus)
    last = list(_ask(bench, corpus))[-1]
    assert "There is no corpus" in last.answer
    assert is_enabled(last.ask)


def test_without_a_corpus_or_an_index_a_sentence_says_what_to_do(bench: Workbench) -> None:
    assert "Corpora tab" in list(handlers.ask(bench, QUESTION, None, None, StopFlag()))[-1].answer
    Corpus.open_or_create(bench.paths, "new", bench.shelf.encoder("keywords"))
    assert "not indexed yet" in list(handlers.ask(bench, QUESTION, "new", None, StopFlag()))[-1].answer


def test_who_asks_before_anything_was_picked_asks_the_first(bench: Workbench, corpus: str) -> None:
    views = list(handlers.ask(bench, QUESTION, None, None, StopFlag()))
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
    for view in handlers.ask(bench, QUESTION, corpus, "keywords", flag):
        views.append(view)
        if "word word" in str(view.answer):
            handlers.press_stop(flag)
    last = shown(views, "answer")[-1]
    assert "Stopped." in last
    assert "word word" in last
    assert 'aria-busy="false"' in last
    assert is_enabled(views[-1].ask)


def test_a_new_question_is_not_stopped_by_an_old_click(bench: Workbench, corpus: str) -> None:
    flag = StopFlag()
    handlers.press_stop(flag)
    views = list(handlers.ask(bench, QUESTION, corpus, "keywords", flag))
    assert "complete after" in shown(views, "answer")[-1]


def test_a_refusal_is_shown_as_one(bench: Workbench, corpus: str, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "The corpus does not say."
    assert "refusal" in shown(list(_ask(bench, corpus)), "answer")[-1]


# --- Compare ---------------------------------------------------------------------------------------------------


def test_both_sides_find_and_answer(bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint) -> None:
    views = list(handlers.compare(bench, QUESTION, corpus, "keywords", taught, True, StopFlag()))
    html = {field: "".join(str(getattr(view, field)) for view in views) for field in handlers.CompareView._fields}
    assert "bees.txt" in html["left_passages"]
    assert "bees.txt" in html["right_passages"]
    assert 'href="#left-passage-1"' in html["left_answer"]
    assert 'href="#right-passage-1"' in html["right_answer"]
    assert "4 of 4 passages were found by both" in html["summary"]
    assert "Distilled: taught" in html["summary"]
    assert len(endpoint.requests) == 2
    assert is_enabled(views[-1].compare)


def test_without_answers_no_llm_is_asked(
    bench: Workbench, corpus: str, taught: str, endpoint: ScriptedEndpoint
) -> None:
    views = list(handlers.compare(bench, QUESTION, corpus, "keywords", taught, False, StopFlag()))
    assert "bees.txt" in str(views)
    assert not endpoint.requests


def test_two_equal_sides_are_no_comparison(bench: Workbench, corpus: str) -> None:
    (view,) = handlers.compare(bench, QUESTION, corpus, "keywords", "keywords", True, StopFlag())
    assert "two different ones" in view.summary


def test_one_retriever_is_offered_with_the_way_to_a_second(bench: Workbench, corpus: str) -> None:
    choices = handlers.list_compare_choices(bench, corpus, None, None)
    assert "python -m distill run nature" in choices.teach["value"]
    assert choices.body["visible"] is False


def test_two_retrievers_are_offered_side_by_side(bench: Workbench, corpus: str, taught: str) -> None:
    choices = handlers.list_compare_choices(bench, None, None, None)
    assert (choices.left["value"], choices.right["value"]) == ("keywords", taught)
    assert choices.left["choices"] == [("Baseline", "keywords"), ("Distilled: taught", "taught")]
    assert choices.body["visible"] is True


# --- what can be picked ----------------------------------------------------------------------------------------


def test_an_index_made_by_another_process_is_offered_without_a_restart(bench: Workbench, corpus: str) -> None:
    before = handlers.list_ask_choices(bench, corpus, "keywords")
    from indexes.embedding import update_index

    list(update_index(bench.paths, Corpus.open(bench.paths, corpus), bench.shelf.encoder("later")))
    after = handlers.list_ask_choices(bench, corpus, "keywords")
    assert len(before.retriever["choices"]) == 1
    assert [value for _, value in after.retriever["choices"]] == ["keywords", "later"]
    assert "value" not in after.retriever, "setting it again would undo what was picked in the meantime"


def test_a_pick_that_is_gone_falls_back(bench: Workbench, corpus: str) -> None:
    choices = handlers.list_ask_choices(bench, "deleted", "gone")
    assert (choices.corpus["value"], choices.retriever["value"]) == (corpus, "keywords")
    assert "never taught" in choices.retriever["info"]


def test_the_pick_starts_at_the_promoted_retriever(bench: Workbench, corpus: str, taught: str) -> None:
    assert handlers.list_ask_choices(bench, corpus, None).retriever["value"] == "keywords"
    promote(bench.paths, corpus, taught, "a-run")
    choices = handlers.list_ask_choices(bench, corpus, None)
    assert choices.retriever["value"] == taught
    assert choices.retriever["choices"] == [("Baseline", "keywords"), ("Distilled: taught (promoted)", taught)]
    assert "was promoted" in choices.retriever["info"]
    assert "value" not in handlers.list_ask_choices(bench, corpus, "keywords").retriever, "what was picked stays"
    sides = handlers.list_compare_choices(bench, corpus, None, None)
    assert (sides.left["value"], sides.right["value"]) == ("keywords", taught)
    assert open_retriever(bench, corpus, None)[0] == "Distilled: taught (promoted)"


def test_a_promotion_that_is_rolled_back_gives_the_baseline_its_place_again(
    bench: Workbench, corpus: str, taught: str
) -> None:
    promote(bench.paths, corpus, taught, "a-run")
    rollback(bench.paths, corpus)
    choices = handlers.list_ask_choices(bench, corpus, None)
    assert choices.retriever["value"] == "keywords"
    assert "(promoted)" not in str(choices.retriever["choices"])


def test_without_any_corpus_the_tabs_say_so(bench: Workbench) -> None:
    assert "no corpus yet" in handlers.list_ask_choices(bench, None, None).retriever["info"]
    assert "no corpus yet" in handlers.list_compare_choices(bench, None, None, None).teach["value"]
    assert "no corpus yet" in handlers.list_corpora_view(bench, None).corpora


# --- Corpora ---------------------------------------------------------------------------------------------------


def test_files_are_added_and_each_outcome_is_shown(bench: Workbench, write_files: WriteFiles) -> None:
    files = write_files({"good.txt": "Some text about bees.", "empty.txt": "", "<b>x.txt": "More text."})
    views = list(handlers.add(bench, files, " garden ", StopFlag()))
    last = views[-1]
    assert "2 files of corpus &#x27;garden&#x27;" in last.progress
    assert "1 could not be read" in last.progress
    assert "The file is empty." in last.outcomes
    assert "&lt;b&gt;x.txt" in last.outcomes
    assert any("Embedding passages" in str(view.progress) for view in views)
    assert is_enabled(last.add)
    assert [info.name for info in list_corpora(bench.paths)] == ["garden"]


def test_adding_the_same_files_again_changes_nothing(bench: Workbench, corpus: str, write_files: WriteFiles) -> None:
    before = list_corpora(bench.paths)
    files = write_files({"bees.txt": "Honey bees dance to tell the hive where flowers grow."})
    last = list(handlers.add(bench, files, corpus, StopFlag()))[-1]
    assert "unchanged" in last.outcomes
    assert list_corpora(bench.paths) == before


@pytest.mark.parametrize(
    ("name", "n_files", "sentence"),
    [("", 1, "a name"), (None, 1, "a name"), ("x" * 99, 1, "Shorten"), ("x", 0, "Drop")],
)
def test_an_incomplete_form_gives_a_sentence(
    bench: Workbench, write_files: WriteFiles, name: str | None, n_files: int, sentence: str
) -> None:
    files = write_files({"a.txt": "Text."})[:n_files]
    (view,) = handlers.add(bench, files, name, StopFlag())
    assert sentence in view.progress
    assert list_corpora(bench.paths) == []


def test_two_files_of_one_name_are_not_mixed_up(bench: Workbench) -> None:
    (view,) = handlers.add(bench, ["/one/notes.txt", "/two/notes.txt"], "garden", StopFlag())
    assert "&#x27;notes.txt&#x27;" in view.progress
    assert is_enabled(view.add)


def test_files_without_text_make_no_corpus(bench: Workbench, write_files: WriteFiles) -> None:
    last = list(handlers.add(bench, write_files({"empty.txt": ""}), "void", StopFlag()))[-1]
    assert "was not made" in last.progress
    assert "The file is empty." in last.outcomes
    assert list_corpora(bench.paths) == []


def test_adding_can_be_stopped_and_gone_on_with(bench: Workbench, write_files: WriteFiles) -> None:
    files = write_files({f"{n}.txt": f"Text number {n}." for n in range(3)})
    flag = StopFlag()
    views = []
    for view in handlers.add(bench, files, "garden", flag):
        views.append(view)
        handlers.press_stop(flag)
    assert "Stopped." in views[-1].progress
    assert "can be asked now" in list(handlers.add(bench, files, "garden", StopFlag()))[-1].progress
    assert list_corpora(bench.paths)[0].n_sources == 3


def test_deleting_asks_first_and_then_deletes(bench: Workbench, corpus: str) -> None:
    asked = handlers.ask_to_delete(bench, corpus, ["bees.txt"])
    assert asked.box["visible"] is True
    assert "1 file(s)" in asked.question
    assert list_corpora(bench.paths)[0].n_sources == 4
    done = handlers.delete(bench, asked.doomed)
    assert "deleted" in done.question
    assert done.doomed is None
    assert [source.source for source in Corpus.open(bench.paths, corpus).sources()] == [
        "bread.txt",
        "glass.txt",
        "tides.txt",
    ]


def test_a_whole_corpus_is_deleted_after_its_size_was_said(bench: Workbench, corpus: str) -> None:
    asked = handlers.ask_to_delete(bench, corpus, [])
    assert "4 documents" in asked.question
    handlers.delete(bench, asked.doomed)
    assert list_corpora(bench.paths) == []


def test_keeping_deletes_nothing(bench: Workbench, corpus: str) -> None:
    assert handlers.keep().doomed is None
    handlers.delete(bench, None)
    assert list_corpora(bench.paths)[0].name == corpus


def test_deleting_what_is_gone_gives_a_sentence(bench: Workbench, corpus: str) -> None:
    asked = handlers.ask_to_delete(bench, corpus, [])
    delete_corpus(bench.paths, corpus)
    assert "There is no corpus" in handlers.delete(bench, asked.doomed).question
    assert "There is no corpus" in handlers.ask_to_delete(bench, corpus, []).question


def _ask(bench: Workbench, corpus: str) -> list[handlers.AskView]:
    return list(handlers.ask(bench, QUESTION, corpus, "keywords", StopFlag()))


def _without_llm(bench: Workbench) -> Workbench:
    from dataclasses import replace

    from distill.llm import LLMConfig, connect_llm

    config = LLMConfig(base_url="http://127.0.0.1:9/v1", api_key="a-key", model="none")
    return replace(bench, connect=lambda on_status: connect_llm(config, bench.paths, on_status=on_status))
