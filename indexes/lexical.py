"""The BM25 twin of an index, and rank fusion."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from indexes.corpus import Corpus
from indexes.paths import DataPaths
from indexes.types import Candidate, Passage

if TYPE_CHECKING:
    import bm25s

_MIN_FUSED_DEPTH = 50
_RRF_CONSTANT = 60  # reciprocal rank fusion, Cormack, Clarke & Büttcher 2009


class Searchable(Protocol):
    """Whatever finds passages for questions."""

    def search_many(self, questions: Sequence[str], k: int) -> list[list[Candidate]]:
        """The `k` best passages of each question, best first."""
        ...


class LexicalIndex:
    """BM25 over the passages of one corpus."""

    def __init__(self, corpus: str, passages: Sequence[Passage], bm25: bm25s.BM25) -> None:
        self.corpus = corpus
        self._passages = passages
        self._bm25 = bm25
        self._position = {passage.id: position for position, passage in enumerate(passages)}

    @classmethod
    def open(cls, paths: DataPaths, corpus: str) -> LexicalIndex:
        """The lexical index of `corpus`: the one kept beside its manifest, or a new one if the corpus has changed."""
        import bm25s

        manifest = Corpus.open(paths, corpus)
        passages = list(manifest.passages())
        kept = manifest.folder / "lexical" / manifest.content_hash()
        if kept.is_dir():
            return cls(manifest.name, passages, bm25s.BM25.load(kept))
        bm25 = bm25s.BM25()
        bm25.index(_tokenize([passage.full_text for passage in passages]), show_progress=False)
        shutil.rmtree(kept.parent, ignore_errors=True)
        partial = kept.with_name("partial")
        bm25.save(partial)
        partial.rename(kept)
        return cls(manifest.name, passages, bm25)

    def search_many(self, questions: Sequence[str], k: int) -> list[list[Candidate]]:
        """The `k` passages with the highest BM25 score for each question, best first; equal scores by passage id."""
        return [self._best(scores, k) for scores in (self._scores(question) for question in questions)]

    def search(self, question: str, k: int = 10) -> list[Candidate]:
        """The `k` passages with the highest BM25 score, best first; passages that share no word are left out."""
        return self.search_many([question], k)[0]

    def scores(self, question: str, passage_ids: Sequence[str]) -> list[float]:
        """The BM25 score of each of these passages for `question`; 0 for a passage that is not in the index."""
        scores = self._scores(question)
        return [float(scores[self._position[i]]) if i in self._position else 0.0 for i in passage_ids]

    def _scores(self, question: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        words = bm25s_words(question)
        if not words:
            return np.zeros(len(self._passages), dtype=np.float32)
        return np.asarray(self._bm25.get_scores(words), dtype=np.float32)

    def _best(self, scores: np.ndarray[tuple[int], np.dtype[np.float32]], k: int) -> list[Candidate]:
        n_best = min(k, len(scores))
        threshold = np.partition(scores, -n_best)[-n_best] if n_best else 0.0
        positions = np.flatnonzero((scores >= threshold) & (scores > 0)).tolist()
        found = [Candidate(passage=self._passages[p], score=float(scores[p])) for p in positions]
        return sorted(found, key=lambda candidate: (-candidate.score, candidate.passage.id))[:k]


def bm25s_words(question: str) -> list[str]:
    """The words of `question` as the index has them."""
    import bm25s

    tokens = bm25s.tokenize([question], return_ids=False, show_progress=False)
    return list(tokens[0])


def _tokenize(texts: Sequence[str]) -> object:
    import bm25s

    return bm25s.tokenize(list(texts), show_progress=False)


def search_fused(index: Searchable, lexical: Searchable, questions: Sequence[str], k: int) -> list[list[Candidate]]:
    """The `k` best passages of each question by fusion of two searches, each looked into at least 50 deep."""
    depth = max(k, _MIN_FUSED_DEPTH)
    pairs = zip(index.search_many(questions, depth), lexical.search_many(questions, depth), strict=True)
    return [fuse(pair, k) for pair in pairs]


def fuse(rankings: Sequence[Sequence[Candidate]], k: int) -> list[Candidate]:
    """The `k` best passages by reciprocal rank fusion of several rankings, each passage once; ties by passage id."""
    scores: dict[str, float] = {}
    passages: dict[str, Passage] = {}
    for ranking in rankings:
        for rank, candidate in enumerate(ranking, start=1):
            passage = candidate.passage
            passages[passage.id] = passage
            scores[passage.id] = scores.get(passage.id, 0.0) + 1.0 / (_RRF_CONSTANT + rank)
    best = sorted(scores, key=lambda identifier: (-scores[identifier], identifier))[:k]
    return [Candidate(passage=passages[identifier], score=scores[identifier]) for identifier in best]
