"""A retriever: how passages of a corpus are found, under one key and one name, and opened at one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from indexes.corpus import Corpus
from indexes.encoders.finding import folder_called, open_model
from indexes.errors import InputError, WeightsError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.lexical import LexicalIndex, Searchable
from indexes.mixes import DEFAULT_MIX, SCALE_DEPTH, Mix, blend, kept_mix, stretch
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Candidate, Encoder, Vectors

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


RetrieverKind = Literal["dense", "lexical", "fused"]

_POOL_FACTOR, _MIN_POOL = 5, 50  # hits among which variety is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Retriever:
    """How passages are found: by meaning (the vectors of `encoder`), by words (BM25), or by both, mixed as `mix` says
    or else as the corpus has learned; then, if `is_reranked`, a model puts the best of them in order.

    `alias` is what people call the encoder, its own name where it is "".
    """

    encoder: str = ""
    kind: RetrieverKind = "dense"
    mix: Mix | None = None
    is_reranked: bool = False
    alias: str = ""

    @property
    def key(self) -> str:
        """What programs, links and files call it: NAME, `lexical`, `fused(NAME)`, or `reranked(…)` around those."""
        first = {"dense": self.encoder, "lexical": "lexical", "fused": f"fused({self.encoder})"}[self.kind]
        return f"reranked({first})" if self.is_reranked else first

    @property
    def name(self) -> str:
        """What people call it."""
        encoder = self.alias or self.encoder
        first = {"dense": encoder, "lexical": "BM25", "fused": f"{encoder} + BM25"}[self.kind]
        return f"{first}, re-ranked" if self.is_reranked else first

    @property
    def share_of_words(self) -> float:
        """How much BM25 counts, from 0 to 1; what is left is the cosine's."""
        return {"dense": 0.0, "lexical": 1.0}.get(self.kind, (self.mix or DEFAULT_MIX).lexical)


def split_key(key: str) -> tuple[str, bool]:
    """The key of a retriever without its re-ranking, and whether it is re-ranked."""
    is_reranked = key.startswith("reranked(") and key.endswith(")")
    return (key[len("reranked(") : -1] if is_reranked else key), is_reranked


class Scorer(Protocol):
    """A model that reads question and passage together, such as a cross-encoder or a trained ranker."""

    @property
    def depth(self) -> int:
        """How many hits it puts in order."""
        ...

    def score(self, questions: Sequence[str], lists: Sequence[Sequence[Candidate]]) -> Sequence[Sequence[float]]:
        """How well each candidate answers the question of its list, higher is better."""
        ...


class Search:
    """A `Retriever` that is open: over what it needs of `dense` and `lexical`, which are opened at once.

    `vectors` gives the index that has the vectors of passages, once variety is asked for.
    """

    def __init__(
        self,
        retriever: Retriever,
        dense: Callable[[], Searchable],
        lexical: Callable[[], Searchable],
        scorer: Scorer | None = None,
        vectors: Callable[[], PassageIndex] | None = None,
    ) -> None:
        share = retriever.share_of_words
        self._retriever = retriever
        self._first = [each() for each in (*[dense] * (share < 1), *[lexical] * (share > 0))]
        self._scorer = scorer
        self._vectors = vectors

    def search(
        self,
        question: str,
        k: int = 10,
        where: PassageFilter = EVERYTHING,
        *,
        threshold: float | None = None,
        mmr: float | None = None,
    ) -> list[Candidate]:
        """The `k` best passages for `question`, best first."""
        return self.search_many([question], k, where, threshold=threshold, mmr=mmr)[0]

    def search_many(
        self,
        questions: Sequence[str],
        k: int,
        where: PassageFilter = EVERYTHING,
        *,
        threshold: float | None = None,
        mmr: float | None = None,
    ) -> list[list[Candidate]]:
        """The `k` best passages of each question that fit `where` and score at least `threshold`.

        The score is the cosine, BM25's, their mix (1 at most), or after re-ranking the scorer's. With `mmr` from 0 (all
        variety) to 1 (all relevance) they are chosen one by one by maximal marginal relevance.
        """
        if mmr is not None and not 0 <= mmr <= 1:
            raise InputError(f"A number from 0 (all variety) to 1 (all relevance) was expected for mmr, got {mmr}.")
        pool = k if mmr is None else max(_POOL_FACTOR * k, _MIN_POOL)
        search = partial(self._reranked, self._scorer) if self._scorer else self._found
        found = search(questions, pool, where)
        if threshold is not None:
            found = [[hit for hit in hits if hit.score >= threshold] for hits in found]
        return found if mmr is None else [self._vary(hits, k, mmr) for hits in found]

    def _found(self, questions: Sequence[str], k: int, where: PassageFilter) -> list[list[Candidate]]:
        """The hits before re-ranking; where words or meaning count nothing, the other search is as fast as alone."""
        if len(self._first) == 1:
            return self._first[0].search_many(questions, k, where)
        found = (each.search_many(questions, max(k, SCALE_DEPTH), where) for each in self._first)
        mix = self._retriever.mix or DEFAULT_MIX
        return [blend(dense, lexical, k, mix) for dense, lexical in zip(*found, strict=True)]

    def _reranked(
        self, scorer: Scorer, questions: Sequence[str], k: int, where: PassageFilter
    ) -> list[list[Candidate]]:
        """The first hits in the scorer's order with its scores, equal ones as they stood; the others follow, below."""
        found = self._found(questions, max(k, scorer.depth), where)
        scores = scorer.score(questions, [hits[: scorer.depth] for hits in found])
        return [_reordered(hits, row)[:k] for hits, row in zip(found, scores, strict=True)]

    def _vary(self, hits: Sequence[Candidate], k: int, mmr: float) -> list[Candidate]:
        """`k` varied hits; scores that are no cosines are stretched to 0 … 1 for it."""
        if self._vectors is None:
            raise InputError("Variety (mmr) needs the vectors of passages, but this search has none. Leave it out.")
        vectors = self._vectors().vectors([hit.passage.id for hit in hits]) if hits else np.zeros((0, 1), np.float32)
        scores: Sequence[float] = [hit.score for hit in hits]
        if self._scorer or self._retriever.share_of_words:
            scores = stretch(scores, min(scores, default=0.0))
        return [hits[place] for place in vary(scores, vectors, k, mmr)]


