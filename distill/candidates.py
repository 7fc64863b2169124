"""Initial retrieval: the passages that the teacher and the ranker will put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.jsonl import Record
from indexes.chroma import PassageIndex
from indexes.lexical import LexicalIndex, fuse
from indexes.types import Candidate, Query

_BATCH = 256


def mine_candidates(
    queries: Sequence[Query],
    index: PassageIndex,
    lexical: LexicalIndex,
    n_candidates: int,
    *,
    retrieval: str = "fused",
) -> list[Record]:
    """For each query its `n_candidates` best passages by `retrieval`: "fused", "dense" or "lexical".

    A record is {"id", "question", "candidates": [{"passage", "document", "dense", "lexical"}]}, best first, with
    the dense and the lexical score whatever found them. Passages with equal text stand only once: a teacher cannot put
    the same words in two places.
    """
    records: list[Record] = []
    for first in range(0, len(queries), _BATCH):
        batch = queries[first : first + _BATCH]
        texts = [query.text for query in batch]
        depth = 2 * n_candidates + 10
        dense_lists = [[] for _ in texts] if retrieval == "lexical" else index.search_many(texts, depth)
        lexical_lists = [[] for _ in texts] if retrieval == "dense" else lexical.search_many(texts, depth)
        pairs = zip(dense_lists, lexical_lists, strict=True)
        best = [_distinct(fuse(pair, 2 * depth))[:n_candidates] for pair in pairs]
        vectors = index.encoder.encode_queries(texts)
        for query, vector, found in zip(batch, vectors, best, strict=True):
            ids = [candidate.passage.id for candidate in found]
            dense = (index.vectors(ids) @ vector).tolist() if ids else []
            records.append(_record(query, found, dense, lexical.scores(query.text, ids)))
    return records


def with_sources(record: Record, sources: Mapping[str, Sequence[str]], n_shown: int) -> Record:
    """`record` with the passages that its question was written from among the first `n_shown`, if it has them at all:
    the teacher is to see them.
    """
    known = set(sources.get(record["id"], ()))
    head, tail = record["candidates"][:n_shown], record["candidates"][n_shown:]
    late = [candidate for candidate in tail if candidate["passage"] in known][:n_shown]
    if not late:
        return record
    kept = [c for c in head if c["passage"] in known]
    others = [c for c in head if c["passage"] not in known]
    n_others = max(0, n_shown - len(kept) - len(late))
    chosen = {id(c) for c in [*kept, *others[:n_others], *late]}
    first = [c for c in record["candidates"] if id(c) in chosen]
    return record | {"candidates": [*first, *(c for c in record["candidates"] if id(c) not in chosen)]}


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
