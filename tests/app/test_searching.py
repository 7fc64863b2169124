"""Every retriever that can be picked finds passages, and the ranker puts them in order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes import KeywordEncoder

from app.comparison import find_contrasts, known_questions, rank_biased_overlap, spread, uploaded_questions
from app.handlers import pickers
from app.handlers.buttons import Link, make_link, read_link
from app.retriever import open_retriever
from app.shelf import IndexShelf
from app.workbench import Workbench
from distill.json_files import Record
from distill.ranker.head import Features, Head, OnScored
from distill.verdict.promotion import promote, rollback
from indexes.corpus import Corpus
from indexes.errors import InputError, NotFoundError
from indexes.mixes import Mix, keep_mix

QUESTION = "Why do honey bees dance?"


class LastWordRanker:
    """A ranker that likes glass, whatever is asked."""

    kind: ClassVar[str] = "fake"
    model: Any = None
    head = Head()

    def score(
        self, records: Sequence[Record], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[list[float]]:
        return [[float("Glass" in texts[c["passage"]]) for c in record["candidates"]] for record in records]

    def features(
        self, records: Sequence[Record], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[Features]:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def ranked(bench: Workbench, taught: str) -> Workbench:
    """The workbench after a run that left a ranker."""
    run = bench.paths.run(taught)
    (run / "ranker").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"base": "keywords", "corpus": "nature"}))
    shelf = IndexShelf(
        bench.paths,
        lambda name, paths: KeywordEncoder(name, fingerprint=f"of-{name}"),
        lambda folder: LastWordRanker(),
    )
    return replace(bench, shelf=shelf)


@pytest.mark.parametrize("key", ["keywords", "baseline", "lexical", "fused", "taught", "distilled", "", None])
def test_each_retriever_finds_the_passage_first(bench: Workbench, corpus: str, taught: str, key: str | None) -> None:
    opened = open_retriever(bench, corpus, key)
    assert opened.retriever.invoke(QUESTION)[0].metadata["source"] == "bees.txt"


def test_fused_mixes_as_was_learned_for_its_encoder_and_says_so(bench: Workbench, corpus: str) -> None:
    folder = Corpus.open(bench.paths, corpus).folder

    def found(key: str) -> list[str]:
        return [
            document.metadata["source"] for document in open_retriever(bench, corpus, key).retriever.invoke(QUESTION)
        ]

    for share, alone in ((0.0, "keywords"), (1.0, "lexical")):
        keep_mix(folder, "keywords", Mix(lexical=share, n_orders=300))
        keep_mix(folder, "another", Mix(lexical=1 - share, n_orders=300))
        assert found("fused") == found(alone)
        assert f"words count {share:.1f}" in open_retriever(bench, corpus, "fused").choice.meaning
        assert "as learned from 300 orders" in open_retriever(bench, corpus, "fused").choice.meaning
    assert found("keywords") != found("lexical")


def test_a_rollback_brings_back_the_mix_of_the_encoder_before(bench: Workbench, corpus: str, taught: str) -> None:
    folder = Corpus.open(bench.paths, corpus).folder
    keep_mix(folder, "keywords", Mix(lexical=0.7, n_orders=300))
    keep_mix(folder, taught, Mix(lexical=0.1, n_orders=50))
    promote(bench.paths, corpus, taught, "a run")
    assert open_retriever(bench, corpus, "fused").choice.mix.lexical == 0.1
    rollback(bench.paths, corpus)
    assert open_retriever(bench, corpus, "fused").choice.mix.lexical == 0.7


def test_the_ranker_puts_what_was_found_in_its_own_order(ranked: Workbench, corpus: str) -> None:
    opened = open_retriever(ranked, corpus, "fused+rerank")
    found = [document.metadata["source"] for document in opened.retriever.invoke(QUESTION)]
    assert found[0] == "glass.txt"
    assert set(found) == {"glass.txt", "bees.txt", "bread.txt", "tides.txt"}
    assert "re-ranked" in opened.choice.label


def test_without_a_ranker_a_sentence_says_so(bench: Workbench, corpus: str) -> None:
    with pytest.raises(InputError, match="no ranker was trained"):
        open_retriever(bench, corpus, "keywords+rerank")


def test_an_unknown_retriever_is_answered_with_the_names_there_are(bench: Workbench, corpus: str) -> None:
    with pytest.raises(NotFoundError, match="'keywords', 'lexical', 'fused'"):
        open_retriever(bench, corpus, "<b>gone</b>")


def test_re_ranking_is_offered_where_there_is_a_ranker(ranked: Workbench, corpus: str) -> None:
    assert pickers.list_ask_choices(ranked, corpus, "lexical").rerank["visible"] is True
    keys = [key for _, key in pickers.list_compare_choices(ranked, corpus, None, None).left["choices"]]
    assert "lexical+rerank" in keys


def test_re_ranking_is_not_offered_where_there_is_none(bench: Workbench, corpus: str) -> None:
    assert pickers.list_ask_choices(bench, corpus, "lexical").rerank["visible"] is False


# --- links -----------------------------------------------------------------------------------------------------


def test_a_link_brings_back_what_it_was_made_of() -> None:
    from urllib.parse import parse_qsl

    query = make_link("Why & how? <b>", "field notes", "fused+rerank")
    assert read_link(dict(parse_qsl(query[1:]))) == Link(
        corpus="field notes", question="Why & how? <b>", retriever="fused+rerank"
    )


def test_a_link_picks_its_corpus_and_retriever_until_something_else_is_picked(ranked: Workbench, corpus: str) -> None:
    link = Link(corpus=corpus, retriever="lexical+rerank")
    choices = pickers.list_ask_choices(ranked, None, None, link)
    assert (choices.corpus["value"], choices.retriever["value"], choices.rerank["value"]) == (corpus, "lexical", True)
    assert "value" not in pickers.list_ask_choices(ranked, corpus, "keywords", link).retriever


def test_a_link_to_what_is_gone_falls_back(bench: Workbench, corpus: str) -> None:
    choices = pickers.list_ask_choices(bench, None, None, Link(corpus="gone", retriever="<b>"))
    assert (choices.corpus["value"], choices.retriever["value"]) == (corpus, "keywords")


# --- where two retrievers differ most --------------------------------------------------------------------------


def test_overlap_counts_the_first_ranks_most() -> None:
    assert rank_biased_overlap("abc", "abc") == pytest.approx(1)
    assert rank_biased_overlap("abc", "xyz") == 0
    assert rank_biased_overlap("abc", "abx") > rank_biased_overlap("abc", "xbc")
    assert rank_biased_overlap("", "") == 1


def test_the_most_different_questions_come_first(bench: Workbench, corpus: str) -> None:
    dense, lexical = (open_retriever(bench, corpus, key).retriever.index for key in ("keywords", "lexical"))
    questions = ["Why do honey bees dance?", "zebra"]
    found = find_contrasts(questions, dense, lexical, 2)
    assert [each.question for each in found] == ["zebra", "Why do honey bees dance?"]
    assert found[0].overlap == 0


def test_questions_of_the_corpus_runs_are_known_and_others_are_not(bench: Workbench, corpus: str) -> None:
    for name, of in (("one", corpus), ("two", "other"), ("broken", corpus)):
        bench.paths.run(name).mkdir(parents=True)
        (bench.paths.run(name) / "config.json").write_text(json.dumps({"corpus": of}))
        (bench.paths.run(name) / "questions.jsonl").write_text(json.dumps({"id": 1, "question": f"In {name}?"}))
    (bench.paths.run("broken") / "questions.jsonl").write_text("nonsense")
    assert known_questions(bench.paths, corpus) == ["In one?"]


def test_questions_are_read_from_an_upload_and_a_bad_one_gives_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    file.write_text("One?\n\n Two? \nOne?\n")
    assert uploaded_questions(file) == ["One?", "Two?"]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        uploaded_questions(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="no question"):
        uploaded_questions(file)


def test_a_long_list_is_looked_at_from_all_over() -> None:
    assert spread([str(n) for n in range(10)], 5) == ["0", "2", "4", "6", "8"]
    assert spread(["a", "b"], 5) == ["a", "b"]
