"""Every retriever that can be picked finds passages, and the ranker puts them in order."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes import KeywordEncoder

from app.comparison import find_contrasts, known_questions, rank_biased_overlap, spread
from app.handlers import pickers
from app.handlers.buttons import Link, make_link, read_link
from app.retriever import Choice, Retrievers, find_choice
from app.workbench import Workbench
from distill.ranker.head import Features, Head, OnScored
from distill.records import CandidateList
from distill.verdict.promotion import promote, rollback
from indexes.corpus import Corpus
from indexes.errors import InputError, NotFoundError
from indexes.manifest import MANIFEST
from indexes.mixes import Mix, keep_mix

QUESTION = "Why do honey bees dance?"


class LastWordRanker:
    """A ranker that likes glass, whatever is asked."""

    kind: ClassVar[str] = "fake"
    model: Any = None
    head = Head()

    def score(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[list[float]]:
        return [[float("Glass" in texts[c.passage]) for c in record.candidates] for record in records]

    def features(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: OnScored | None = None
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
    retrievers = Retrievers(
        bench.paths,
        "keywords",
        lambda name, paths: KeywordEncoder(name, fingerprint=f"of-{name}"),
        lambda folder: LastWordRanker(),
    )
    return replace(bench, retrievers=retrievers)


def chosen(bench: Workbench, corpus: str, key: str) -> Choice:
    return find_choice(bench.retrievers.choices(Corpus.open(bench.paths, corpus)), key)


@pytest.mark.parametrize("key", ["keywords", "baseline", "lexical", "fused", "taught", "distilled", "", None])
def test_each_retriever_finds_the_passage_first(bench: Workbench, corpus: str, taught: str, key: str | None) -> None:
    found = bench.retrievers.retrieve(corpus, key, QUESTION, 10)
    assert found.candidates[0].passage.source == "bees.txt"


def test_fused_mixes_as_was_learned_for_its_encoder_and_says_so(bench: Workbench, corpus: str) -> None:
    opened = Corpus.open(bench.paths, corpus)

    def found(key: str) -> list[str]:
        return [each.passage.source for each in bench.retrievers.retrieve(corpus, key, QUESTION, 10).candidates]

    for share, alone in ((0.0, "keywords"), (1.0, "lexical")):
        keep_mix(opened, "keywords", Mix(lexical=share, n_orders=300))
        keep_mix(opened, "another", Mix(lexical=1 - share, n_orders=300))
        assert found("fused") == found(alone)
        assert f"words count {share:.1f}" in chosen(bench, corpus, "fused").meaning
        assert "as learned from 300 orders" in chosen(bench, corpus, "fused").meaning
    assert found("keywords") != found("lexical")


def test_a_rollback_brings_back_the_mix_of_the_encoder_before(bench: Workbench, corpus: str, taught: str) -> None:
    opened = Corpus.open(bench.paths, corpus)
    keep_mix(opened, "keywords", Mix(lexical=0.7, n_orders=300))
    keep_mix(opened, taught, Mix(lexical=0.1, n_orders=50))
    promote(bench.paths, corpus, taught, "a run")
    assert chosen(bench, corpus, "fused").retriever.share_of_words == 0.1
    rollback(bench.paths, corpus)
    assert chosen(bench, corpus, "fused").retriever.share_of_words == 0.7


def test_the_ranker_puts_what_was_found_in_its_own_order(ranked: Workbench, corpus: str) -> None:
    for key, reranked in (("reranked(fused(keywords))", False), ("fused", True)):
        found = ranked.retrievers.retrieve(corpus, key, QUESTION, 10, reranked)
        sources = [each.passage.source for each in found.candidates]
        assert sources[0] == "glass.txt"
        assert set(sources) == {"glass.txt", "bees.txt", "bread.txt", "tides.txt"}
        assert (found.choice.key, found.choice.label) == ("reranked(fused(keywords))", "Baseline + words, re-ranked")


def test_without_a_ranker_a_sentence_says_so(bench: Workbench, corpus: str) -> None:
    with pytest.raises(InputError, match="no ranker was trained"):
        chosen(bench, corpus, "reranked(keywords)")


def test_an_unknown_retriever_is_answered_with_the_names_there_are(bench: Workbench, corpus: str) -> None:
    with pytest.raises(NotFoundError, match=r"'keywords', 'lexical', 'fused\(keywords\)'"):
        chosen(bench, corpus, "<b>gone</b>")


def test_re_ranking_is_offered_where_there_is_a_ranker(ranked: Workbench, corpus: str) -> None:
    assert pickers.list_ask_choices(ranked, corpus, {corpus: "lexical"}).rerank["visible"] is True
    keys = [key for _, key in pickers.list_compare_choices(ranked, corpus, None, None).left["choices"]]
    assert "reranked(lexical)" in keys


def test_re_ranking_is_not_offered_where_there_is_none(bench: Workbench, corpus: str) -> None:
    assert pickers.list_ask_choices(bench, corpus, {corpus: "lexical"}).rerank["visible"] is False


@pytest.fixture
def manifests_opened() -> Iterator[list[str]]:
    """The SQLite files that are opened, in the order in which they are; an audit hook cannot be taken away again."""
    opened: list[str] = []
    is_over: list[bool] = []

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect" and not is_over:
            opened.append(str(arguments[0]))

    sys.addaudithook(hear)
    yield opened
    is_over.append(True)


def test_a_question_opens_the_manifest_of_its_corpus_once_and_no_other(
    ranked: Workbench, corpus: str, manifests_opened: list[str]
) -> None:
    """Each opening costs, and what is read of other corpora grows with their number."""
    Corpus.open_or_create(ranked.paths, "another", ranked.retrievers.encoder("keywords"))
    for key in ("keywords", "lexical", "fused", "reranked(fused(taught))"):
        manifests_opened.clear()
        assert pickers.ask(ranked, QUESTION, corpus, key)["passages"]
        assert manifests_opened == [str(ranked.paths.corpus(corpus) / MANIFEST)]
        manifests_opened.clear()
        pickers.compare(ranked, QUESTION, corpus, key, "taught", with_answers=False)
        assert len(manifests_opened) == 1


# --- links -----------------------------------------------------------------------------------------------------


def test_a_link_brings_back_what_it_was_made_of() -> None:
    from urllib.parse import parse_qsl

    query = make_link("Why & how? <b>", "field notes", "reranked(fused(x))")
    assert read_link(dict(parse_qsl(query[1:]))) == Link(
        corpus="field notes", question="Why & how? <b>", retriever="reranked(fused(x))"
    )


def test_a_link_picks_its_corpus_and_retriever_until_something_else_is_picked(ranked: Workbench, corpus: str) -> None:
    link = Link(corpus=corpus, retriever="reranked(lexical)")
    choices = pickers.list_ask_choices(ranked, corpus, {}, None, link)
    assert (choices.retriever["value"], choices.rerank["value"]) == ("lexical", True)
    picked = pickers.choose(ranked, corpus, "keywords", choices.chosen)
    assert "value" not in pickers.list_ask_choices(ranked, corpus, picked.chosen, "keywords", link).retriever


def test_a_link_to_what_is_gone_falls_back(bench: Workbench, corpus: str) -> None:
    link = Link(corpus="gone", retriever="<b>")
    assert pickers.open_page(bench, None, "", link).corpus["value"] == corpus
    assert pickers.list_ask_choices(bench, corpus, {}, None, link).retriever["value"] == "keywords"


# --- where two retrievers differ most --------------------------------------------------------------------------


def test_overlap_counts_the_first_ranks_most() -> None:
    assert rank_biased_overlap("abc", "abc") == pytest.approx(1)
    assert rank_biased_overlap("abc", "xyz") == 0
    assert rank_biased_overlap("abc", "abx") > rank_biased_overlap("abc", "xbc")
    assert rank_biased_overlap("", "") == 1


def test_the_most_different_questions_come_first(bench: Workbench, corpus: str) -> None:
    questions = ["Why do honey bees dance?", "zebra"]
    opened = Corpus.open(bench.paths, corpus)
    dense, words = (bench.retrievers.search(opened, chosen(bench, corpus, key)) for key in ("keywords", "lexical"))
    found = find_contrasts(questions, dense, words, 2)
    assert [question for _, question in found] == ["zebra", "Why do honey bees dance?"]
    assert found[0] == (0, "zebra")


def test_questions_of_the_corpus_runs_are_known_and_others_are_not(bench: Workbench, corpus: str) -> None:
    for name, of in (("one", corpus), ("two", "other"), ("broken", corpus)):
        bench.paths.run(name).mkdir(parents=True)
        (bench.paths.run(name) / "config.json").write_text(json.dumps({"name": name, "corpus": of}))
        (bench.paths.run(name) / "questions.jsonl").write_text(json.dumps({"id": 1, "question": f"In {name}?"}))
    (bench.paths.run("broken") / "questions.jsonl").write_text("nonsense")
    assert known_questions(bench.paths, corpus) == ["In one?"]


def test_a_long_list_is_looked_at_from_all_over() -> None:
    assert spread([str(n) for n in range(10)], 5) == ["0", "2", "4", "6", "8"]
    assert spread(["a", "b"], 5) == ["a", "b"]
