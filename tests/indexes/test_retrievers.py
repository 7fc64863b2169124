"""Every way of searching has one interface, filters before it counts, and never gives a passage twice."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from indexes.errors import InputError
from indexes.filters import Facets, PassageFilter, chroma_where
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.retrievers import Retriever, RetrieverKind, Scorer, Search, open_search, open_searches, split_key, vary
from indexes.types import Candidate, Encoder

KINDS: tuple[RetrieverKind, ...] = ("dense", "lexical", "fused")


@pytest.fixture
def corpus(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> str:
    """Forty short texts about cats in two types of files."""
    files = []
    for n in range(40):
        file = tmp_path / f"{'note' if n % 2 else 'page'}-{n:02}.{'md' if n % 2 else 'txt'}"
        file.write_text(f"Cats purr and sleep on cushion number {n}.", encoding="utf-8")
        files.append(file)
    list(add_files(paths, "cats", files, encoder))
    return "cats"


def opened(
    paths: DataPaths, corpus: str, kind: RetrieverKind, encoder: Encoder, scorer: Scorer | None = None
) -> Search:
    return open_search(paths, corpus, Retriever(encoder=encoder.name, kind=kind), lambda name: encoder, scorer)


@pytest.mark.parametrize("kind", KINDS)
def test_filters_leave_k_passages_that_fit_and_none_twice(
    paths: DataPaths, encoder: KeywordEncoder, corpus: str, kind: RetrieverKind
) -> None:
    """Filtering what was found, instead of what is searched, would leave fewer than k."""
    search = opened(paths, corpus, kind, encoder)
    found = search.search("which cats purr on cushion 6", 15, PassageFilter(kinds=("md",)))
    assert len({c.passage.id for c in found}) == len(found) == 15
    assert {c.passage.kind for c in found} == {"md"}
    named = search.search("cats", 10, PassageFilter(sources=("page-0*", "note-39.md")))
    assert {c.passage.source for c in named} == {*(f"page-0{n}.txt" for n in range(0, 10, 2)), "note-39.md"}
    assert search.search("cats", 10, PassageFilter(kinds=("pdf",))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_dates_bound_what_is_found(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, kind: RetrieverKind
) -> None:
    for day in ("2024-02-29", "2024-12-31", "2025-06-01"):
        file = tmp_path / f"{day}.md"
        file.write_text(f"Rain fell on {day}.", encoding="utf-8")
        noon = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
        os.utime(file, (noon, noon))
    list(add_files(paths, "rain", sorted(tmp_path.glob("*.md")), encoder))
    search = opened(paths, "rain", kind, encoder)

    def days(**span: str) -> list[str]:
        return sorted(c.passage.date for c in search.search("rain fell", 10, PassageFilter(**span)))  # type: ignore[arg-type]

    assert days(since="2024-03", until="2024") == ["2024-12-31"]
    assert days(until="2024-12-31") == ["2024-02-29", "2024-12-31"]


def test_a_filter_that_makes_no_sense_is_said() -> None:
    with pytest.raises(InputError, match=r"2026-11-21 was expected for since, but got 'May'"):
        PassageFilter(since="May")


def test_what_fits_is_looked_up_before_chroma_is_asked() -> None:
    facets = [Facets(source="z", kind="md", date="2024-01-01"), Facets(source="z", kind="txt", date="2025-01-01")]
    days = {"date": {"$in": ["2024-01-01"]}}
    assert chroma_where(PassageFilter(kinds=("md",), since="2024"), facets) == {
        "$and": [{"kind": {"$in": ["md"]}}, days]
    }
    assert chroma_where(PassageFilter(kinds=("pdf",)), facets) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_is_of_the_scores_that_are_shown(
    paths: DataPaths, encoder: KeywordEncoder, corpus: str, kind: RetrieverKind
) -> None:
    search = opened(paths, corpus, kind, encoder)
    found = search.search("cats purr on cushion 7", 10)
    cut = found[3].score
    assert search.search("cats purr on cushion 7", 10, threshold=cut) == [c for c in found if c.score >= cut]
    assert search.search("cats purr on cushion 7", 10, threshold=found[0].score + 1) == []


def test_a_retriever_has_one_key_and_one_name() -> None:
    fused = Retriever(encoder="mine", kind="fused", alias="Baseline")
    reranked = Retriever(encoder="mine", kind="fused", is_reranked=True)
    assert (fused.key, fused.name) == ("fused(mine)", "Baseline + BM25")
    assert (reranked.key, reranked.name) == ("reranked(fused(mine))", "mine + BM25, re-ranked")
    assert (Retriever(kind="lexical").key, Retriever(encoder="mine").key) == ("lexical", "mine")
    assert split_key(reranked.key) == ("fused(mine)", True)
    assert split_key(fused.key) == ("fused(mine)", False)


def test_searches_that_share_an_index_are_what_each_is_alone(
    paths: DataPaths, encoder: KeywordEncoder, corpus: str
) -> None:
    ways = [Retriever(encoder=encoder.name, kind=kind) for kind in KINDS]
    searches = open_searches(paths, corpus, ways, lambda name: encoder)
    assert list(searches) == ["keywords", "lexical", "fused(keywords)"]
    for question in ("cushion 7", "cats on cushion 12"):
        for kind, search in zip(KINDS, searches.values(), strict=True):
            assert search.search_many([question], 60) == [opened(paths, corpus, kind, encoder).search(question, 60)]


class LengthScorer:
    """Prefers short passages, whatever is asked."""

    depth = 8

    def score(self, questions: Sequence[str], lists: Sequence[Sequence[Candidate]]) -> Sequence[Sequence[float]]:
        return [[-float(len(candidate.passage.text)) for candidate in candidates] for candidates in lists]


@pytest.mark.parametrize("kind", KINDS)
def test_a_scorer_orders_the_first_hits_and_the_others_follow(
    paths: DataPaths, encoder: KeywordEncoder, corpus: str, kind: RetrieverKind
) -> None:
    plain = opened(paths, corpus, kind, encoder).search("cats on cushion 12", 12)
    found = opened(paths, corpus, kind, encoder, LengthScorer()).search("cats on cushion 12", 12)
    assert [c.passage.id for c in found[8:]] == [c.passage.id for c in plain[8:]]
    assert {c.passage.id for c in found[:8]} == {c.passage.id for c in plain[:8]}
    lengths = [len(c.passage.text) for c in found[:8]]
    assert lengths == sorted(lengths)
    scores = [c.score for c in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[8:] == [scores[7] - n for n in range(1, 5)]


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 1.0])
def test_variety_is_maximal_marginal_relevance_as_others_compute_it(balance: float) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((30, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    question = vectors[0] + vectors[1]
    question /= np.linalg.norm(question)
    theirs = maximal_marginal_relevance(question, list(vectors), lambda_mult=balance, k=10)
    assert vary((vectors @ question).tolist(), vectors, 10, balance) == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_variety_avoids_repeated_passages(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, kind: RetrieverKind
) -> None:
    texts = [*(f"Cats purr and purr at night {n}" for n in range(5)), "Dogs bark at cats"]
    for n, text in enumerate(texts):
        (tmp_path / f"{n}.txt").write_text(text, encoding="utf-8")
    list(add_files(paths, "pets", sorted(tmp_path.glob("*.txt")), encoder))
    search = opened(paths, "pets", kind, encoder)
    assert "5.txt" not in {c.passage.source for c in search.search("cats purr at night", 3)}
    assert "5.txt" in {c.passage.source for c in search.search("cats purr at night", 3, mmr=0.2)}
    assert search.search("zebra crossing", 3, PassageFilter(sources=("none",)), mmr=0.5) == []
    with pytest.raises(InputError, match="from 0"):
        search.search("cats", 3, mmr=1.5)


def test_a_lexical_search_loads_no_encoder(paths: DataPaths, encoder: KeywordEncoder, corpus: str) -> None:
    def no_encoder(name: str) -> Encoder:
        raise AssertionError("loaded for nothing")

    assert open_search(paths, corpus, Retriever(kind="lexical"), no_encoder).search("cushion", 3)
