"""The list of questions on which two retrievers differ most."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import gradio as gr

from app.contrast import MAX_QUESTIONS, find_contrasts, known_questions, spread, uploaded_questions
from app.handlers.buttons import Update
from app.rendering import notice_html
from app.searching import open_retriever
from app.workbench import Workbench
from indexes.errors import InputError, UserError

_N_LISTED = 12


class ContrastView(NamedTuple):
    """The questions to look at, and a sentence about them."""

    questions: Update
    note: Update


def list_contrasts(
    bench: Workbench, corpus: str | None, left: str | None, right: str | None, file: str | None
) -> ContrastView:
    """The questions, of an uploaded file or else of those that are known, whose first passages differ most."""
    try:
        if left == right:
            raise InputError("Both sides are the same retriever. Pick two different ones.")
        one, other = (open_retriever(bench, corpus, key) for key in (left, right))
        known = uploaded_questions(Path(file)) if file else known_questions(bench.paths, one.corpus)
        if not known:
            raise InputError("No questions about this corpus are known yet. Upload a file with one on each line.")
        looked_at = spread(known)
        found = find_contrasts(looked_at, one.retriever.index, other.retriever.index, _N_LISTED)
    except UserError as error:
        return ContrastView(gr.update(visible=False), notice_html(str(error), "error"))
    samples = [[each.question, f"{100 * each.overlap:.0f} %"] for each in found]
    limited = f" of {len(known):,}" if len(known) > MAX_QUESTIONS else ""
    note = f"The most different of {len(looked_at):,}{limited} questions. Click one to compare it."
    return ContrastView(gr.update(samples=samples, visible=True), notice_html(note))
