"""A `PassageIndex` as a LangChain retriever, and a retriever's documents as candidates again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, SkipValidation, field_validator

from indexes.chroma import PassageIndex
from indexes.filters import EVERYTHING, PassageFilter
from indexes.lexical import Searchable
from indexes.search import Search
from indexes.types import Candidate, Passage

_FIELDS = ("document_id", "source", "title", "start", "end", "page", "kind", "date")
_SEARCH_KWARGS = {"filter", "score_threshold", "lambda_mult"}


class IndexRetriever(BaseRetriever):
    """The `k` passages of an index that answer a question best, best first; `k` can be given for each call too.

    `search_kwargs` narrow every search, as with LangChain's own retrievers: `filter` (a `PassageFilter`, or its fields
    in a dict), `score_threshold`, and `lambda_mult` from 0 (all variety) to 1 (all relevance).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: SkipValidation[Searchable] = Field(repr=False)
    k: int = Field(default=10, ge=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("search_kwargs")
    @classmethod
    def _known_only(cls, values: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(values.keys() - _SEARCH_KWARGS):
            raise ValueError(f"search_kwargs may have {sorted(_SEARCH_KWARGS)}, but got {unknown}")
        return values

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        wanted = self.search_kwargs.get("filter") or EVERYTHING
        where = wanted if isinstance(wanted, PassageFilter) else PassageFilter(**wanted)
        dense = self.index if isinstance(self.index, PassageIndex) else None
        search = Search(self.index, dense, has_cosines=dense is not None)
        threshold, mmr = (self.search_kwargs.get(name) for name in ("score_threshold", "lambda_mult"))
        found = search.search(query, self.k if k is None else k, where, threshold=threshold, mmr=mmr)
        return [_to_document(candidate, rank) for rank, candidate in enumerate(found, start=1)]


def _to_document(candidate: Candidate, rank: int) -> Document:
    passage = candidate.passage
    metadata = {name: getattr(passage, name) for name in _FIELDS} | {"score": candidate.score, "rank": rank}
    return Document(id=passage.id, page_content=passage.text, metadata=metadata)


def to_candidate(document: Document) -> Candidate:
    """The candidate that `document` was made from."""
    values = {name: document.metadata[name] for name in _FIELDS if name in document.metadata}
    passage = Passage(id=document.id or "", text=document.page_content, **values)
    return Candidate(passage=passage, score=float(document.metadata.get("score", 0.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What one retriever found for a question, best first, and how long it took."""

    retriever: str
    candidates: tuple[Candidate, ...]
    took_ms: float


def retrieve(name: str, retriever: BaseRetriever, question: str, k: int) -> Retrieval:
    """What `retriever`, shown as `name`, finds for `question`."""
    started = time.perf_counter()
    documents = retriever.invoke(question, k=k)
    took_ms = (time.perf_counter() - started) * 1000
    return Retrieval(retriever=name, candidates=tuple(map(to_candidate, documents)), took_ms=took_ms)
