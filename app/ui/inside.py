"""Below the Corpora tab's lists: search inside passages, and the map of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from app.handlers import inside
from app.replies import MAX_QUESTION_CHARACTERS
from app.workbench import Workbench

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build_inside(bench: Workbench, corpus: gr.Dropdown) -> None:
    """Both parts with their events; they look into the corpus that is picked in `corpus`."""
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            _build_search(bench, corpus)
        with gr.Column(scale=6, min_width=320):
            _build_map(bench, corpus)


def _build_search(bench: Workbench, corpus: gr.Dropdown) -> None:
    gr.HTML("<h2>Search inside passages</h2>", js_on_load=None)
    words = gr.Textbox(
        label="Words",
        show_label=False,
        container=False,
        placeholder="Words to find, then Enter",
        max_length=MAX_QUESTION_CHARACTERS,
        elem_id="inside-words",
    )
    hits = gr.HTML(elem_id="inside-hits", js_on_load=None)
    words.submit(partial(inside.search_inside, bench), [corpus, words], hits, **_QUIET)
    corpus.input(lambda: "", None, hits, **_QUIET)


def _build_map(bench: Workbench, corpus: gr.Dropdown) -> None:
    kept = gr.State(None)
    gr.HTML("<h2>Map of the passages</h2>", js_on_load=None)
    with gr.Row(elem_classes="question"):
        question = gr.Textbox(
            label="Question on the map",
            show_label=False,
            container=False,
            placeholder="A question, to see what is found for it (optional)",
            max_length=MAX_QUESTION_CHARACTERS,
            scale=5,
            min_width=240,
            elem_id="inside-question",
        )
        draw = gr.Button("Draw the map", scale=2, min_width=120, elem_id="inside-draw")
    picture = gr.HTML(elem_id="inside-map", js_on_load=None)
    gr.on(
        [draw.click, question.submit],
        partial(inside.show_map, bench),
        [corpus, question, kept],
        [kept, picture],
        concurrency_limit=2,
        api_visibility="private",
        trigger_mode="always_last",  # a question that is asked while the map is drawn is not lost
    )
    corpus.input(lambda: "", None, picture, **_QUIET)
