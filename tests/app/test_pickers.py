"""What can be picked, as it is on disk now."""

from __future__ import annotations

from typing import Any

import pytest

from app.handlers import corpora, pickers
from app.handlers.buttons import read_link
from app.retriever import find_choice
from app.workbench import Workbench
from distill.verdict.promotion import promote, rollback
from indexes.corpus import Corpus


def keys(update: Any) -> list[str]:
    return [value for _, value in update["choices"]]


def test_an_index_made_by_another_process_is_offered_without_a_restart(bench: Workbench, corpus: str) -> None:
    before = pickers.list_ask_choices(bench, corpus, {}, "keywords")
    from indexes.ingest import update_index

    list(update_index(bench.paths, Corpus.open(bench.paths, corpus), bench.retrievers.encoder("later")))
    after = pickers.list_ask_choices(bench, corpus, {}, "keywords")
    assert keys(before.retriever) == ["keywords", "lexical", "fused(keywords)"]
    assert keys(after.retriever) == ["keywords", "later", "lexical", "fused(keywords)", "fused(later)"]
    assert "value" not in after.retriever, "setting it again would undo what was picked in the meantime"


def test_a_pick_that_is_gone_falls_back(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_ask_choices(bench, "deleted", {corpus: "gone"})
    assert (choices.corpus["value"], choices.retriever["value"]) == (corpus, "keywords")
    assert "never taught" in choices.way["info"]


def test_what_was_promoted_is_used_unless_a_person_picked_otherwise_for_this_corpus(
    bench: Workbench, corpus: str, taught: str
) -> None:
    before = pickers.list_ask_choices(bench, corpus, {})
    assert before.retriever["value"] == "keywords"
    promote(bench.paths, corpus, taught, "a-run")
    choices = pickers.list_ask_choices(bench, corpus, before.chosen, "keywords")
    assert (choices.retriever["value"], choices.way["value"]) == (taught, taught)
    assert choices.way["choices"] == [
        ("Taught", taught), ("Baseline", "keywords"), ("Words", "lexical"), ("Both", f"fused({taught})")
    ]  # fmt: skip
    assert "was promoted" in choices.way["info"]
    picked = pickers.choose(bench, corpus, "keywords", choices.chosen)
    assert pickers.list_ask_choices(bench, corpus, picked.chosen, "keywords").way["value"] == "keywords"
    assert pickers.list_ask_choices(bench, corpus, {"another": "keywords"}).retriever["value"] == taught
    sides = pickers.list_compare_choices(bench, corpus, None, None)
    assert (sides.left["value"], sides.right["value"]) == ("keywords", taught)
    assert find_choice(bench.retrievers.choices(Corpus.open(bench.paths, corpus)), None).label == "Taught"


def test_a_promotion_that_is_rolled_back_gives_the_baseline_its_place_again(
    bench: Workbench, corpus: str, taught: str
) -> None:
    promote(bench.paths, corpus, taught, "a-run")
    rollback(bench.paths, corpus)
    choices = pickers.list_ask_choices(bench, corpus, {}, taught)
    assert choices.retriever["value"] == "keywords"
    assert "promoted" not in choices.way["info"]


def test_a_retriever_that_is_not_among_the_four_is_named_all_the_same(
    bench: Workbench, corpus: str, taught: str
) -> None:
    picked = pickers.choose(bench, corpus, "fused(keywords)", {})
    assert (picked.way["value"], picked.retriever["value"]) == (None, "fused(keywords)")
    assert ("Baseline + words", "fused(keywords)") in picked.retriever["choices"]


@pytest.mark.parametrize(
    ("link", "remembered", "shown"), [({"corpus": "nature"}, "", "nature"), ({}, "nature", "nature"), ({}, "", "first")]
)
def test_the_page_opens_on_the_corpus_of_its_address_or_the_one_seen_last(
    bench: Workbench, corpus: str, write_files: Any, upload: Any, link: dict[str, str], remembered: str, shown: str
) -> None:
    upload(write_files({"a.txt": "Text."}), "first")
    opened = pickers.open_page(bench, None, remembered, read_link({**link, "tab": "teach"}))
    assert (opened.corpus["value"], opened.tabs["selected"]) == (shown, "teach")


def test_questions_are_proposed_from_what_the_passages_are_headed(
    bench: Workbench, write_files: Any, upload: Any
) -> None:
    upload(write_files({"a.md": "# Tides\n\nThe moon pulls.\n\n# Why is glass clear?\n\nSand melts."}), "notes")
    upload(write_files({"plain.txt": "No heading."}), "plain")
    samples = pickers.list_ask_choices(bench, "notes", {}).examples["samples"]
    assert samples == [["What is said about Tides?"], ["Why is glass clear?"]]
    assert pickers.list_ask_choices(bench, "plain", {}).examples["samples"] == [["What is said about plain?"]]


def test_while_a_corpus_is_being_indexed_the_tabs_say_so(bench: Workbench) -> None:
    Corpus.open_or_create(bench.paths, "new", bench.retrievers.encoder("keywords"))
    assert "not indexed yet" in pickers.list_ask_choices(bench, "new", {}).way["info"]
    compare = pickers.list_compare_choices(bench, "new", None, None)
    assert "not indexed yet" in compare.teach["value"]
    assert compare.body["visible"] is False


def test_without_any_corpus_the_tabs_say_so(bench: Workbench) -> None:
    choices = pickers.list_ask_choices(bench, None, {})
    assert "no corpus yet" in choices.way["info"]
    assert choices.drop["visible"], "there is nowhere to begin"
    assert "value" not in choices.retriever, "a value that is none of the choices cannot be sent back"
    assert "no corpus yet" in pickers.list_compare_choices(bench, None, None, None).teach["value"]
    assert "no corpus yet" in corpora.list_corpora_view(bench, None).corpora
