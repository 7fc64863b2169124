"""The faces that LangChain knows: a retriever over an index, embeddings by an encoder, a compressor by a scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, SkipValidation, field_validator

from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.errors import InputError
from indexes.filters import PassageFilter
from indexes.paths import DataPaths
from indexes.retrievers import Retriever, RetrieverKind, Scorer, Search, load_cross_encoder, open_search
from indexes.types import Candidate, Encoder, Passage

_FIELDS = ("document_id", "source", "title", "start", "end", "page", "kind", "date")
_SEARCH_KWARGS = {"filter", "score_threshold", "lambda_mult"}


class IndexRetriever(BaseRetriever):
    """The `k` passages that answer a question best, best first; `k` and `filter` can be given for each call too.

    `search_kwargs` narrow every search, as with LangChain's own retrievers: `filter` (see `PassageFilter.of`),
    `score_threshold`, and `lambda_mult` from 0 (all variety) to 1 (all relevance).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    search: SkipValidation[Search] = Field(repr=False)
    k: int = Field(default=10, ge=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("search_kwargs")
    @classmethod
    def _known_only(cls, values: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(values.keys() - _SEARCH_KWARGS):
            raise ValueError(f"search_kwargs may have {sorted(_SEARCH_KWARGS)}, but got {unknown}")
        return values | {"filter": PassageFilter.of(values.get("filter"))}

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: PassageFilter | str | Mapping[str, Any] | None = None,  # what LangChain calls it
    ) -> list[Document]:
        where = PassageFilter.of(self.search_kwargs.get("filter") if filter is None else filter)
        threshold, mmr = (self.search_kwargs.get(name) for name in ("score_threshold", "lambda_mult"))
        found = self.search.search(query, self.k if k is None else k, where, threshold=threshold, mmr=mmr)
        return [to_document(candidate, rank) for rank, candidate in enumerate(found, start=1)]


def to_document(candidate: Candidate, rank: int) -> Document:
    """`candidate`, the `rank`-th of its list, as LangChain has it."""
    passage = candidate.passage
    metadata = {name: getattr(passage, name) for name in _FIELDS} | {"score": candidate.score, "rank": rank}
    return Document(id=passage.id, page_content=passage.text, metadata=metadata)


def to_candidate(document: Document) -> Candidate:
    """The candidate that `document` was made from; one of another origin is its own source."""
    values = {"document_id": document.id or "", "source": ""} | {
        name: document.metadata[name] for name in _FIELDS if name in document.metadata
    }
    passage = Passage(id=document.id or "", text=document.page_content, **values)
    return Candidate(passage=passage, score=float(document.metadata.get("score", 0.0)))


def open_retriever(
    corpus: str,
    kind: RetrieverKind = "dense",
    *,
    encoder: str | Encoder = "",
    rerank: str | Scorer = "",
    filter: PassageFilter | str | Mapping[str, Any] | None = None,  # what LangChain calls it
    k: int = 10,
    threshold: float | None = None,
    mmr: float | None = None,
    data_dir: str | Path | DataPaths = "data",
) -> IndexRetriever:
    """A LangChain retriever of `corpus`, by meaning ("dense"), by words ("lexical") or by both ("fused").

    `encoder` is the one that answers on the page, unless it is named. `rerank` is a cross-encoder (folder or hub name)
    that puts the best hits in order, or another scorer. `filter` is a source or {"source", "kind", "since", "until"}.
    """
    paths = as_paths(data_dir)
    if kind not in ("dense", "lexical", "fused"):
        raise InputError(f"One of dense, lexical and fused was expected, but got {kind!r}.")
    opened = Corpus.open(paths, corpus)
    name = encoder if isinstance(encoder, str) else encoder.name
    scorer = load_cross_encoder(rerank) if rerank and isinstance(rerank, str) else rerank or None
    way = Retriever(encoder=name or _usual_encoder(opened), kind=kind, is_reranked=scorer is not None)
    load: Callable[[str], Encoder] = partial(load_encoder, paths=paths)
    search = open_search(paths, opened, way, load if isinstance(encoder, str) else lambda _: encoder, scorer)
    given = {"filter": filter, "score_threshold": threshold, "lambda_mult": mmr}
    return IndexRetriever(search=search, k=k, search_kwargs=given)


def _usual_encoder(corpus: Corpus) -> str:
    """The encoder that was promoted for `corpus`, or else the default one, or else the first that it is indexed by."""
    standing, indexed = corpus.promoted(), [info.encoder for info in corpus.indexes()]
    if standing:
        return standing.encoder
    return DEFAULT_ENCODER if DEFAULT_ENCODER in indexed or not indexed else indexed[0]


def as_paths(data_dir: str | Path | DataPaths) -> DataPaths:
    """Everything under `data_dir`, its vectors there too."""
    return data_dir if isinstance(data_dir, DataPaths) else DataPaths(Path(data_dir))


class EncoderEmbeddings(Embeddings):
    """An encoder, one that was taught or any other by its name, as LangChain embeds with it."""

    def __init__(self, encoder: str | Encoder, data_dir: str | Path | DataPaths = "data") -> None:
        self._encoder = load_encoder(encoder, as_paths(data_dir)) if isinstance(encoder, str) else encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The unit vectors of passages; an index embeds a passage that has a title as title, line break, text."""
        return self._encoder.encode_passages(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a question."""
        return self._encoder.encode_queries([text])[0].tolist()  # type: ignore[no-any-return]


class RerankCompressor(BaseDocumentCompressor):
    """The `top_n` documents that `scorer` scores highest, best first, each with its score; equal ones as they stood."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    scorer: SkipValidation[Scorer] = Field(repr=False)
    top_n: int = Field(default=10, ge=1)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        """The best of `documents` for `query`, all of which are scored."""
        (scores,) = self.scorer.score([query], [[to_candidate(document) for document in documents]])
        best = sorted(range(len(documents)), key=lambda place: -scores[place])[: self.top_n]
        said = [{"score": float(scores[place]), "rank": rank} for rank, place in enumerate(best, start=1)]
        ranked = [documents[place] for place in best]
        return [d.model_copy(update={"metadata": d.metadata | more}) for d, more in zip(ranked, said, strict=True)]
