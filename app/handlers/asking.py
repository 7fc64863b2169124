"""The Ask tab: a question, its passages, its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import gradio as gr

from app.answering import Answer
from app.handlers.buttons import StopFlag, Update, busy, idle
from app.rendering import answer_html, notice_html, passages_html
from app.replies import N_READ, N_SHOWN, check_question, open_retriever, passages_to_read, write_answers
from app.retriever import retrieve
from app.workbench import Workbench
from indexes.errors import UserError


class AskView(NamedTuple):
    """The panel of the Ask tab and its buttons."""

    answer: Update
    passages: Update
    ask: Update
    stop: Update


def ask(bench: Workbench, question: str, corpus: str | None, encoder: str | None, flag: StopFlag) -> Iterator[AskView]:
    """First what is being done, then the passages, then the growing answer."""
    flag.is_set = False
    try:
        question = check_question(question)
        yield AskView(notice_html("Searching …", "busy"), "", *busy())
        retrieval = retrieve(*open_retriever(bench, corpus, encoder), question, N_SHOWN)
    except UserError as error:
        yield AskView(notice_html(str(error), "error"), "", *idle())
        return
    passages = passages_to_read(retrieval)
    waiting = Answer(n_passages=len(passages), notice="Asking the LLM …")
    answer = answer_html(waiting, "ask") if passages else ""
    yield AskView(answer, passages_html(retrieval, "ask", N_READ), gr.skip(), gr.skip())
    if passages:
        for (each,) in write_answers(bench, question, [passages], flag.read):
            yield AskView(answer_html(each, "ask"), gr.skip(), gr.skip(), gr.skip())
    yield AskView(gr.skip(), gr.skip(), *idle())
