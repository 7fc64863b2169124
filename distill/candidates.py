"""Initial retrieval: the passages that the teacher will put in order."""

from __future__ import annotations

from collections.abc import Sequence

from distill.jsonl import Record
from indexes.chroma import PassageIndex
from indexes.lexical import LexicalIndex, fuse
from indexes.types import Candidate, Query

_BATCH = 256


def mine_candidates(
    queries: Sequence[Query], index: PassageIndex, lexical: LexicalIndex, n_candidates: int
) -> list[Record]:
    """For each query its `n_candidates` best passages by fused retrieval, with their dense and lexical scores.

    A record is {"id", "question", "candidates": [{"passage", "document", "dense", "lexical"}]}, best first. Passages
    with equal text stand only once: a teacher cannot put the same words in two places.
    """
    records: list[Record] = []
    for first in range(0, len(queries), _BATCH):
        batch = queries[first : first + _BATCH]
        texts = [query.text for query in batch]
        depth = 2 * n_candidates + 10
        rankings = zip(index.search_many(texts, depth), lexical.search_many(texts, depth), strict=True)
        fused = [_distinct(fuse(pair, 2 * depth))[:n_candidates] for pair in rankings]
        vectors = index.encoder.encode_queries(texts)
        for query, vector, found in zip(batch, vectors, fused, strict=True):
            ids = [candidate.passage.id for candidate in found]
            dense = (index.vectors(ids) @ vector).tolist() if ids else []
            records.append(_record(query, found, dense, lexical.scores(query.text, ids)))
    return records


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    first_with_text: dict[str, Candidate] = {}
    for candidate in candidates:
        first_with_text.setdefault(" ".join(candidate.passage.text.split()), candidate)
    return list(first_with_text.values())


def _record(query: Query, found: Sequence[Candidate], dense: Sequence[float], lexical: Sequence[float]) -> Record:
    rows = zip(found, dense, lexical, strict=True)
    candidates = [
        {"passage": c.passage.id, "document": c.passage.document_id, "dense": round(d, 6), "lexical": round(b, 4)}
        for c, d, b in rows
    ]
    return {"id": query.id, "question": query.text, "candidates": candidates}
