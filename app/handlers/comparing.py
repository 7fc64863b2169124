"""The Compare tab: one question, two retrievers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import gradio as gr

from app.comparison import compare_retrievers
from app.handlers.buttons import StopFlag, Update, busy, idle
from app.rendering import answer_html, comparison_html, notice_html, passages_html
from app.replies import N_READ, N_SHOWN, check_question, open_retriever, passages_to_read, write_answers
from app.workbench import Workbench
from indexes.errors import InputError, UserError


class CompareView(NamedTuple):
    """Both panels of the Compare tab, what they have in common, and the buttons."""

    summary: Update
    left_answer: Update
    left_passages: Update
    right_answer: Update
    right_passages: Update
    compare: Update
    stop: Update


_SIDES = ("left", "right")


def compare(
    bench: Workbench,
    question: str,
    corpus: str | None,
    left: str | None,
    right: str | None,
    with_answers: bool,
    flag: StopFlag,
) -> Iterator[CompareView]:
    """First both lists of passages with how each moved, then both growing answers."""
    flag.is_set = False
    try:
        question = check_question(question)
        if left == right:
            raise InputError("Both sides are the same retriever. Pick two different ones.")
        yield CompareView(notice_html("Searching …", "busy"), "", "", "", "", *busy())
        retrievers = dict(open_retriever(bench, corpus, encoder) for encoder in (left, right))
        comparison = compare_retrievers(question, retrievers, N_SHOWN)
    except UserError as error:
        yield CompareView(notice_html(str(error), "error"), "", "", "", "", *idle())
        return
    shown = [
        passages_html(side, name, N_READ if with_answers else N_SHOWN, moves, is_reference=name == "left")
        for name, side, moves in zip(_SIDES, comparison.sides, comparison.moves, strict=True)
    ]
    yield CompareView(comparison_html(comparison), "", shown[0], "", shown[1], gr.skip(), gr.skip())
    passages = [passages_to_read(side) for side in comparison.sides]
    if with_answers and all(passages):
        for answers in write_answers(bench, question, passages, flag.read):
            left_html, right_html = (answer_html(*pair) for pair in zip(answers, _SIDES, strict=True))
            yield CompareView(gr.skip(), left_html, gr.skip(), right_html, gr.skip(), gr.skip(), gr.skip())
    yield CompareView(gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), *idle())
