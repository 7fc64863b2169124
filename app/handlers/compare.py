"""The Compare tab: one question, two retrievers or more, where they differ most, and votes."""

from __future__ import annotations

import secrets
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import gradio as gr

from app import demo_lesson, rendering
from app.comparison import MAX_QUESTIONS, Comparison, compare_sides, find_contrasts, known_questions, spread
from app.evaluating import uploaded_questions
from app.handlers.ask import Shown, as_side
from app.handlers.buttons import SAME, StopFlag, Update, busy, idle, make_link, only
from app.retriever import Choice, Retrieval, find_choice, look_up, starting_choice, taught_choice
from app.sources import source_html
from app.streaming import N_READ, N_SHOWN, check_question, passages_to_read, write_answers
from app.tables import score_html, scores_html
from app.votes import MAX_SIDES, THUMBS, PassageThumb, Side, Vote, VoteBook, check_verdict, count_votes, now
from app.workbench import Workbench
from indexes.corpus import Corpus
from indexes.errors import InputError, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What stands on the Compare tab of one visitor, left side first: it stays in the visitor's session.

    A blind comparison is closed until the vote: nothing of this is on the page that says which side is which.
    `answers` are there once they are complete.
    """

    id: str
    corpus: str
    question: str
    labels: tuple[str, ...]
    sides: tuple[Side, ...]
    comparison: Comparison
    n_read: int
    is_blind: bool
    is_closed: bool
    answers: tuple[str, ...] = ()


CompareView = namedtuple("CompareView", "summary answers passages compare stop ballot note compared")
"""All sides of the Compare tab, what they have in common, the buttons, and what the session remembers."""


def compare(
    bench: Workbench,
    question: str,
    corpus: str | None,
    left: str | None,
    right: str | None,
    more: Sequence[str] | None,
    with_answers: bool,
    is_blind: bool,
    flag: StopFlag,
) -> Iterator[CompareView]:
    """First all lists of passages with how each moved, then the growing answers."""
    flag.is_set = False
    try:
        question = check_question(question)
        keys = check_sides([left, right, *(more or [])])
        yield CompareView(rendering.notice_html("Searching …", "busy"), "", "", *busy(), "", "", None)
        compared = look(retrieve_sides(bench, corpus, keys, question), question, with_answers, is_blind)
    except UserError as error:
        yield _ended(rendering.notice_html(str(error), "error"))
        return
    bench.keep_question(compared.corpus, question)
    yield show(compared)
    passages = [passages_to_read(side) for side in compared.comparison.sides]
    if with_answers and any(passages):
        for answers in write_answers(bench, question, passages, flag.read):
            written = (
                rendering.answer_html(answer, prefix, read, times=not is_blind)
                for answer, prefix, read in zip(answers, rendering.PREFIXES, passages, strict=False)
            )
            compared = replace(compared, answers=tuple(written))
            yield only(CompareView, answers=_answers(compared))
    yield _ended(SAME)._replace(ballot=rendering.ballot_html(len(compared.sides)), compared=compared)


def check_sides(keys: Sequence[str | None]) -> Sequence[str | None]:
    """`keys` if these retrievers can stand side by side; raises `InputError` for too many, or one twice."""
    if len(keys) > MAX_SIDES:
        raise InputError(f"{len(keys)} retrievers were picked; at most {MAX_SIDES} stand side by side. Take some away.")
    if len(set(keys)) < len(keys):
        raise InputError("Two sides are the same retriever. Pick different ones.")
    return keys


def retrieve_sides(bench: Workbench, corpus: str | None, keys: Sequence[str | None], question: str) -> list[Retrieval]:
    """What each of the retrievers finds for `question`, the usual ones where the first two name none; raises
    `InputError` if two are the same.
    """
    with bench.retrievers.reading(corpus) as opened:
        offered = bench.retrievers.choices(opened)
        first, second = starting_sides(offered)
        choices = [find_choice(offered, key) for key in (keys[0] or first, keys[1] or second, *keys[2:])]
        check_sides([choice.key for choice in choices])  # "baseline" and the encoder's own name are the same one
        return [bench.retrievers.find(opened, choice, question, N_SHOWN) for choice in choices]


def starting_sides(choices: Sequence[Choice]) -> tuple[str | None, str | None]:
    """The keys to compare where none were picked: the baseline with the promoted or the taught retriever.

    While there is none, the baseline with the words alone.
    """
    start = starting_choice(choices)
    if start is None:
        return None, None
    return choices[0].key, (start if start is not choices[0] else taught_choice(choices) or choices[1]).key


def look(sides: list[Retrieval], question: str, with_answers: bool, is_blind: bool) -> Compared:
    """What the retrievers found for `question`; where it is blind, the lot decides which of them stands where."""
    if is_blind:
        sides = secrets.SystemRandom().sample(sides, len(sides))
    return Compared(
        id=secrets.token_hex(8),
        corpus=sides[0].corpus,
        question=question,
        labels=tuple(each.choice.label for each in sides),
        sides=tuple(map(as_side, sides)),
        comparison=compare_sides(sides),
        n_read=N_READ if with_answers else N_SHOWN,
        is_blind=is_blind,
        is_closed=is_blind,
    )


def show(compared: Compared) -> CompareView:
    """The answers, the passages and all that may be said about them now."""
    is_closed = compared.is_closed
    link = make_link(compared.question, compared.corpus, sides=[side.retriever for side in compared.sides])
    return only(
        CompareView,
        summary=rendering.comparison_html(compared.comparison, is_blind=is_closed, link="" if is_closed else link),
        answers=_answers(compared),
        passages=rendering.sides_html(compared.comparison, compared.labels, compared.n_read, is_blind=is_closed),
        compared=compared,
    )


def _answers(compared: Compared) -> str:
    return rendering.answers_html(rendering.side_names(compared.labels, is_blind=compared.is_closed), compared.answers)


def _ended(summary: Update) -> CompareView:
    button, stop = idle()
    return only(CompareView, summary=summary, compare=button, stop=stop)


_N_LISTED = 12


ContrastView = namedtuple("ContrastView", "questions note")
"""The questions to look at, and a sentence about them."""


def list_contrasts(
    bench: Workbench, corpus: str | None, left: str | None, right: str | None, file: str | None
) -> ContrastView:
    """The questions, of an uploaded file or else of those that are known, whose first passages differ most."""
    try:
        if left == right:
            raise InputError("Both sides are the same retriever. Pick two different ones.")
        with bench.retrievers.reading(corpus) as opened:
            choices = [find_choice(bench.retrievers.choices(opened), key) for key in (left, right)]
            asked = [query.text for query in uploaded_questions(Path(file))] if file else []
            known = asked or known_questions(bench.paths, opened.name)
            if not known:
                raise InputError("No questions about this corpus are known yet. Upload a file with one on each line.")
            looked_at = spread(known)
            one, other = (bench.retrievers.search(opened, choice) for choice in choices)
            found = find_contrasts(looked_at, one, other, _N_LISTED)
    except UserError as error:
        return ContrastView(gr.update(visible=False), rendering.notice_html(str(error), "error"))
    gained = demo_lesson.gained_by(bench, opened.name, *(choice.key for choice in choices))
    samples = [[question, "found by Taught alone"] for question in gained]
    samples += [[question, f"{100 * overlap:.0f} %"] for overlap, question in found if question not in gained]
    limited = f" of {len(known):,}" if len(known) > MAX_QUESTIONS else ""
    note = f"The most different of {len(looked_at):,}{limited} questions. Click one to compare it."
    return ContrastView(gr.update(samples=samples, visible=True), rendering.notice_html(note))


VoteView = namedtuple("VoteView", "note score summary answers passages compared")
"""What became of a vote, and the comparison as it may be seen after it."""


def vote(bench: Workbench, verdict: str, compared: Compared | None, visitor: str | None) -> VoteView:
    """The vote is kept; where the sides were hidden, they are named."""
    book = VoteBook(bench.paths.votes)
    try:
        if compared is None:
            raise InputError("There is nothing to vote on yet. Compare two retrievers first.")
        entry = Vote(
            time=now(),
            visitor=_known(visitor),
            comparison=compared.id,
            corpus=compared.corpus,
            question=compared.question,
            sides=compared.sides,
            is_blind=compared.is_blind,
            verdict=check_verdict(verdict, len(compared.sides)),
        )
        if compared.is_blind and book.has_voted(entry.visitor, entry.comparison):
            raise InputError(
                "You have voted on this comparison already, and the sides are named now: that vote stands. "
                "Compare again to vote once more."
            )
        book.add(entry)
    except UserError as error:
        return only(VoteView, note=rendering.notice_html(str(error), "error"))
    score = show_score(bench, compared.corpus, [side.retriever for side in compared.sides])
    preferred = compared.labels[entry.sides.index(entry.winner)] if entry.winner else ""
    note = rendering.reveal_html("Thank you, your vote is kept.", compared.labels, preferred)
    if not compared.is_closed:
        return only(VoteView, note=note, score=score)
    opened = show(replace(compared, is_closed=False))
    return VoteView(note, score, opened.summary, opened.answers, opened.passages, opened.compared)


def judge_passage(
    bench: Workbench, event: Mapping[str, Any], shown: Shown | Compared | None, visitor: str | None
) -> Update:
    """A thumb on one of the passages that this visitor sees is kept, or that passage is shown in its file.

    Anything else is refused.
    """
    passage, thumb = str(event.get("passage")), next((each for each in THUMBS if each == event.get("thumb")), None)
    sides = shown.sides if shown else ()
    documents = {p: d for side in sides for p, d in zip(side.passages, side.documents, strict=True)}
    try:
        if shown is not None and event.get("thumb") == "place" and passage in documents:
            return source_html(Corpus.open(bench.paths, shown.corpus), documents[passage], passage)
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
        return rendering.notice_html(str(error), "error")
    return ""


def _known(visitor: str | None) -> str:
    """The visitor's number; one that the browser did not keep is drawn anew."""
    return visitor if visitor and len(visitor) <= 64 else new_visitor(None)


def new_visitor(visitor: str | None) -> str:
    """A number for this browser, if it has none yet: it says who votes twice, and nothing else about anybody."""
    return visitor or secrets.token_hex(8)


def show_score(bench: Workbench, corpus: str | None, retrievers: Sequence[str | None]) -> str:
    """How the votes on these retrievers stand, in the order of their keys: a blind vote's sides do not change it."""
    keys = sorted({key for key in retrievers if key})
    if not corpus or len(keys) < len(retrievers):
        return ""
    try:
        choices = look_up(bench.paths, bench.encoder, corpus)[2]
        labels = {key: find_choice(choices, key).label for key in keys}
        votes = VoteBook(bench.paths.votes).votes()
    except UserError as error:
        return rendering.notice_html(str(error), "error")
    pairs = combinations(keys, 2)
    scores = {(labels[one], labels[other]): count_votes(votes, corpus, one, other) for one, other in pairs}
    names = list(labels.values())
    return score_html(scores[names[0], names[1]], *names) if len(names) == 2 else scores_html(scores)
