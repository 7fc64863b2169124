"""Initial retrieval: the passages of each question that are put to the teacher, and their order as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_DEPTH = 50  # of what is fused for the teacher: that of a fused search, whatever else is mined
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
    n_more: int = 0,
    retrieval: Retrieval = "fused",
    given: Mapping[str, Given] = MappingProxyType({}),
) -> list[CandidateList]:
    """For each query its `n_candidates` best passages by `retrieval`, then `n_more` that lie deeper; see
    `candidate_records`. The passages in `given` come before all others.

    What stands first depends on `n_candidates` alone, so that orders of it still fit when more is mined.
    """
    records: list[CandidateList] = []
    n_shown: dict[str, int] = {}
    for first in range(0, len(queries), _BATCH):
        batch = queries[first : first + _BATCH]
        lists = []
        for query, found in zip(batch, search_both(batch, index, lexical, n_candidates, n_more), strict=True):
            front = _distinct(given[query.id].candidates) if query.id in given else []
            best = _distinct([*front, *join(found, retrieval, n_candidates, n_more)])
            lists.append(best[: max(len(front), n_candidates + n_more)])
            if query.id in given:
                n_shown[query.id] = given[query.id].n_shown - len(given[query.id].passages) + len(front)
        records += candidate_records(batch, lists, index, lexical)
    return [replace(each, n_shown=n_shown.get(each.id)) for each in records]


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
    """What both searches have found for a question, best first; the first `head` of each decide who comes first."""

    dense: Sequence[Candidate]
    lexical: Sequence[Candidate]
    head: int


def search_both(
    queries: Sequence[Query], dense: Searchable, lexical: Searchable, n_candidates: int, n_more: int = 0
) -> list[Found]:
    """What dense and lexical search find, deep enough to `join` them."""
    texts = [query.text for query in queries]
    head = max(_DEPTH, n_candidates + _SPARE)
    depth = max(head, 2 * (n_candidates + n_more) + _SPARE) if n_more else head
    pairs = zip(dense.search_many(texts, depth), lexical.search_many(texts, depth), strict=True)
    return [Found(dense=by_vectors, lexical=by_words, head=head) for by_vectors, by_words in pairs]


def join(found: Found, retrieval: Retrieval, n_candidates: int, n_more: int = 0) -> list[Candidate]:
    """The `n_candidates` best passages by `retrieval`, then `n_more` that lie deeper, each text once.

    "fused" mixes the scores of dense and lexical search as the page does, "union" takes from both in turn.
    """
    parts = {"dense": (found.dense,), "lexical": (found.lexical,)}.get(retrieval, (found.dense, found.lexical))
    joined = _mixed if retrieval == "fused" else _take_in_turn
    best = _distinct(joined([part[: found.head] for part in parts]))[:n_candidates]
    return _distinct([*best, *joined(parts)])[: n_candidates + n_more]


def _mixed(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    dense, lexical = lists
    return blend(dense, lexical, len(dense) + len(lexical))


def _take_in_turn(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """The passages of all `lists`, each once: the first of each, then the second of each, and so on."""
    once: dict[str, Candidate] = {}
    for candidate in (each for row in zip_longest(*lists) for each in row if each is not None):
        once.setdefault(candidate.passage.id, candidate)
    return list(once.values())


def with_sources(record: CandidateList, sources: Mapping[str, Sequence[str]], n_shown: int) -> CandidateList:
    """`record` with the passages that its question was written from among the first `n_shown`, if it has them at all:
    the teacher is to see them.
    """
    known = set(sources.get(record.id, ()))
    head, tail = record.candidates[:n_shown], record.candidates[n_shown:]
    late = [candidate for candidate in tail if candidate.passage in known][:n_shown]
    if not late:
        return record
    kept = [c for c in head if c.passage in known]
    others = [c for c in head if c.passage not in known]
    n_others = max(0, n_shown - len(kept) - len(late))
    chosen = {id(c) for c in [*kept, *others[:n_others], *late]}
    first = [c for c in record.candidates if id(c) in chosen]
    return replace(record, candidates=(*first, *(c for c in record.candidates if id(c) not in chosen)))


def shown(record: CandidateList, n_candidates: int) -> CandidateList:
    """`record` with the candidates that the teacher is shown: `n_candidates`, unless it says otherwise itself."""
    n = n_candidates if record.n_shown is None else record.n_shown
    return replace(record, candidates=record.candidates[:n])


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
