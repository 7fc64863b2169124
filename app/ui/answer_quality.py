"""Below the Evaluate tab's results: how good the answers are that the LLM writes from what a retriever finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from app.handlers import answer_quality
from app.handlers.buttons import StopFlag, press_stop
from app.workbench import Workbench

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQuality:
    """The part's elements."""

    retriever: gr.Dropdown
    limit: gr.Number
    ask: gr.Button
    stop: gr.Button
    progress: gr.HTML
    answers: gr.HTML


def build_answers() -> AnswerQuality:
    """The part without its events."""
    with gr.Accordion("Answer quality: ask the LLM too", open=False, elem_id="evaluate-answers-box"):
        gr.HTML(
            '<p class="aside">Where answers are known, the LLM answers from what the retriever found, and is compared: '
            "exact match, F1 of words, and whether it refuses questions that have neither an answer nor a relevant "
            "document. Each question is one request to the LLM.</p>",
            js_on_load=None,
        )
        with gr.Row(elem_classes="question"):
            retriever = gr.Dropdown(label="Retriever", choices=[], min_width=200, elem_id="answers-retriever")
            limit = gr.Number(
                label="Questions at most",
                value=20,
                minimum=1,
                maximum=answer_quality.MAX_ANSWERS,
                precision=0,
                min_width=120,
                elem_id="answers-limit",
            )
            ask = gr.Button("Ask the LLM", min_width=120, elem_id="answers-button")
            stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="answers-stop")
        progress = gr.HTML(elem_id="answers-progress", js_on_load=None)
        answers = gr.HTML(elem_id="answers-table", js_on_load=None)
    return AnswerQuality(retriever=retriever, limit=limit, ask=ask, stop=stop, progress=progress, answers=answers)


def wire_answers(bench: Workbench, answers: AnswerQuality, judged: Sequence[Component]) -> None:
    """Its events; `judged` are the pickers of the corpus, of its judged questions, and of their file."""
    flag = gr.State(StopFlag())
    answers.ask.click(
        partial(answer_quality.judge_answers, bench),
        [*judged, answers.retriever, answers.limit, flag],
        [answers.progress, answers.answers, answers.ask, answers.stop],
        concurrency_limit=1,
        **_QUIET,
    )
    answers.stop.click(press_stop, flag, answers.stop, api_visibility="private", queue=False)
