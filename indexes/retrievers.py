"""One door to every way of searching: dense, lexical or fused, then re-ranked, cut at a score, and varied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from indexes.corpus import Corpus
from indexes.encoders.finding import hub_answers
from indexes.errors import InputError, NotFoundError, UserError, WeightsError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.lexical import FusedIndex, LexicalIndex, Searchable
from indexes.mixes import DEFAULT_MIX, kept_mix, stretch
from indexes.paths import DataPaths
from indexes.types import Candidate, Encoder, Vectors

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from indexes.passage_index import PassageIndex


RetrieverKind = Literal["dense", "lexical", "fused"]

RERANK_DEPTH = 50  # hits that are put in order anew; each costs a pass through the scorer's model
_POOL_FACTOR, _MIN_POOL = 5, 50  # hits among which variety is looked for


class Scorer(Protocol):
    """A model that reads question and passage together, such as a cross-encoder or a trained ranker."""

    def score(self, question: str, candidates: Sequence[Candidate]) -> Sequence[float]:
        """How well each candidate answers `question`, higher is better."""
        ...


class VectorSource(Protocol):
    """Whatever knows the vectors of passages; `PassageIndex` is one."""

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these passages, in this order, shape (N, D)."""
        ...


class RerankedIndex:
    """A search whose first hits stand in a scorer's order."""

    def __init__(self, first: Searchable, scorer: Scorer, *, depth: int = RERANK_DEPTH) -> None:
        self._first = first
        self._scorer = scorer
        self._depth = depth

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` best passages of each question with the scorer's scores; where fewer are scored than asked for, the
        others follow as the first search had them, scored below.
        """
        found = self._first.search_many(questions, max(k, self._depth), where)
        return [self._reorder(question, hits)[:k] for question, hits in zip(questions, found, strict=True)]

    def _reorder(self, question: str, hits: Sequence[Candidate]) -> list[Candidate]:
        head, tail = hits[: self._depth], hits[self._depth :]
        scores = [float(score) for score in self._scorer.score(question, head)] if head else []
        scored = [Candidate(passage=c.passage, score=score) for c, score in zip(head, scores, strict=True)]
        best = sorted(scored, key=lambda candidate: (-candidate.score, candidate.passage.id))
        floor = best[-1].score if best else 0.0
        return best + [Candidate(passage=c.passage, score=floor - n) for n, c in enumerate(tail, start=1)]


class Search:
    """A retriever with what may follow it: a threshold, and variety.

    A threshold means the score of `first`: a cosine for a dense search, BM25's for a lexical one, at most 1 for the mix
    of both in a fused one, the scorer's after re-ranking. `vectors` are needed for variety only; scores that are no
    cosines are stretched to 0 … 1 for it.
    """

    def __init__(self, first: Searchable, vectors: VectorSource | None = None, *, has_cosines: bool = False) -> None:
        self._first = first
        self._vectors = vectors
        self._has_cosines = has_cosines

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

        With `mmr` from 0 (all variety) to 1 (all relevance) they are chosen one by one by maximal marginal relevance.
        """
        if mmr is not None and not 0 <= mmr <= 1:
            raise InputError(f"A number from 0 (all variety) to 1 (all relevance) was expected for mmr, got {mmr}.")
        pool = k if mmr is None else max(_POOL_FACTOR * k, _MIN_POOL)
        found = self._first.search_many(questions, pool, where)
        if threshold is not None:
            found = [[hit for hit in hits if hit.score >= threshold] for hits in found]
        return found if mmr is None else [self._vary(hits, k, mmr) for hits in found]

    def _vary(self, hits: Sequence[Candidate], k: int, mmr: float) -> list[Candidate]:
        if self._vectors is None:
            raise InputError("Variety (mmr) needs the vectors of passages, but this search has none. Leave it out.")
        vectors = self._vectors.vectors([hit.passage.id for hit in hits]) if hits else np.zeros((0, 1), np.float32)
        scores: Sequence[float] = [hit.score for hit in hits]
        scores = scores if self._has_cosines else stretch(scores, min(scores, default=0.0))
        return [hits[place] for place in vary(scores, vectors, k, mmr)]


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


def open_search(
    paths: DataPaths,
    corpus: str,
    kind: RetrieverKind,
    encoder: Callable[[], Encoder],
    scorer: Scorer | None = None,
) -> Search:
    """The search of this `kind` over `corpus`, re-ranked by `scorer` if there is one.

    A lexical search needs no encoder, so `encoder` is called for the others alone, or when vectors are asked for. A
    fused one mixes words and meaning as was learned for this corpus and encoder.
    """
    from indexes.passage_index import PassageIndex

    def dense() -> PassageIndex:
        return PassageIndex.open(paths, corpus, encoder())

    first: Searchable
    vectors: VectorSource
    has_cosines = kind != "lexical" and scorer is None
    if kind == "lexical":
        first, vectors = LexicalIndex.open(paths, corpus), LateVectors(dense)
    else:
        first = vectors = index = dense()
        mix = kept_mix(Corpus.open(paths, corpus).folder, index.encoder.name) or DEFAULT_MIX
        if kind == "fused" and mix.lexical:
            first, has_cosines = FusedIndex(index, LexicalIndex.open(paths, corpus), mix), False
    return Search(RerankedIndex(first, scorer) if scorer else first, vectors, has_cosines=has_cosines)


class LateVectors:
    """The vectors of an index that is opened when they are first asked for."""

    def __init__(self, open_index: Callable[[], VectorSource]) -> None:
        self._open = open_index
        self._index: VectorSource | None = None

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these passages, in this order, shape (N, D)."""
        self._index = self._index or self._open()
        return self._index.vectors(ids)


_BATCH_SIZE = 32


class CrossEncoderScorer:
    """A `Scorer` by a cross-encoder with one output."""

    def __init__(self, name: str, model: CrossEncoder) -> None:
        if model.num_labels != 1:
            raise WeightsError(
                f"A cross-encoder with one output was expected at '{name}', but it has {model.num_labels}: it sorts "
                "texts into classes. Give one that was trained to score pairs."
            )
        self.name = name
        self._model = model

    def score(self, question: str, candidates: Sequence[Candidate]) -> Sequence[float]:
        """The model's score of each candidate for `question`."""
        if not candidates:
            return []
        pairs = [(question, candidate.passage.full_text) for candidate in candidates]
        scores = self._model.predict(pairs, batch_size=_BATCH_SIZE, show_progress_bar=False)
        return [float(score) for score in np.asarray(scores, dtype=np.float32).reshape(-1)]


def load_cross_encoder(name: str) -> CrossEncoderScorer:
    """The cross-encoder in folder `name`, or the one that a model hub has under this name."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise NotFoundError(
                f"A cross-encoder was expected in folder '{name}', but it has no config.json. Give the folder that "
                "CrossEncoder.save_pretrained wrote."
            )
        try:
            return CrossEncoderScorer(name, _open(str(folder.resolve())))
        except UserError:
            raise
        except Exception as error:  # whatever torch, safetensors or the library say of a damaged folder
            raise WeightsError(
                f"The cross-encoder in folder '{name}' cannot be loaded: {error} Copy or train it again."
            ) from error
    try:
        return CrossEncoderScorer(name, _open(name, local_files_only=not hub_answers()))
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"There is no cross-encoder '{name}': not as a folder, and the model hub does not have it or cannot be "
            "reached. Give a folder, or a name such as cross-encoder/ms-marco-MiniLM-L6-v2."
        ) from error


def _open(name: str, *, local_files_only: bool = False) -> CrossEncoder:
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: CrossEncoder = CrossEncoder(name, local_files_only=local_files_only)
    return model
