"""What people leave behind: votes on retrievers and thumbs on passages, kept line by line, added up, and as orders that
teach; and where the page is told to, the questions that they ask.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from distill.json_files import appending, parsed, read_records, write_records
from distill.questions.reading import key_of, read_log
from distill.records import VotedOrder
from indexes.corpus import Corpus
from indexes.errors import InputError, StoreError
from indexes.paths import DataPaths, write_file
from indexes.queries import write_queries
from indexes.types import Query

Verdict = Literal["left", "right", "tie", "both bad", "first", "second", "third", "fourth", "none"]
Thumb = Literal["up", "down", "none"]
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
        for record in read_records(self._file, dict[str, Any]):
            if record.get("kind") == kind:
                with suppress(ValueError):  # what another version wrote
                    yield parsed(form, record)


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
    """How the votes on the retrievers `first` and `second` of `corpus` stand; Wilson's interval on the decided ones.

    Among more than two, the best is better than each other one, and nothing is said of the others among themselves;
    where none was the best, that is a tie. Each visitor counts once for a question: what was said last.
    """
    from scipy.stats import binomtest

    said = (vote for vote in votes if vote.corpus == corpus and _compares(vote, first, second))
    about = {(vote.visitor, key_of(vote.question)): vote for vote in said}.values()
    winners = [vote.winner.retriever for vote in about if vote.winner]
    n_first, n_second = winners.count(first), winners.count(second)
    low, high = 0.0, 1.0
    if winners:
        interval = binomtest(n_second, len(winners)).proportion_ci(0.95, method="wilson")
        low, high = float(interval.low), float(interval.high)
    return Score(
        first=n_first,
        second=n_second,
        ties=sum(vote.verdict in ("tie", "none") for vote in about),
        both_bad=sum(vote.verdict == "both bad" for vote in about),
        low=low,
        high=high,
    )


def _compares(vote: Vote, first: str, second: str) -> bool:
    """Whether `vote` says anything of this pair: both were shown, and neither lost to a third."""
    pair, shown = {first, second}, {side.retriever for side in vote.sides}
    return pair <= shown and (vote.winner is None or vote.winner.retriever in pair)


def voted_orders(
    votes: Sequence[Vote], thumbs: Sequence[PassageThumb], corpus: str
) -> tuple[list[VotedOrder], list[Query]]:
    """What people's votes on `corpus` teach: an order for each visitor and question, and the questions with what helps.

    A vote for a side says its order; a thumb up goes before all others and a thumb down behind them. Thumbs alone say
    less: a passage that helps is better than those that stood above it, and the one below, without a thumb
    (Joachims 2002: click > skip above, and > no-click next). Ties and "both bad" order nothing.
    """
    asked: dict[str, str] = {}
    orders: list[VotedOrder] = []
    positives: dict[str, dict[str, None]] = {}
    entries: list[Vote | PassageThumb] = [*votes, *thumbs]
    about = [entry for entry in entries if entry.corpus == corpus]
    for visitor, key in dict.fromkeys((entry.visitor, key_of(entry.question)) for entry in about):
        own_votes = [v for v in votes if (v.visitor, v.corpus, key_of(v.question)) == (visitor, corpus, key)]
        own_thumbs = [t for t in thumbs if (t.visitor, t.corpus, key_of(t.question)) == (visitor, corpus, key)]
        found = [order for order in _orders(own_votes, own_thumbs) if len(order) > 1]
        liked = dict.fromkeys(thumb.document for thumb in own_thumbs if thumb.thumb == "up")
        if found or liked:
            asked.setdefault(key, (own_votes or own_thumbs)[0].question)
            positives.setdefault(key, {}).update(liked)
            orders += [VotedOrder(question=asked[key], ranking=tuple(order)) for order in found]
    questions = [
        Query(id=f"v{number}", text=text, positives=tuple(positives[key]))
        for number, (key, text) in enumerate(asked.items(), start=1)
    ]
    return orders, questions


def export_votes(paths: DataPaths, corpus: str, questions: Path, rankings: Path) -> tuple[int, int]:
    """How many questions and orders were written to the two files; raises `InputError` where nothing was voted on."""
    name = Corpus.open(paths, corpus).name
    orders, asked = people_orders(paths, name)
    if not orders:
        raise InputError(
            f"Nobody's votes order any passages of corpus '{name}' yet. Compare two retrievers on the page and vote "
            "for a side, or mark passages that help."
        )
    write_queries(questions, asked)
    ids = {query.text: query.id for query in asked}
    write_records(rankings, ({"id": ids[each.question], "ranking": each.ranking} for each in orders))
    return len(asked), len(orders)


def people_orders(paths: DataPaths, corpus: str) -> tuple[list[VotedOrder], list[Query]]:
    """What visitors' votes and thumbs teach: what `distill run --votes` reads, and the questions."""
    book = VoteBook(paths.votes)
    return voted_orders(book.votes(), book.thumbs(), corpus)