def _reordered(hits: Sequence[Candidate], scores: Sequence[float]) -> list[Candidate]:
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    best = [Candidate(passage=hits[place].passage, score=float(scores[place])) for place in order]
    floor = best[-1].score if best else 0.0
    rest = hits[len(scores) :]
    return best + [Candidate(passage=hit.passage, score=floor - n) for n, hit in enumerate(rest, start=1)]


def vary(scores: Sequence[float], vectors: Vectors, k: int, balance: float) -> list[int]:
    """Places of `k` candidates by maximal marginal relevance (Carbonell & Goldstein 1998), in the order chosen.

    The first has the highest score, each next one the highest `balance` · score − (1 − `balance`) · its highest cosine
    to one chosen before.
    """
    left = np.array(scores, dtype=np.float64)
    nearest = np.full(len(left), -np.inf)
    chosen: list[int] = []
    while len(chosen) < min(k, len(left)):
        gain = balance * left - (1 - balance) * nearest if chosen else left.copy()
        gain[chosen] = -np.inf
        chosen.append(int(np.argmax(gain)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


class AskedOnce:
    """A search that remembers what it found last: asked alone and then for a fusion, it searches once."""

    def __init__(self, search: Searchable) -> None:
        self._search = search
        self._asked: object = None
        self._found: list[list[Candidate]] = []

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` best passages of each question among those that fit `where`, best first."""
        if self._asked != (asked := (tuple(questions), k, where)):
            self._asked, self._found = asked, self._search.search_many(questions, k, where)
        return self._found


Load = Callable[[str], Encoder]


def open_search(
    paths: DataPaths, corpus: str | Corpus, retriever: Retriever, load: Load, scorer: Scorer | None = None
) -> Search:
    """The search of `corpus` by `retriever`, whose encoder `load` gives if one is needed."""
    opened = Corpus.open(paths, corpus)
    dense = cache(lambda: PassageIndex.open(paths, opened, load(retriever.encoder)))
    return Search(_mixed(retriever, opened), dense, lambda: LexicalIndex.open(paths, opened), scorer, dense)


def open_searches(
    paths: DataPaths, corpus: str | Corpus, retrievers: Iterable[Retriever], load: Load
) -> dict[str, Search]:
    """The search of `corpus` by each of `retrievers`, by its key; what several need is opened and searched once."""
    opened = Corpus.open(paths, corpus)
    dense = cache(lambda encoder: AskedOnce(PassageIndex.open(paths, opened, load(encoder))))
    lexical = cache(lambda: AskedOnce(LexicalIndex.open(paths, opened)))
    return {each.key: Search(_mixed(each, opened), partial(dense, each.encoder), lexical) for each in retrievers}


def _mixed(retriever: Retriever, corpus: Corpus) -> Retriever:
    """`retriever` with the mix that `corpus` has learned for it, unless it brings one."""
    needs_mix = retriever.kind == "fused" and retriever.mix is None
    return replace(retriever, mix=kept_mix(corpus, retriever.encoder)) if needs_mix else retriever


_BATCH_SIZE = 32


class CrossEncoderScorer:
    """A `Scorer` by a cross-encoder with one output."""

    depth = 50  # each hit costs a pass through the model

    def __init__(self, name: str, model: CrossEncoder) -> None:
        if model.num_labels != 1:
            raise WeightsError(
                f"A cross-encoder with one output was expected at '{name}', but it has {model.num_labels}: it sorts "
                "texts into classes. Give one that was trained to score pairs."
            )
        self._model = model

    def score(self, questions: Sequence[str], lists: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        """The model's score of each candidate for the question of its list."""
        pairs = [(q, hit.passage.full_text) for q, hits in zip(questions, lists, strict=True) for hit in hits]
        scores: object = self._model.predict(pairs, batch_size=_BATCH_SIZE, show_progress_bar=False) if pairs else ()
        rest = iter(np.asarray(scores, dtype=np.float32).reshape(-1).tolist())
        return [list(islice(rest, len(hits))) for hits in lists]


def load_cross_encoder(name: str) -> CrossEncoderScorer:
    """The cross-encoder in folder `name`, or the one that a model hub has under this name."""
    from sentence_transformers import CrossEncoder

    remedy = "Give a folder, or a name such as cross-encoder/ms-marco-MiniLM-L6-v2."
    model: CrossEncoder = open_model(name, folder_called(name), CrossEncoder, "cross-encoder", remedy)
    return CrossEncoderScorer(name, model)
