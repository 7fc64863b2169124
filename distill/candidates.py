"""Initial retrieval: the passages of each question that are put to the teacher, and their order as numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Final, Literal

from distill.records import CandidateList, Ranking, Retrieved
from indexes.lexical import LexicalIndex, Searchable
from indexes.mixes import blend
from indexes.passage_index import PassageIndex
from indexes.types import Candidate, Passage, Query

Retrieval = Literal["fused", "dense", "lexical", "union"]
RETRIEVALS: tuple[Retrieval, ...] = ("fused", "dense", "lexical", "union")

_BATCH = 256
_DEPTH = 50  # of what is fused for the teacher: that of a fused search
_SPARE = 10  # passages more than wanted, as some have equal texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Passages that are to stand first among a question's candidates, and how many of those the teacher is shown."""

    passages: tuple[Passage, ...]
    n_shown: int

    @property
    def candidates(self) -> list[Candidate]:
        """The passages, with no score of their own."""
        return [Candidate(passage=passage, score=0.0) for passage in self.passages]


def mine_candidates(
    queries: Sequence[Query],
    index: PassageIndex,
    lexical: LexicalIndex,
    n_candidates: int,
    *,
    retrieval: Retrieval = "fused",
    given: Mapping[str, Given] = MappingProxyType({}),
    sources: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[CandidateList]:
    """For each query its `n_candidates` best passages by `retrieval`; see `candidate_records`.

    The passages in `given` come before all others. Where there are none, `sources` names passages that a question was
    written from: they are among its candidates wherever the search has found them.
    """
    records: list[CandidateList] = []
    n_shown: dict[str, int] = {}
    for first in range(0, len(queries), _BATCH):
        batch = queries[first : first + _BATCH]
        lists = []
        for query, found in zip(batch, search_both(batch, index, lexical, n_candidates), strict=True):
            if query.id in given:
                front = _distinct(given[query.id].candidates)
                n_shown[query.id] = given[query.id].n_shown - len(given[query.id].passages) + len(front)
                best = _distinct([*front, *join(found, retrieval, n_candidates)])
                lists.append(best[: max(len(front), n_candidates)])
            else:
                lists.append(_with_sources(join(found, retrieval), sources.get(query.id, ()), n_candidates))
        records += candidate_records(batch, lists, index, lexical)
    return [replace(each, n_shown=n_shown.get(each.id)) for each in records]


def _with_sources(ranked: Sequence[Candidate], sources: Collection[str], n: int) -> list[Candidate]:
    """The `n` best of `ranked`, but those of the passages `sources` before all others that it holds."""
    own = [candidate for candidate in ranked if candidate.passage.id in sources][:n]
    others = [candidate for candidate in ranked if candidate.passage.id not in sources][: n - len(own)]
    chosen = {candidate.passage.id for candidate in [*own, *others]}
    return [candidate for candidate in ranked if candidate.passage.id in chosen]


def candidate_records(
    queries: Sequence[Query], lists: Sequence[Sequence[Candidate]], index: PassageIndex, lexical: LexicalIndex
) -> list[CandidateList]:
    """Each list, best first, with the dense and the lexical score of its passages, whatever found them.

    Raises `KeyError` for a passage whose vector `index` does not have.
    """
    records = []
    vectors = index.encoder.encode_queries([query.text for query in queries])
    for query, vector, found in zip(queries, vectors, lists, strict=True):
        ids = [candidate.passage.id for candidate in found]
        dense = (index.vectors(ids) @ vector).tolist() if ids else []
        candidates = tuple(
            Retrieved(passage=c.passage.id, document=c.passage.document_id, dense=round(d, 6), lexical=round(b, 4))
            for c, d, b in zip(found, dense, lexical.scores(query.text, ids), strict=True)
        )
        records.append(CandidateList(id=query.id, question=query.text, candidates=candidates))
    return records


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What both searches have found for a question, best first."""

    dense: Sequence[Candidate]
    lexical: Sequence[Candidate]


def search_both(queries: Sequence[Query], dense: Searchable, lexical: Searchable, n_candidates: int) -> list[Found]:
    """What dense and lexical search find, deep enough to `join` them."""
    texts = [query.text for query in queries]
    depth = max(_DEPTH, n_candidates + _SPARE)
    pairs = zip(dense.search_many(texts, depth), lexical.search_many(texts, depth), strict=True)
    return [Found(dense=by_vectors, lexical=by_words) for by_vectors, by_words in pairs]


def join(found: Found, retrieval: Retrieval, n: int | None = None) -> list[Candidate]:
    """The `n` best passages by `retrieval` (None: all), each text once.

    "fused" mixes the scores of dense and lexical search as the page does, "union" takes from both in turn.
    """
    parts = {"dense": (found.dense,), "lexical": (found.lexical,)}.get(retrieval, (found.dense, found.lexical))
    return _distinct((_mixed if retrieval == "fused" else _take_in_turn)(parts))[:n]


def _mixed(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    dense, lexical = lists
    return blend(dense, lexical, len(dense) + len(lexical))


def _take_in_turn(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """The passages of all `lists`, each once: the first of each, then the second of each, and so on."""
    once: dict[str, Candidate] = {}
    for candidate in (each for row in zip_longest(*lists) for each in row if each is not None):
        once.setdefault(candidate.passage.id, candidate)
    return list(once.values())


def shown(record: CandidateList) -> CandidateList:
    """`record` with the candidates that the teacher is shown."""
    return replace(record, candidates=record.candidates[: record.n_shown])


def words_of(text: str) -> str:
    """`text` as two passages have it that differ in their spaces only."""
    return " ".join(text.split())


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    first_with_text: dict[str, Candidate] = {}
    for candidate in candidates:
        first_with_text.setdefault(words_of(candidate.passage.text), candidate)
    return list(first_with_text.values())


UNRANKED: Final = 1_000_000  # target of a candidate that the teacher saw and did not place
PADDING: Final = -1  # target of a place where there is no candidate, or one that the teacher never saw


def rank_targets(record: CandidateList, ranking: Ranking) -> list[int]:
    """The teacher's rank from 0 of each candidate of `record`, `UNRANKED` where it saw but did not place the passage.

    Candidates that the teacher never saw are `PADDING`: nothing is known of them.
    """
    place = {identifier: rank for rank, identifier in enumerate(ranking.ranking)}
    shown = set(ranking.shown)
    return [place.get(c.passage, UNRANKED) if c.passage in shown else PADDING for c in record.candidates]
