"""One question, several retrievers: what each found and how every passage moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.retrievers import BaseRetriever

from app.retriever import Retrieval, retrieve
from indexes.types import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where a passage at `rank` stands elsewhere: at `other_rank`, or nowhere.

    `document_rank` is the best rank of its document over there, so that a neighbouring passage is not taken for a loss.
    """

    rank: int
    other_rank: int | None
    document_rank: int | None

    @property
    def gain(self) -> int | None:
        """How many ranks better than elsewhere; None where only this side found it."""
        return None if self.other_rank is None else self.other_rank - self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The retrievals of one question, and for each of them the moves against the reference side.

    The first side is the reference of all others; its own moves are against the best rank on any of them.
    """

    sides: tuple[Retrieval, ...]
    moves: tuple[tuple[Move, ...], ...]

    @property
    def n_shared(self) -> int:
        """How many passages every side found."""
        found = [{candidate.passage.id for candidate in side.candidates} for side in self.sides]
        return len(set.intersection(*found)) if found else 0


def compare_retrievers(question: str, retrievers: Mapping[str, BaseRetriever], k: int) -> Comparison:
    """What each of `retrievers` (by the name to show) finds for `question`."""
    sides = tuple(retrieve(name, retriever, question, k) for name, retriever in retrievers.items())
    first, *others = [side.candidates for side in sides] or [()]
    moves = [find_moves(first, *others), *(find_moves(other, first) for other in others)]
    return Comparison(sides=sides, moves=tuple(moves[: len(sides)]))


def find_moves(candidates: Sequence[Candidate], *others: Sequence[Candidate]) -> tuple[Move, ...]:
    """For each of `candidates`, where its passage and its document stand among `others`: the best rank on any list."""
    ranks: dict[str, int] = {}
    document_ranks: dict[str, int] = {}
    for found in others:
        for rank, other in enumerate(found, start=1):
            passage = other.passage
            ranks[passage.id] = min(rank, ranks.get(passage.id, rank))
            document_ranks[passage.document_id] = min(rank, document_ranks.get(passage.document_id, rank))
    return tuple(
        Move(
            rank=rank,
            other_rank=ranks.get(candidate.passage.id),
            document_rank=document_ranks.get(candidate.passage.document_id),
        )
        for rank, candidate in enumerate(candidates, start=1)
    )
