"""What LangChain sees of an index: its own standard tests, over a real index with a fake encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import KeywordEncoder
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from indexes import EncoderEmbeddings, IndexRetriever, PassageFilter, RerankCompressor, open_retriever
from indexes.corpus import Corpus
from indexes.errors import InputError, NotFoundError
from indexes.ingest import add_files
from indexes.langchain import to_candidate
from indexes.manifest import record_promotion
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Candidate

QUESTION = "Why does the tide rise?"


@pytest.fixture
def coast(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> DataPaths:
    """A data folder with the corpus 'coast' of four files."""
    for name in ("tide", "moon", "sea", "shore"):
        (tmp_path / f"{name}.txt").write_text(f"The {name} and what the tide does to it.", encoding="utf-8")
    for _ in add_files(paths, "coast", sorted(tmp_path.glob("*.txt")), encoder):
        pass
    return paths


@pytest.fixture
def opened(coast: DataPaths, encoder: KeywordEncoder) -> IndexRetriever:
    return open_retriever("coast", encoder=encoder, data_dir=coast)


@pytest.mark.anyio
class TestIndexRetriever(RetrieversIntegrationTests):
    """What every LangChain retriever has to do."""

    @pytest.fixture(autouse=True)
    def _search(self, opened: IndexRetriever) -> None:
        self.search = opened.search

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return IndexRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"search": self.search}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


def sources(documents: Sequence[Document]) -> list[str]:
    return [document.metadata["source"] for document in documents]


def test_a_document_carries_all_that_its_candidate_had(
    coast: DataPaths, encoder: KeywordEncoder, opened: IndexRetriever
) -> None:
    documents = opened.invoke(QUESTION, k=3)
    expected = PassageIndex.open(coast, "coast", encoder).search(QUESTION, 3)
    assert [to_candidate(document) for document in documents] == expected
    assert [document.metadata["rank"] for document in documents] == [1, 2, 3]
    assert documents[0].metadata["source"] == "tide.txt"


class Reversed:
    """Puts what was found last first."""

    depth = 3

    def score(self, questions: Sequence[str], lists: Sequence[Sequence[Candidate]]) -> Sequence[Sequence[float]]:
        return [list(range(len(candidates))) for candidates in lists]


@pytest.mark.parametrize("kind", ["dense", "lexical", "fused"])
def test_one_line_opens_each_kind_filtered_and_re_ranked(coast: DataPaths, encoder: KeywordEncoder, kind: Any) -> None:
    plain = open_retriever("coast", kind, encoder=encoder, data_dir=coast.root).invoke(QUESTION)
    assert sources(plain)[0] == "tide.txt"
    reranked = open_retriever("coast", kind, encoder=encoder, rerank=Reversed(), data_dir=coast).invoke(QUESTION)
    assert sources(reranked) == [*reversed(sources(plain[:3])), *sources(plain[3:])]
    filtered = open_retriever("coast", kind, encoder=encoder, filter={"source": "s*"}, data_dir=coast)
    assert sorted(sources(filtered.invoke(QUESTION))) == ["sea.txt", "shore.txt"]
    assert sources(filtered.invoke(QUESTION, filter="moon.txt")) == ["moon.txt"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, PassageFilter()),
        ("a.md", PassageFilter(sources=("a.md",))),
        (
            {"source": "a.md", "kind": ["md", "txt"], "since": "2024"},
            PassageFilter(sources=("a.md",), kinds=("md", "txt"), since="2024"),
        ),
        (PassageFilter(kinds="pdf"), PassageFilter(kinds=("pdf",))),  # type: ignore[arg-type]
    ],
)
def test_a_filter_is_taken_as_a_whole_never_letter_by_letter(wanted: Any, expected: PassageFilter) -> None:
    assert PassageFilter.of(wanted) == expected


@pytest.mark.parametrize(
    "wanted",
    [
        7,
        ["a.md"],
        {"file": "a.md"},
        {"source": {"$in": ["a.md"]}},
        {"kind": [1]},
        {"since": 2024},
        {"source": "a", "sources": "b"},
    ],
)
def test_a_filter_that_is_none_is_refused_with_a_sentence(opened: IndexRetriever, wanted: Any) -> None:
    with pytest.raises(InputError, match="was expected"):
        opened.invoke(QUESTION, filter=wanted)
    with pytest.raises(InputError, match="was expected"):
        IndexRetriever(search=opened.search, search_kwargs={"filter": wanted})


def test_what_is_promoted_answers_where_no_encoder_is_named(coast: DataPaths, encoder: KeywordEncoder) -> None:
    with pytest.raises(NotFoundError, match="no encoder 'keywords'"):
        open_retriever("coast", data_dir=coast)
    record_promotion(Corpus.open(coast, "coast").folder, "keywords", "a run")
    with pytest.raises(NotFoundError, match="no encoder 'keywords'"):
        open_retriever("coast", data_dir=coast)
    with pytest.raises(InputError, match="dense, lexical and fused"):
        open_retriever("coast", "hybrid", encoder=encoder, data_dir=coast)  # type: ignore[arg-type]


def test_an_encoder_embeds_for_langchain(encoder: KeywordEncoder) -> None:
    embeddings = EncoderEmbeddings(encoder)
    assert embeddings.embed_query("the tide") == pytest.approx(encoder.encode_queries(["the tide"])[0].tolist())
    assert embeddings.embed_documents(["a", "b"]) == encoder.encode_passages(["a", "b"]).tolist()
    assert embeddings.embed_documents([]) == []


def test_a_compressor_keeps_the_best_in_the_scorers_order(opened: IndexRetriever) -> None:
    found = opened.invoke(QUESTION)
    best = RerankCompressor(scorer=Reversed(), top_n=2).compress_documents([*found, Document("of elsewhere")], QUESTION)
    assert [document.page_content for document in best] == ["of elsewhere", found[-1].page_content]
    assert [(document.metadata["score"], document.metadata["rank"]) for document in best] == [(4.0, 1), (3.0, 2)]
    assert RerankCompressor(scorer=Reversed()).compress_documents([], QUESTION) == []
