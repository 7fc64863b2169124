"""The Compare tab: one question, two retrievers side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import gradio as gr

from app.handlers import comparing, pickers
from app.handlers.buttons import StopFlag, press_stop
from app.replies import MAX_QUESTION_CHARACTERS
from app.ui.panel import build_panel
from app.ui.refresh import Refresh
from app.workbench import Workbench


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareTab:
    """What other parts of the page need of this tab."""

    tab: gr.Tab
    refresh: Refresh


def build_compare(bench: Workbench) -> CompareTab:
    """The tab with its events."""
    with gr.Tab("Compare", id="compare") as tab:
        flag = gr.State(StopFlag())
        with gr.Row(elem_classes="pickers"):
            corpus = gr.Dropdown(label="Corpus", choices=[], scale=2, min_width=200, elem_id="compare-corpus")
            left = gr.Dropdown(label="Left", choices=[], scale=2, min_width=200, elem_id="left-retriever")
            right = gr.Dropdown(label="Right", choices=[], scale=2, min_width=200, elem_id="right-retriever")
        teach = gr.HTML(visible=False, elem_id="compare-teach", js_on_load=None)
        with gr.Column(visible=False) as body:
            with gr.Row(elem_classes="question"):
                question = gr.Textbox(
                    label="Question",
                    placeholder="One question for both retrievers, then press Enter",
                    lines=1,
                    show_label=False,
                    container=False,
                    max_length=MAX_QUESTION_CHARACTERS,
                    scale=8,
                    min_width=240,
                    elem_id="compare-question",
                )
                button = gr.Button("Compare", variant="primary", scale=1, min_width=110, elem_id="compare-button")
                stop = gr.Button("Stop", interactive=False, scale=1, min_width=90, elem_id="compare-stop")
            with_answers = gr.Checkbox(
                label="Write both answers", value=True, container=False, elem_id="compare-answers"
            )
            summary = gr.HTML(elem_id="compare-summary", js_on_load=None)
            with gr.Row(elem_classes="sides"):
                with gr.Column(min_width=320):
                    left_panel = build_panel("left", in_columns=False)
                with gr.Column(min_width=320):
                    right_panel = build_panel("right", in_columns=False)

    gr.on(
        [button.click, question.submit],
        partial(comparing.compare, bench),
        [question, corpus, left, right, with_answers, flag],
        [
            summary,
            left_panel.answer,
            left_panel.passages,
            right_panel.answer,
            right_panel.passages,
            button,
            stop,
        ],
        api_name="compare",
        show_progress="hidden",
        concurrency_limit=4,
    )
    stop.click(press_stop, flag, stop, api_visibility="private", queue=False)
    refresh = Refresh(
        fn=partial(pickers.list_compare_choices, bench),
        inputs=[corpus, left, right],
        outputs=[corpus, left, right, teach, body],
    )
    refresh.on([corpus.input])
    return CompareTab(tab=tab, refresh=refresh)
