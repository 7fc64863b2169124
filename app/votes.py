"""Votes on retrievers and thumbs on passages: kept line by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from distill.jsonl import appending, read_records
from distill.questions.filters import key_of
from indexes.errors import InputError, StoreError

Verdict = Literal["left", "right", "tie", "both bad", "first", "second", "third", "fourth", "none"]
Thumb = Literal["up", "down", "none"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
THUMBS: tuple[Thumb, ...] = get_args(Thumb)
MAX_SIDES = 4
_OF_TWO: tuple[Verdict, ...] = ("left", "right", "tie", "both bad")
_BEST: tuple[Verdict, ...] = ("first", "second", "third", "fourth")
_LOCK_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one retriever, by its key, had shown: passage and document ids, best first."""

    retriever: str
    passages: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Which side a visitor preferred, and all that stood there, in the order in which it stood."""

    time: str
    visitor: str
    comparison: str
    corpus: str
    question: str
    sides: tuple[Side, ...]
    is_blind: bool
    verdict: Verdict

    @property
    def matter(self) -> tuple[str, ...]:
        """What a visitor has one vote on: a question and some retrievers, whichever side they stood on."""
        return self.visitor, self.corpus, key_of(self.question), *sorted(side.retriever for side in self.sides)

    @property
    def winner(self) -> Side | None:
        """The side that was preferred, None where none was."""
        places = verdicts_for(len(self.sides))[: len(self.sides)]
        return self.sides[places.index(self.verdict)] if self.verdict in places else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageThumb:
    """What a visitor thinks of one passage for a question, and the list (or lists) in which it stood."""

    time: str
    visitor: str
    corpus: str
    question: str
    sides: tuple[Side, ...]
    passage: str
    document: str
    thumb: Thumb

    @property
    def matter(self) -> tuple[str, ...]:
        """What a visitor has one thumb on."""
        return self.visitor, self.corpus, key_of(self.question), self.passage


class VoteBook:
    """The file of all votes and thumbs, shared by every visitor and process."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, entry: Vote | PassageThumb) -> None:
        """Keeps `entry`; raises `StoreError` where that cannot be."""
        from filelock import FileLock, Timeout

        kind = "vote" if isinstance(entry, Vote) else "thumb"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._file}.lock", timeout=_LOCK_TIMEOUT_S), appending(self._file) as append:
                append({"kind": kind} | asdict(entry))
        except (OSError, Timeout) as error:
            raise StoreError(f"Your vote could not be kept in {self._file}. Try again in a moment.") from error

    def votes(self) -> list[Vote]:
        """What each visitor thinks of each pair (or more) and question now, in the order in which it was said last."""
        found: dict[tuple[str, ...], Vote] = {}
        for vote in self._entries("vote", Vote):
            found.pop(vote.matter, None)
            found[vote.matter] = vote
        return list(found.values())

    def thumbs(self) -> list[PassageThumb]:
        """What each visitor thinks of each passage now; thumbs that were taken back are gone."""
        found = {thumb.matter: thumb for thumb in self._entries("thumb", PassageThumb)}
        return [thumb for thumb in found.values() if thumb.thumb != "none"]

    def has_voted(self, visitor: str, comparison: str) -> bool:
        """Whether `visitor` has voted on this very comparison."""
        return any((vote.visitor, vote.comparison) == (visitor, comparison) for vote in self._entries("vote", Vote))

    def _entries(self, kind: str, form: type[Any]) -> Iterable[Any]:
        for record in self._records():
            if record.get("kind") == kind and (entry := _read(record, form)):
                yield entry

    def _records(self) -> list[dict[str, Any]]:
        return [record for record in read_records(self._file) if isinstance(record, dict)]


def _read(record: dict[str, Any], form: type[Any]) -> Any:
    """The entry that a record holds, None where it was written by another version."""
    try:
        values = {field.name: record[field.name] for field in fields(form)}
        values["sides"] = tuple(
            Side(retriever=s["retriever"], passages=tuple(s["passages"]), documents=tuple(s["documents"]))
            for s in record["sides"]
        )
        return form(**values)
    except (KeyError, TypeError):
        return None


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def verdicts_for(n_sides: int) -> tuple[Verdict, ...]:
    """What can be said of so many sides: for each of them that it is the best, in their order, and then the rest."""
    return _OF_TWO if n_sides == 2 else (*_BEST[:n_sides], "none")


def check_verdict(value: str, n_sides: int) -> Verdict:
    """`value` as a verdict on so many sides; raises `InputError` where it is none."""
    allowed = verdicts_for(n_sides)
    found = next((verdict for verdict in allowed if verdict == value), None)
    if found is None:
        raise InputError(f"A vote is one of {', '.join(allowed)}, but '{value}' came. Use the buttons.")
    return found
