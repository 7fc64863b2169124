"""LangChain's own standard tests of a retriever, over a real index with a fake encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import KeywordEncoder
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from app.retriever import IndexRetriever, retrieve, to_candidate
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

QUESTION = "Why does the tide rise?"


@pytest.fixture
def index(tmp_path: Path) -> PassageIndex:
    paths, encoder = DataPaths(tmp_path / "data"), KeywordEncoder()
    for name in ("tide", "moon", "sea", "shore"):
        (tmp_path / f"{name}.txt").write_text(f"The {name} and what the tide does to it.", encoding="utf-8")
    for _ in add_files(paths, "coast", sorted(tmp_path.glob("*.txt")), encoder):
        pass
    return PassageIndex.open(paths, "coast", encoder)


@pytest.mark.anyio
class TestIndexRetriever(RetrieversIntegrationTests):
    """What every LangChain retriever has to do."""

    @pytest.fixture(autouse=True)
    def _index(self, index: PassageIndex) -> None:
        self.index = index

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return IndexRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


def test_a_document_carries_all_that_its_candidate_had(index: PassageIndex) -> None:
    documents = IndexRetriever(index=index, k=3).invoke(QUESTION)
    assert [to_candidate(document) for document in documents] == index.search(QUESTION, 3)
    assert [document.metadata["rank"] for document in documents] == [1, 2, 3]
    assert documents[0].metadata["source"] == "tide.txt"


def test_a_retrieval_knows_its_retriever_and_its_time(index: PassageIndex) -> None:
    retrieval = retrieve("Baseline", IndexRetriever(index=index), QUESTION, 2)
    assert retrieval.retriever == "Baseline"
    assert len(retrieval.candidates) == 2
    assert retrieval.took_ms > 0
