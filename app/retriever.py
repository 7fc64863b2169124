"""A picked retriever as a LangChain retriever, and a retriever's documents as candidates again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, SkipValidation, field_validator

from app.shelf import Choice, find_choice, list_all, look_up, picked_corpus, ranker_base
from app.workbench import Workbench
from distill.ranker.rerank import Reranker, taught_reranker
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.lexical import FusedIndex, Searchable
from indexes.passage_index import PassageIndex
from indexes.retrievers import Search
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn:
    """A search that serves one caller at a time."""

    search: Reranker
    lock: Lock

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` best passages of each question, best first."""
        if where != EVERYTHING:
            raise InputError(
                "A re-ranked search cannot be narrowed yet. Ask without re-ranking, or without the filter."
            )
        with self.lock:
            return self.search.search_many(questions, k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A retriever that is ready to be asked: of which corpus, what it is, and how to search."""

    corpus: str
    choice: Choice
    retriever: IndexRetriever


def open_retriever(bench: Workbench, corpus: str | None, key: str | None) -> Opened:
    """The retriever of `corpus` that `key` names (see `find_choice`), the one to start with where none was picked."""
    corpus = picked_corpus(bench.paths, corpus)
    Corpus.open(bench.paths, corpus)  # a corpus that is gone is not replaced by another
    _, _, dense = look_up(bench.paths, bench.encoder, corpus)
    choices = list_all(bench.paths, dense)
    if not choices:
        raise InputError(f"Corpus '{corpus}' is not indexed yet. Wait until it is, or add its files again.")
    choice = find_choice(choices, dense, key)
    search = open_search(bench, corpus, choice)
    return Opened(corpus=corpus, choice=choice, retriever=IndexRetriever(index=search))


def open_search(bench: Workbench, corpus: str, choice: Choice) -> Searchable:
    """What finds passages of `corpus` as `choice` says."""
    first = _first_search(bench, corpus, choice)
    if not choice.is_reranked:
        return first
    # The ranker weighs the cosines of the encoder that its run has taught, else those that it was trained beside.
    is_taught = choice.encoder == choice.ranker
    index = bench.shelf.index(corpus, choice.encoder if is_taught else ranker_base(bench.paths, choice.ranker))
    put_in_order = taught_reranker if is_taught else Reranker
    search = put_in_order(first.search_many, bench.shelf.ranker(choice.ranker), index, bench.shelf.lexical(corpus))
    return InTurn(search=search, lock=bench.shelf.ranking)


def _first_search(bench: Workbench, corpus: str, choice: Choice) -> Searchable:
    if not choice.encoder:
        return bench.shelf.lexical(corpus)
    index = bench.shelf.index(corpus, choice.encoder)
    if not choice.is_fused:
        return index
    return FusedIndex(index, bench.shelf.lexical(corpus), choice.mix)
