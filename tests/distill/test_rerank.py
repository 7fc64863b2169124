"""The re-ranker puts the first hits of another search in the ranker's order, and loses none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from fakes import KeywordEncoder

from distill.ranker.head import Features, Head, signals, weigh
from distill.ranker.rerank import RankerScorer
from distill.records import CandidateList, Retrieved
from indexes.errors import InputError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.retrievers import Retriever, Search
from indexes.types import Candidate, Passage, Vectors

N = 8


class LengthRanker:
    """A ranker by the length of passages: an opinion that no first search has."""

    kind: ClassVar[str] = "length"
    model: Any = None

    def __init__(self, head: Head) -> None:
        self.head = head
        self.seen: list[CandidateList] = []

    def features(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: object = None
    ) -> list[Features]:
        self.seen += records
        return [signals(record, [len(texts[c.passage]) for c in record.candidates]) for record in records]

    def score(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: object = None
    ) -> list[list[float]]:
        return weigh(self.features(records, texts), self.head)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class Index:
    """A dense and a lexical index of the passages; the lexical score is the passage's number."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.encoder = KeywordEncoder()
        self._text = {passage.id: passage.full_text for passage in passages}

    def vectors(self, ids: Sequence[str]) -> Vectors:
        return self.encoder.encode_passages([self._text[i] for i in ids])

    def scores(self, question: str, passage_ids: Sequence[str]) -> list[float]:
        return [float(identifier[1:]) for identifier in passage_ids]


def passage(number: int) -> Passage:
    return Passage(id=f"p{number}", document_id=f"d{number}", source="s", text="word " * (number + 1), title="Title")


PASSAGES = [passage(number) for number in range(N)]


class Shortest:
    """A first search that finds the shortest passages."""

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        return [[Candidate(passage=p, score=1.0 / (n + 1)) for n, p in enumerate(PASSAGES[:k])] for _ in questions]


class RankerOfFour(RankerScorer):
    """One that looks at few hits."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.depth = 4


def reranker(head: Head) -> tuple[Search, LengthRanker]:
    ranker, index = LengthRanker(head), Index(PASSAGES)
    return Search(Retriever(is_reranked=True), Shortest, Shortest, RankerOfFour(ranker, index, index)), ranker


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.passage.id for candidate in candidates]


def test_the_first_hits_stand_in_the_rankers_order() -> None:
    search, _ = reranker(Head(model=1.0, dense=0.0, lexical=0.0))
    found = search.search_many(["one?", "two?"], 3)
    assert [ids(candidates) for candidates in found] == [["p3", "p2", "p1"]] * 2
    assert found[0][0].score == len(PASSAGES[3].full_text)


def test_what_lies_deeper_follows_as_it_stood_with_lower_scores() -> None:
    search, ranker = reranker(Head(model=1.0, dense=0.0, lexical=0.0))
    found = search.search("one?", N)
    assert ids(found) == ["p3", "p2", "p1", "p0", "p4", "p5", "p6", "p7"]
    scores = [candidate.score for candidate in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == N
    assert len(ranker.seen[0].candidates) == 4


def test_the_ranker_gets_the_signals_that_it_was_trained_with() -> None:
    search, ranker = reranker(Head(model=0.0, dense=0.0, lexical=1.0))
    assert ids(search.search("word word?", 2)) == ["p3", "p2"]
    candidates = ranker.seen[0].candidates
    assert [c.lexical for c in candidates] == [0.0, 1.0, 2.0, 3.0]
    encoder = KeywordEncoder()
    expected = encoder.encode_passages([p.full_text for p in PASSAGES[:4]]) @ encoder.encode_queries(["word word?"])[0]
    assert [c.dense for c in candidates] == pytest.approx(np.asarray(expected).tolist(), abs=1e-6)


def test_equal_scores_keep_the_first_searchs_order() -> None:
    search, _ = reranker(Head(model=0.0, dense=0.0, lexical=0.0))
    assert ids(search.search("one?", 4)) == ["p0", "p1", "p2", "p3"]


def test_a_search_that_finds_nothing_stays_empty() -> None:
    search, _ = reranker(Head())
    assert search.search_many(["one?"], 0) == [[]]
    assert search.search_many([], 5) == []


def test_a_taught_encoders_cosines_count_more_and_the_ranker_stays_as_it_is() -> None:
    ranker, index = LengthRanker(Head(model=1.0, dense=0.0, lexical=0.0)), Index(PASSAGES)
    (hits,) = Shortest().search_many(["word?"], N)
    plain, taught = (RankerScorer(ranker, index, index, is_taught=each) for each in (False, True))
    cosines = [candidate.dense for candidate in _seen(ranker, taught, hits)]
    ((before,), (after,)) = plain.score(["word?"], [hits]), taught.score(["word?"], [hits])
    assert np.subtract(after, before) == pytest.approx(20 * np.array(cosines), abs=1e-4)
    assert taught.depth > plain.depth
    assert ranker.head.dense == 0


def _seen(ranker: LengthRanker, scorer: RankerScorer, hits: Sequence[Candidate]) -> list[Retrieved]:
    scorer.score(["word?"], [hits])
    return list(ranker.seen[-1].candidates)


def test_passages_of_another_corpus_are_refused_with_a_sentence() -> None:
    search = RankerScorer(LengthRanker(Head()), Index(PASSAGES[:3]), Index(PASSAGES[:3]))  # type: ignore[arg-type]
    (hits,) = Shortest().search_many(["word?"], N)
    with pytest.raises(InputError, match="of its own corpus"):
        search.score(["word?"], [hits])
