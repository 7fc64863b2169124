"""The Compare tab: one question, two retrievers or more."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import gradio as gr

from app.comparison import Comparison, compare_retrievers
from app.handlers.asking import as_side
from app.handlers.buttons import StopFlag, Update, busy, idle
from app.handlers.links import make_compare_link
from app.rendering import answer_html, notice_html
from app.replies import N_READ, N_SHOWN, check_question, passages_to_read, write_answers
from app.searching import Opened, open_retriever
from app.sides import PREFIXES, answers_html, ballot_html, comparison_html, side_names, sides_html
from app.votes import MAX_SIDES, Side
from app.workbench import Workbench
from indexes.errors import InputError, UserError

_SAME: Update = gr.skip()


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


class CompareView(NamedTuple):
    """All sides of the Compare tab, what they have in common, the buttons, and what the session remembers."""

    summary: Update = _SAME
    answers: Update = _SAME
    passages: Update = _SAME
    compare: Update = _SAME
    stop: Update = _SAME
    ballot: Update = _SAME
    note: Update = _SAME
    compared: Update = _SAME


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
        yield _started()
        opened = [open_retriever(bench, corpus, key) for key in keys]
        compared = look(opened, question, with_answers, is_blind)
    except UserError as error:
        yield _ended(notice_html(str(error), "error"))
        return
    bench.keep_question(compared.corpus, question)
    yield show(compared)
    passages = [passages_to_read(side) for side in compared.comparison.sides]
    if with_answers and any(passages):
        for answers in write_answers(bench, question, passages, flag.read):
            written = (
                answer_html(answer, prefix, read, times=not is_blind)
                for answer, prefix, read in zip(answers, PREFIXES, passages, strict=False)
            )
            compared = replace(compared, answers=tuple(written))
            yield CompareView(answers=_answers(compared))
    yield _ended(_SAME)._replace(ballot=ballot_html(len(compared.sides)), compared=compared)


def check_sides(keys: Sequence[str | None]) -> Sequence[str | None]:
    """`keys` if these retrievers can stand side by side; raises `InputError` for too many, or one twice."""
    if len(keys) > MAX_SIDES:
        raise InputError(f"{len(keys)} retrievers were picked; at most {MAX_SIDES} stand side by side. Take some away.")
    if len(set(keys)) < len(keys):
        raise InputError("Two sides are the same retriever. Pick different ones.")
    return keys


def look(opened: list[Opened], question: str, with_answers: bool, is_blind: bool) -> Compared:
    """What the retrievers find for `question`; where it is blind, the lot decides which of them stands where."""
    if is_blind:
        opened = secrets.SystemRandom().sample(opened, len(opened))
    comparison = compare_retrievers(question, {each.choice.label: each.retriever for each in opened}, N_SHOWN)
    return Compared(
        id=secrets.token_hex(8),
        corpus=opened[0].corpus,
        question=question,
        labels=tuple(each.choice.label for each in opened),
        sides=tuple(
            as_side(each.choice.key, [candidate.passage for candidate in found.candidates])
            for each, found in zip(opened, comparison.sides, strict=True)
        ),
        comparison=comparison,
        n_read=N_READ if with_answers else N_SHOWN,
        is_blind=is_blind,
        is_closed=is_blind,
    )


def show(compared: Compared) -> CompareView:
    """The answers, the passages and all that may be said about them now."""
    is_closed = compared.is_closed
    link = make_compare_link(compared.question, compared.corpus, [side.retriever for side in compared.sides])
    return CompareView(
        summary=comparison_html(compared.comparison, is_blind=is_closed, link="" if is_closed else link),
        answers=_answers(compared),
        passages=sides_html(compared.comparison, compared.labels, compared.n_read, is_blind=is_closed),
        compared=compared,
    )


def _answers(compared: Compared) -> str:
    return answers_html(side_names(compared.labels, is_blind=compared.is_closed), compared.answers)


def _started() -> CompareView:
    return CompareView(notice_html("Searching …", "busy"), "", "", *busy(), "", "", None)


def _ended(summary: Update) -> CompareView:
    button, stop = idle()
    return CompareView(summary=summary, compare=button, stop=stop)
