"""One question, several retrievers: how every passage moved, and the questions on which they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.retriever import Retrieval
from app.votes import PassageThumb, Vote, VoteBook
from distill.questions.reading import key_of
from distill.run_folder import run_folders
from indexes.lexical import Searchable
from indexes.paths import DataPaths
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


def compare_sides(sides: Sequence[Retrieval]) -> Comparison:
    """What retrievers found for one question, with how every passage moved."""
    first, *others = [side.candidates for side in sides] or [()]
    moves = [find_moves(first, *others), *(find_moves(other, first) for other in others)]
    return Comparison(sides=tuple(sides), moves=tuple(moves[: len(sides)]))


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


MAX_QUESTIONS = 200
_DEPTH = 10
_PERSISTENCE = 0.9  # how likely a reader of rank n looks at rank n + 1: the first ranks count most


def find_contrasts(questions: Sequence[str], left: Searchable, right: Searchable, n: int) -> list[tuple[float, str]]:
    """The `n` questions whose first passages differ most, most different first, each after how alike its two lists are:
    1 for the same, 0 for nothing in common.
    """
    pairs = zip(left.search_many(questions, _DEPTH), right.search_many(questions, _DEPTH), strict=True)
    overlaps = (rank_biased_overlap(*([each.passage.id for each in side] for side in pair)) for pair in pairs)
    return sorted(zip(overlaps, questions, strict=True))[:n]


def rank_biased_overlap(left: Sequence[str], right: Sequence[str]) -> float:
    """How alike two rankings are, from 0 to 1: Σ p^(d-1) · |common to depth d| / d, over its greatest value.

    Webber, Moffat & Zobel 2010, cut off at the longer list's end.
    """
    depth = max(len(left), len(right))
    if not depth:
        return 1.0
    weights = [_PERSISTENCE**place for place in range(depth)]
    shares = [len({*left[:d]} & {*right[:d]}) / d for d in range(1, depth + 1)]
    return sum(weight * share for weight, share in zip(weights, shares, strict=True)) / sum(weights)


def known_questions(paths: DataPaths, corpus: str) -> list[str]:
    """Questions about `corpus` that are on disk, each once: those of its runs, and those that were voted on."""
    found: dict[str, str] = {}
    for run, _ in run_folders(paths, corpus):
        for query in run.questions:
            found.setdefault(key_of(query.text), query.text)
    book = VoteBook(paths.votes)
    entries: list[Vote | PassageThumb] = [*book.votes(), *book.thumbs()]
    for entry in entries:
        if entry.corpus == corpus:
            found.setdefault(key_of(entry.question), entry.question)
    return list(found.values())


def spread(questions: Sequence[str], n: int = MAX_QUESTIONS) -> list[str]:
    """At most `n` of `questions`, from all over the list."""
    step = max(1.0, len(questions) / n)
    return [questions[int(place * step)] for place in range(min(n, len(questions)))]
