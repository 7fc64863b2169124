"""The Compare tab: one question, two retrievers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import gradio as gr

from app.comparison import Comparison, compare_retrievers
from app.handlers.asking import as_side
from app.handlers.buttons import StopFlag, Update, busy, idle
from app.rendering import answer_html, notice_html
from app.replies import N_READ, N_SHOWN, check_question, passages_to_read, write_answers
from app.searching import Opened, open_retriever
from app.sides import PREFIXES, comparison_html, side_names, sides_html
from app.votes import Side
from app.workbench import Workbench
from indexes.errors import InputError, UserError

_SAME: Update = gr.skip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What stands on the Compare tab of one visitor, left side first: it stays in the visitor's session.

    A blind comparison is closed until the vote: nothing of this is on the page that says which side is which.
    """

    id: str
    corpus: str
    question: str
    labels: tuple[str, str]
    sides: tuple[Side, Side]
    comparison: Comparison
    n_read: int
    is_blind: bool
    is_closed: bool


class CompareView(NamedTuple):
    """Both sides of the Compare tab, what they have in common, the buttons, and what the session remembers."""

    summary: Update = _SAME
    left_title: Update = _SAME
    left_answer: Update = _SAME
    right_title: Update = _SAME
    right_answer: Update = _SAME
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
    with_answers: bool,
    is_blind: bool,
    flag: StopFlag,
) -> Iterator[CompareView]:
    """First both lists of passages with how each moved, then both growing answers."""
    flag.is_set = False
    try:
        question = check_question(question)
        if left == right:
            raise InputError("Both sides are the same retriever. Pick two different ones.")
        yield _started()
        opened = [open_retriever(bench, corpus, key) for key in (left, right)]
        compared = look(opened, question, with_answers, is_blind)
    except UserError as error:
        yield _ended(notice_html(str(error), "error"))
        return
    yield show(compared)
    passages = [passages_to_read(side) for side in compared.comparison.sides]
    if with_answers and any(passages):
        for answers in write_answers(bench, question, passages, flag.read):
            left_html, right_html = (
                answer_html(answer, prefix, read, times=not is_blind)
                for answer, prefix, read in zip(answers, PREFIXES, passages, strict=True)
            )
            yield CompareView(left_answer=left_html, right_answer=right_html)
    yield _ended(_SAME)._replace(ballot=gr.update(visible=True))


def look(opened: list[Opened], question: str, with_answers: bool, is_blind: bool) -> Compared:
    """What two retrievers find for `question`; where it is blind, the lot decides which of them stands on the left."""
    if is_blind and secrets.randbelow(2):
        opened = opened[::-1]
    comparison = compare_retrievers(question, {each.choice.label: each.retriever for each in opened}, N_SHOWN)
    left, right = (
        as_side(each.choice.key, [candidate.passage for candidate in found.candidates])
        for each, found in zip(opened, comparison.sides, strict=True)
    )
    return Compared(
        id=secrets.token_hex(8),
        corpus=opened[0].corpus,
        question=question,
        labels=(opened[0].choice.label, opened[1].choice.label),
        sides=(left, right),
        comparison=comparison,
        n_read=N_READ if with_answers else N_SHOWN,
        is_blind=is_blind,
        is_closed=is_blind,
    )


def show(compared: Compared) -> CompareView:
    """The passages and all that may be said about them now."""
    left, right = side_names(compared.labels, is_blind=compared.is_closed)
    return CompareView(
        summary=comparison_html(compared.comparison, is_blind=compared.is_closed),
        left_title=_title(left),
        right_title=_title(right),
        passages=sides_html(compared.comparison, compared.labels, compared.n_read, is_blind=compared.is_closed),
        compared=compared,
    )


def _title(name: str) -> str:
    return f'<h2 class="side-title">{escape(name)}</h2>'


def _started() -> CompareView:
    return CompareView(
        notice_html("Searching …", "busy"), "", "", "", "", "", *busy(), gr.update(visible=False), "", None
    )


def _ended(summary: Update) -> CompareView:
    button, stop = idle()
    return CompareView(summary=summary, compare=button, stop=stop)
