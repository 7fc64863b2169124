"""What the Corpora tab shows, step by step, with a fake encoder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.handlers import corpora
from app.handlers.buttons import StopFlag, press_stop
from app.workbench import Workbench
from indexes.corpus import Corpus, list_corpora
from indexes.ingest import delete_corpus

WriteFiles = Callable[[dict[str, str]], list[str]]


def is_enabled(update: object) -> bool | None:
    return update.get("interactive") if isinstance(update, dict) else None


def test_files_are_added_and_each_outcome_is_shown(bench: Workbench, write_files: WriteFiles) -> None:
    files = write_files({"good.txt": "Some text about bees.", "empty.txt": "", "<b>x.txt": "More text."})
    views = list(corpora.add(bench, files, " garden ", StopFlag()))
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
    last = list(corpora.add(bench, files, corpus, StopFlag()))[-1]
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
    (view,) = corpora.add(bench, files, name, StopFlag())
    assert sentence in view.progress
    assert list_corpora(bench.paths) == []


def test_two_files_of_one_name_are_not_mixed_up(bench: Workbench) -> None:
    (view,) = corpora.add(bench, ["/one/notes.txt", "/two/notes.txt"], "garden", StopFlag())
    assert "&#x27;notes.txt&#x27;" in view.progress
    assert is_enabled(view.add)


def test_files_without_text_make_no_corpus(bench: Workbench, write_files: WriteFiles) -> None:
    last = list(corpora.add(bench, write_files({"empty.txt": ""}), "void", StopFlag()))[-1]
    assert "was not made" in last.progress
    assert "The file is empty." in last.outcomes
    assert list_corpora(bench.paths) == []


def test_adding_can_be_stopped_and_gone_on_with(bench: Workbench, write_files: WriteFiles) -> None:
    files = write_files({f"{n}.txt": f"Text number {n}." for n in range(3)})
    flag = StopFlag()
    views = []
    for view in corpora.add(bench, files, "garden", flag):
        views.append(view)
        press_stop(flag)
    assert "Stopped." in views[-1].progress
    assert "can be asked now" in list(corpora.add(bench, files, "garden", StopFlag()))[-1].progress
    assert list_corpora(bench.paths)[0].n_sources == 3


def test_deleting_asks_first_and_then_deletes(bench: Workbench, corpus: str) -> None:
    asked = corpora.ask_to_delete(bench, corpus, ["bees.txt"])
    assert asked.box["visible"] is True
    assert "1 file(s)" in asked.question
    assert list_corpora(bench.paths)[0].n_sources == 4
    done = corpora.delete(bench, asked.doomed)
    assert "deleted" in done.question
    assert done.doomed is None
    assert [source.source for source in Corpus.open(bench.paths, corpus).sources()] == [
        "bread.txt",
        "glass.txt",
        "tides.txt",
    ]


def test_a_whole_corpus_is_deleted_after_its_size_was_said(bench: Workbench, corpus: str) -> None:
    asked = corpora.ask_to_delete(bench, corpus, [])
    assert "4 documents" in asked.question
    corpora.delete(bench, asked.doomed)
    assert list_corpora(bench.paths) == []


def test_keeping_deletes_nothing(bench: Workbench, corpus: str) -> None:
    assert corpora.keep().doomed is None
    corpora.delete(bench, None)
    assert list_corpora(bench.paths)[0].name == corpus


def test_deleting_what_is_gone_gives_a_sentence(bench: Workbench, corpus: str) -> None:
    asked = corpora.ask_to_delete(bench, corpus, [])
    delete_corpus(bench.paths, corpus)
    assert "There is no corpus" in corpora.delete(bench, asked.doomed).question
    assert "There is no corpus" in corpora.ask_to_delete(bench, corpus, []).question
