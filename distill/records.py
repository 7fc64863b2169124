"""The records of a run, a line of JSON each in its files: candidates, rankings, scores and targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReplyStatus = Literal["ok", "repaired", "partial", "refused"]  # from best to worst


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """The id of a passage, its document's, and its scores by meaning and by words, whatever found it."""

    passage: str
    document: str = ""
    dense: float = 0.0
    lexical: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateList:
    """A question's candidates in the order of retrieval, of which the teacher is shown `n_shown` (None: as the run
    says).
    """

    id: str
    question: str
    candidates: tuple[Retrieved, ...]
    n_shown: int | None = None

    @property
    def passages(self) -> list[str]:
        """The candidates' ids, each once."""
        return list(dict.fromkeys(candidate.passage for candidate in self.candidates))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The teacher's order of a question's candidates: `ranking` has only passages that it placed, of those `shown`.

    `weight` is how much it counts, `agreement` the mean τ of its passes, `best_at` for each prompt (place of the
    passage that was put first, passages shown). `n_rounds` joined in it; `failed` is why nothing came.
    """

    id: str
    ranking: tuple[str, ...]
    shown: tuple[str, ...] = ()
    status: ReplyStatus = "ok"
    n_asked: int = 0
    reply: str = ""
    agreement: float | None = None
    weight: float = 1.0
    best_at: tuple[tuple[int, int], ...] = ()
    n_rounds: int | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VotedOrder:
    """The passages of a question as a person has voted, best first."""

    question: str
    ranking: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreList:
    """A score of each of a question's passages: the ranker's logits, or as targets logarithms of probabilities."""

    id: str
    question: str
    passages: tuple[str, ...]
    scores: tuple[float, ...]
    weight: float = 1.0