def _orders(votes: Sequence[Vote], thumbs: Sequence[PassageThumb]) -> list[list[str]]:
    """The orders of one visitor for one question."""
    ups = [thumb.passage for thumb in thumbs if thumb.thumb == "up"]
    downs = [thumb.passage for thumb in thumbs if thumb.thumb == "down"]
    winners = [vote.winner for vote in votes if vote.winner]
    if winners:
        return [_between(ups, winner.passages, downs) for winner in winners]
    return [_between(ups, _skipped(thumbs, ups), downs)] if thumbs else []


def _between(ups: Sequence[str], others: Sequence[str], downs: Sequence[str]) -> list[str]:
    judged = {*ups, *downs}
    return [*ups, *(passage for passage in others if passage not in judged), *downs]


def _skipped(thumbs: Sequence[PassageThumb], ups: Sequence[str]) -> list[str]:
    """The passages above, and the one right below, the last that helps on each list."""
    found: dict[str, None] = {}
    for side in dict.fromkeys(side for thumb in thumbs for side in thumb.sides):
        last = max((place for place, passage in enumerate(side.passages) if passage in ups), default=-1)
        if last >= 0:
            found.update(dict.fromkeys(side.passages[: last + 2]))
    return list(found)


# --- questions -------------------------------------------------------------------------------------------------

# Who asked is not kept; the file lies in the corpus's folder and goes with it. Of a corpus never more than so many: the
# oldest go first.
MOST_KEPT = 10_000  # some 1,000 teach about all that there is to learn; a public page must not fill the disk
_DROPPED_AT_ONCE = MOST_KEPT // 10  # so that a full file is not written anew for every question
_log = logging.getLogger(__name__)


def asked_file(paths: DataPaths, corpus: str) -> Path:
    """Where the questions about `corpus` are kept, a record {"time", "question"} a line: what `distill run --log`
    reads.
    """
    return paths.corpus(corpus) / "asked.jsonl"


def keep_question(paths: DataPaths, corpus: str, question: str) -> None:
    """Keeps `question`, in place of the oldest ones if there are many; an answer never fails for it."""
    from filelock import FileLock, Timeout

    file = asked_file(paths, corpus)
    if not file.parent.is_dir():  # it may have been deleted meanwhile
        return
    try:
        with FileLock(f"{file}.lock", timeout=_LOCK_TIMEOUT_S / 2):
            with appending(file) as append:
                append({"time": now(), "question": question})
            _drop_oldest(file)
    except (OSError, Timeout, StoreError) as error:
        _log.error("A question could not be kept in %s (%s).", file, error)


def _drop_oldest(file: Path) -> None:
    """Leaves the newest lines of a file that has too many; whoever reads meanwhile finds the old file or the new."""
    lines = file.read_bytes().splitlines(keepends=True)
    if len(lines) > MOST_KEPT:
        write_file(file, b"".join(lines[_DROPPED_AT_ONCE - MOST_KEPT :]))


def count_asked(paths: DataPaths, corpus: str) -> int:
    """How many different questions about `corpus` are kept; 0 where their file cannot be read."""
    try:
        return len(read_log(asked_file(paths, corpus)))
    except InputError:
        return 0
