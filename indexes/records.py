"""What a corpus says of itself: its files, indexes, promotions and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["read", "unchanged", "replaced", "same", "renamed", "removed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file: `reason` is a sentence when it failed, or which other source it is the same as."""

    source: str
    status: Status
    n_documents: int = 0
    n_passages: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """One file of a corpus."""

    source: str
    n_documents: int
    n_passages: int
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """One index of a corpus and the encoder that made it."""

    encoder: str
    fingerprint: str
    dimension: int
    n_passages: int
    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionInfo:
    """That a run's encoder was made the one to search this corpus with; times are UTC in ISO 8601, "" for never."""

    number: int
    encoder: str
    run: str
    promoted_at: str
    withdrawn_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusInfo:
    """A corpus in figures."""

    name: str
    n_sources: int
    n_documents: int
    n_passages: int
    indexes: tuple[IndexInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo:
    """A collection of vectors that was begun for a corpus, complete or not.

    `synced` is the generation of the corpus that it follows: a passage changed later has older metadata in it.
    """

    name: str
    encoder: str
    fingerprint: str
    synced: int
