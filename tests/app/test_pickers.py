"""What can be picked, as it is on disk now."""

from __future__ import annotations

from app.handlers import corpora, pickers
from app.retriever import find_choice
from app.workbench import Workbench
from distill.verdict.promotion import promote, rollback
from indexes.corpus import Corpus


def test_an_index_made_by_another_process_is_offered_without_a_restart(bench: Workbench, corpus: str) -> None:
    before = pickers.list_ask_choices(bench, corpus, "keywords")
    from indexes.ingest import update_index

    list(update_index(bench.paths, Corpus.open(bench.paths, corpus), bench.retrievers.encoder("later")))
    after = pickers.list_ask_choices(bench, corpus, "keywords")
    assert [value for _, value in before.retriever["choices"]] == ["keywords", "lexical", "fused(keywords)"]
    assert [value for _, value in after.retriever["choices"]] == [
        "keywords",
        "later",
        "lexical",
        "fused(keywords)",
        "fused(later)",
    ]
    assert "value" not in after.retriever, "setting it again would undo what was picked in the meantime"


def test_a_pick_that_is_gone_falls_back(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_ask_choices(bench, "deleted", "gone")
    assert (choices.corpus["value"], choices.retriever["value"]) == (corpus, "keywords")
    assert "never taught" in choices.retriever["info"]


def test_the_pick_starts_at_the_promoted_retriever(bench: Workbench, corpus: str, taught: str) -> None:
    assert pickers.list_ask_choices(bench, corpus, None).retriever["value"] == "keywords"
    promote(bench.paths, corpus, taught, "a-run")
    choices = pickers.list_ask_choices(bench, corpus, None)
    assert choices.retriever["value"] == taught
    assert choices.retriever["choices"][:2] == [("Baseline", "keywords"), ("Taught: taught (promoted)", taught)]
    assert "was promoted" in choices.retriever["info"]
    assert "value" not in pickers.list_ask_choices(bench, corpus, "keywords").retriever, "what was picked stays"
    sides = pickers.list_compare_choices(bench, corpus, None, None)
    assert (sides.left["value"], sides.right["value"]) == ("keywords", taught)
    offered = bench.retrievers.choices(Corpus.open(bench.paths, corpus))
    assert find_choice(offered, None).label == "Taught: taught (promoted)"


def test_a_promotion_that_is_rolled_back_gives_the_baseline_its_place_again(
    bench: Workbench, corpus: str, taught: str
) -> None:
    promote(bench.paths, corpus, taught, "a-run")
    rollback(bench.paths, corpus)
    choices = pickers.list_ask_choices(bench, corpus, None)
    assert choices.retriever["value"] == "keywords"
    assert "(promoted)" not in str(choices.retriever["choices"])


def test_while_a_corpus_is_being_indexed_the_tabs_say_so(bench: Workbench) -> None:
    Corpus.open_or_create(bench.paths, "new", bench.retrievers.encoder("keywords"))
    assert "not indexed yet" in pickers.list_ask_choices(bench, "new", None).retriever["info"]
    compare = pickers.list_compare_choices(bench, "new", None, None)
    assert "not indexed yet" in compare.teach["value"]
    assert compare.body["visible"] is False


def test_without_any_corpus_the_tabs_say_so(bench: Workbench) -> None:
    retriever = pickers.list_ask_choices(bench, None, None).retriever
    assert "no corpus yet" in retriever["info"]
    assert "value" not in retriever, "a value that is none of the choices cannot be sent back"
    assert "no corpus yet" in pickers.list_compare_choices(bench, None, None, None).teach["value"]
    assert "no corpus yet" in corpora.list_corpora_view(bench, None).corpora
