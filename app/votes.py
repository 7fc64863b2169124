"""Votes on two retrievers and thumbs on passages: kept line by line, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from distill.jsonl import appending, read_records
from distill.question_filters import key_of
from indexes.errors import InputError, StoreError

Verdict = Literal["left", "right", "tie", "both bad"]
Thumb = Literal["up", "down", "none"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
THUMBS: tuple[Thumb, ...] = get_args(Thumb)
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
    sides: tuple[Side, Side]
    is_blind: bool
    verdict: Verdict

    @property
    def matter(self) -> tuple[str, ...]:
        """What a visitor has one vote on: a question and a pair of retrievers, whichever side they stood on."""
        first, second = sorted(side.retriever for side in self.sides)
        return self.visitor, self.corpus, key_of(self.question), first, second

    @property
    def winner(self) -> Side | None:
        """The side that was preferred, None where neither was."""
        return self.sides[0] if self.verdict == "left" else self.sides[1] if self.verdict == "right" else None


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
        """What each visitor thinks of each pair and question now: a later vote replaces an earlier one."""
        return list({vote.matter: vote for vote in self._entries("vote", Vote)}.values())

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
        try:
            return [record for record in read_records(self._file) if isinstance(record, dict)]
        except json.JSONDecodeError as error:
            raise StoreError(
                f"{self._file} has a line that is not JSON ({error.msg}). Mend or remove it; the other lines are kept."
            ) from error


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


def check_verdict(value: str) -> Verdict:
    """`value` as a verdict; raises `InputError` where it is none."""
    found = next((verdict for verdict in VERDICTS if verdict == value), None)
    if found is None:
        raise InputError(f"A vote is one of {', '.join(VERDICTS)}, but '{value}' came. Use the buttons.")
    return found


# --- what the votes say ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Votes on two retrievers: how often each was better, and the share of the second with its 95 % interval."""

    first: int = 0
    second: int = 0
    ties: int = 0
    both_bad: int = 0
    low: float = 0.0
    high: float = 1.0

    @property
    def decided(self) -> int:
        return self.first + self.second

    @property
    def n(self) -> int:
        return self.decided + self.ties + self.both_bad

    @property
    def share(self) -> float:
        return self.second / self.decided if self.decided else 0.5


def count_votes(votes: Iterable[Vote], corpus: str, first: str, second: str) -> Score:
    """How the votes on the retrievers `first` and `second` of `corpus` stand; Wilson's interval on the decided ones."""
    from scipy.stats import binomtest

    about = [v for v in votes if v.corpus == corpus and {s.retriever for s in v.sides} == {first, second}]
    winners = [vote.winner.retriever for vote in about if vote.winner]
    n_first, n_second = winners.count(first), winners.count(second)
    low, high = 0.0, 1.0
    if winners:
        interval = binomtest(n_second, len(winners)).proportion_ci(0.95, method="wilson")
        low, high = float(interval.low), float(interval.high)
    return Score(
        first=n_first,
        second=n_second,
        ties=sum(vote.verdict == "tie" for vote in about),
        both_bad=sum(vote.verdict == "both bad" for vote in about),
        low=low,
        high=high,
    )
