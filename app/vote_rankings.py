"""What people's votes teach: questions and orders of passages, in the forms that a distillation reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.votes import PassageThumb, Vote, VoteBook
from distill.jsonl import write_records
from distill.questions.filters import key_of
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.paths import DataPaths


@dataclass(frozen=True, slots=True, kw_only=True)
class VotedRankings:
    """Questions and orders of their passages as people's votes have them, as records for `distill run`.

    `questions` are {"id", "question", "positives"}, `rankings` {"id", "ranking"}: the forms of its --questions and
    --rankings. A question has a line for each visitor; distill makes one order of them.
    """

    questions: tuple[dict[str, Any], ...]
    rankings: tuple[dict[str, Any], ...]


def votes_as_rankings(votes: Sequence[Vote], thumbs: Sequence[PassageThumb], corpus: str) -> VotedRankings:
    """What people's votes on `corpus` teach.

    A vote for a side says its order; a thumb up goes before all others and a thumb down behind them. Thumbs alone say
    less: a passage that helps is better than those that stood above it, and the one below, without a thumb
    (Joachims 2002: click > skip above, and > no-click next). Ties and "both bad" order nothing.
    """
    asked: dict[str, str] = {}
    orders: list[tuple[str, list[str]]] = []
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
            orders += [(key, order) for order in found]
    ids = {key: f"v{number}" for number, key in enumerate(asked, start=1)}
    return VotedRankings(
        questions=tuple({"id": ids[k], "question": asked[k], "positives": list(positives[k])} for k in asked),
        rankings=tuple({"id": ids[key], "ranking": order} for key, order in orders),
    )


def export_votes(paths: DataPaths, corpus: str, questions: Path, rankings: Path) -> tuple[int, int]:
    """How many questions and orders were written to the two files; raises `InputError` where nothing was voted on."""
    name = Corpus.open(paths, corpus).name
    book = VoteBook(paths.votes)
    found = votes_as_rankings(book.votes(), book.thumbs(), name)
    if not found.rankings:
        raise InputError(
            f"Nobody's votes order any passages of corpus '{name}' yet. Compare two retrievers on the page and vote "
            "for a side, or mark passages that help."
        )
    write_records(questions, found.questions)
    write_records(rankings, found.rankings)
    return len(found.questions), len(found.rankings)


def people_orders(paths: DataPaths, corpus: str) -> list[dict[str, Any]]:
    """What visitors' votes and thumbs order, as records {"question", "ranking"}: what `distill run --votes` reads."""
    book = VoteBook(paths.votes)
    found = votes_as_rankings(book.votes(), book.thumbs(), corpus)
    texts = {record["id"]: record["question"] for record in found.questions}
    return [{"question": texts[record["id"]], "ranking": record["ranking"]} for record in found.rankings]


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
