"""Votes on sides, and thumbs on passages."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import gradio as gr

from app.handlers.asking import Shown
from app.handlers.buttons import Update
from app.handlers.comparing import Compared, show
from app.rendering import notice_html
from app.scores import count_votes
from app.sides import reveal_html, score_html, scores_html
from app.votes import THUMBS, PassageThumb, Side, Vote, VoteBook, check_verdict, now
from app.workbench import Workbench
from indexes.errors import InputError, UserError

_SAME: Update = gr.skip()


class VoteView(NamedTuple):
    """What became of a vote, and the comparison as it may be seen after it."""

    note: Update = _SAME
    score: Update = _SAME
    summary: Update = _SAME
    answers: Update = _SAME
    passages: Update = _SAME
    compared: Update = _SAME


def vote(bench: Workbench, verdict: str, compared: Compared | None, visitor: str | None) -> VoteView:
    """The vote is kept; where the sides were hidden, they are named."""
    book = VoteBook(bench.paths.votes)
    try:
        entry = _as_vote(verdict, compared, _known(visitor))
        if compared is None or (compared.is_blind and book.has_voted(entry.visitor, entry.comparison)):
            raise InputError(
                "You have voted on this comparison already, and the sides are named now: that vote stands. "
                "Compare again to vote once more."
            )
        book.add(entry)
    except UserError as error:
        return VoteView(note=notice_html(str(error), "error"))
    score = show_score(bench, compared.corpus, [side.retriever for side in compared.sides])
    note = reveal_html("Thank you, your vote is kept.", compared.labels)
    if not compared.is_closed:
        return VoteView(note=note, score=score)
    opened = show(replace(compared, is_closed=False))
    return VoteView(note, score, opened.summary, opened.answers, opened.passages, opened.compared)


def _as_vote(verdict: str, compared: Compared | None, visitor: str) -> Vote:
    if compared is None:
        raise InputError("There is nothing to vote on yet. Compare two retrievers first.")
    return Vote(
        time=now(),
        visitor=visitor,
        comparison=compared.id,
        corpus=compared.corpus,
        question=compared.question,
        sides=compared.sides,
        is_blind=compared.is_blind,
        verdict=check_verdict(verdict, len(compared.sides)),
    )


def judge_passage(
    bench: Workbench, event: Mapping[str, Any], shown: Shown | Compared | None, visitor: str | None
) -> Update:
    """A thumb on one of the passages that this visitor sees is kept; anything else is refused."""
    passage, thumb = str(event.get("passage")), next((each for each in THUMBS if each == event.get("thumb")), None)
    sides: tuple[Side, ...] = () if shown is None else (shown.side,) if isinstance(shown, Shown) else shown.sides
    documents = {p: d for side in sides for p, d in zip(side.passages, side.documents, strict=True)}
    try:
        if shown is None or thumb is None or passage not in documents:
            raise InputError("This passage is not shown any more. Ask again, and judge it then.")
        VoteBook(bench.paths.votes).add(
            PassageThumb(
                time=now(),
                visitor=_known(visitor),
                corpus=shown.corpus,
                question=shown.question,
                sides=sides,
                passage=passage,
                document=documents[passage],
                thumb=thumb,
            )
        )
    except UserError as error:
        return notice_html(str(error), "error")
    return ""


def _known(visitor: str | None) -> str:
    """The visitor's number; one that the browser did not keep is drawn anew."""
    return visitor if visitor and len(visitor) <= 64 else new_visitor(None)


def new_visitor(visitor: str | None) -> str:
    """A number for this browser, if it has none yet: it says who votes twice, and nothing else about anybody."""
    return visitor or secrets.token_hex(8)


def show_score(bench: Workbench, corpus: str | None, retrievers: Sequence[str | None]) -> str:
    """How the votes on these retrievers stand, in the order of their names: a blind vote's sides do not change it."""
    names = sorted({name for name in retrievers if name})
    if not corpus or len(names) < len(retrievers):
        return ""
    try:
        votes = VoteBook(bench.paths.votes).votes()
    except UserError as error:
        return notice_html(str(error), "error")
    scores = {pair: count_votes(votes, corpus, *pair) for pair in combinations(names, 2)}
    return score_html(scores[names[0], names[1]], *names) if len(names) == 2 else scores_html(scores)
