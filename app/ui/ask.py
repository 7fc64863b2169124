"""The Ask tab: one corpus, one retriever, one question."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import gradio as gr

from app.demo import EXAMPLE_QUESTIONS
from app.handlers import asking, pickers
from app.handlers.buttons import StopFlag, press_stop
from app.replies import MAX_QUESTION_CHARACTERS
from app.ui.panel import build_panel
from app.ui.refresh import Refresh
from app.workbench import Workbench

_EMPTY = '<p class="empty">Ask a question: passages come first, then an answer that cites them.</p>'


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTab:
    """What other parts of the page need of this tab."""

    tab: gr.Tab
    refresh: Refresh


def build_ask(bench: Workbench) -> AskTab:
    """The tab with its events."""
    with gr.Tab("Ask", id="ask") as tab:
        flag = gr.State(StopFlag())
        n_clicked = gr.State(0)
        with gr.Row(elem_classes="pickers"):
            corpus = gr.Dropdown(label="Corpus", choices=[], scale=2, min_width=200, elem_id="ask-corpus")
            retriever = gr.Radio(
                label="Retriever", info=" ", choices=[], scale=3, min_width=280, elem_id="ask-retriever"
            )
        with gr.Row(elem_classes="question"):
            question = gr.Textbox(
                label="Question",
                placeholder="Ask the corpus something, then press Enter",
                lines=1,
                show_label=False,
                container=False,
                max_length=MAX_QUESTION_CHARACTERS,
                scale=8,
                min_width=240,
                elem_id="ask-question",
            )
            button = gr.Button("Ask", variant="primary", scale=1, min_width=90, elem_id="ask-button")
            stop = gr.Button("Stop", interactive=False, scale=1, min_width=90, elem_id="ask-stop")
        examples = gr.Dataset(
            label="Try one of these",
            components=[question],
            samples=[[example] for example in EXAMPLE_QUESTIONS],
            visible=False,
            elem_id="ask-examples",
        )
        panel = build_panel("ask", in_columns=True, empty=_EMPTY)

    # One event for all three ways to ask, so that none starts while another is under way.
    gr.on(
        [button.click, question.submit, n_clicked.change],
        partial(asking.ask, bench),
        [question, corpus, retriever, flag],
        [panel.answer, panel.passages, button, stop],
        api_name="ask",
        show_progress="hidden",
        concurrency_limit=8,
    )
    examples.click(
        lambda sample, n: (sample[0], n + 1),
        [examples, n_clicked],
        [question, n_clicked],
        api_visibility="private",
        queue=False,
    )
    stop.click(press_stop, flag, stop, api_visibility="private", queue=False)
    choices = partial(pickers.list_ask_choices, bench)
    corpus.input(
        choices,
        [corpus, retriever],
        [corpus, retriever, examples],
        api_visibility="private",
        show_progress="hidden",
    )
    retriever.input(
        partial(pickers.explain_retriever, bench),
        [corpus, retriever],
        retriever,
        api_visibility="private",
        show_progress="hidden",
    )
    refresh = Refresh(fn=choices, inputs=[corpus, retriever], outputs=[corpus, retriever, examples])
    return AskTab(tab=tab, refresh=refresh)
