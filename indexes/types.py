"""The nouns of the project: frozen dataclasses, and the one Protocol that a model has to fulfil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One source text. A file is one document; every record of a csv or jsonl file is one too.

    `id` is what a hit counts by; `source` is the file it came from, as shown to people; `page_starts[i]` is the
    character offset in `text` at which page i + 1 begins (empty where the format has no pages). `kind` is the type of
    file (pdf, html, md …), `date` the day that it is from (YYYY-MM-DD); both are "" where unknown.
    `note` tells people what of the file could not be read.
    """

    id: str
    source: str
    text: str
    title: str = ""
    page_starts: tuple[int, ...] = ()
    kind: str = ""
    date: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """The unit that is indexed: characters `start` to `end` of the document `document_id`.

    `id` is derived from the content, so that an unchanged passage keeps its id and a changed one gets a new one.
    `kind` and `date` are its document's; they can be filtered by, and are no part of the id.
    """

    id: str
    document_id: str
    source: str
    text: str
    title: str = ""
    start: int = 0
    end: int = 0
    page: int | None = None
    kind: str = ""
    date: str = ""

    @property
    def full_text(self) -> str:
        """What encoders and rankers read: the title (or heading path) as context, then the text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked. `positives` are ids of relevant documents; without them it can train but not evaluate."""

    id: str
    text: str
    answers: tuple[str, ...] = ()
    positives: tuple[str, ...] = ()
    relevance: tuple[tuple[str, int], ...] = ()
    split: str = ""

    @property
    def grades(self) -> dict[str, int]:
        """Relevance grade by document id: graded where known, otherwise 1 for each positive."""
        return dict(self.relevance) if self.relevance else dict.fromkeys(self.positives, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A retrieved passage with its score (higher is better); its place in a list is its rank."""

    passage: Passage
    score: float


class Tokenizer(Protocol):
    """Where the tokens of a text lie."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Character span (start, end) of each token of `text`, without special tokens."""
        ...


class Encoder(Protocol):
    """Texts → unit vectors. `fingerprint` changes whenever the vectors would."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        ...


Status = Literal["read", "unchanged", "replaced", "renamed", "removed", "skipped", "failed", "noted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file: `reason` is a sentence when it failed, or what of it could not be read or was guessed.

    A folder or archive is "skipped" with the count of those of its files whose type is not read. "noted" is the corpus
    as a whole, with what is to be known of it.
    """

    source: str
    status: Status
    n_documents: int = 0
    n_passages: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """One file of a corpus; `is_older`: an older version has read it, and this one would read other passages."""

    source: str
    n_documents: int
    n_passages: int
    n_bytes: int
    is_older: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """One index of a corpus and the encoder that made it."""

    encoder: str
    fingerprint: str
    dimension: int
    n_passages: int


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
    """A corpus in figures; `damage` is a sentence about a manifest that cannot be read, whose figures are 0.

    `language` is the one that most of it is in, in words, "" where that is English or not sure.
    """

    name: str
    n_sources: int = 0
    n_documents: int = 0
    n_passages: int = 0
    indexes: tuple[IndexInfo, ...] = ()
    damage: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo:
    """A copy of a corpus's vectors in a vector store, which can be made again at any time.

    `store` is the server's address, "" for the embedded store; `place` is a folder there, or the collection's name.
    It follows the `generation` of the corpus: a passage changed later has older facets in it. `stamp` says what was
    there when it was whole.
    """

    fingerprint: str
    store: str
    place: str
    generation: int
    n_passages: int
    stamp: str
