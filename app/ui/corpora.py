"""The Corpora tab: files in, corpora and their files, a search inside them, and out again."""

from __future__ import annotations

from functools import partial
from html import escape

import gradio as gr

from app.handlers import corpora as handlers
from app.handlers.buttons import ConfirmView, dismiss
from app.rendering import aside_html
from app.streaming import MAX_QUESTION_CHARACTERS
from app.ui.panel import QUIETLY, Parts, Refresh, build_box, outputs_of
from app.workbench import Workbench
from indexes.files import SUPPORTED_SUFFIXES


def _build_search(bench: Workbench, corpus: gr.Dropdown) -> None:
    gr.HTML("<h2>Search inside passages</h2>", js_on_load=None)
    words = build_box("Words", "Words to find, then Enter", "inside-words", max_length=MAX_QUESTION_CHARACTERS)
    hits = gr.HTML(elem_id="inside-hits", js_on_load=None)
    words.submit(partial(handlers.search_inside, bench), [corpus, words], hits, **QUIETLY)
    corpus.input(lambda: "", None, hits, **QUIETLY)


def _build_map(bench: Workbench, corpus: gr.Dropdown) -> None:
    kept = gr.State(None)
    gr.HTML("<h2>Map of the passages</h2>", js_on_load=None)
    with gr.Row(elem_classes="question"):
        prompt, most = "A question, to see what is found for it (optional)", MAX_QUESTION_CHARACTERS
        question = build_box("Question on the map", prompt, "inside-question", max_length=most, scale=5, min_width=240)
        draw = gr.Button("Draw the map", scale=2, min_width=120, elem_id="inside-draw")
    picture = gr.HTML(elem_id="inside-map", js_on_load=None)
    gr.on(
        [draw.click, question.submit],
        partial(handlers.show_map, bench),
        [corpus, question, kept],
        [kept, picture],
        concurrency_limit=2,
        api_visibility="private",
        trigger_mode="always_last",  # a question that is asked while the map is drawn is not lost
    )
    corpus.input(lambda: "", None, picture, **QUIETLY)


def build_corpora(
    bench: Workbench, corpus: gr.Dropdown, visitor: gr.BrowserState, tabs: gr.Tabs, drop: gr.File, timer: gr.Timer
) -> Parts:
    """The tab with its events; the `timer` tells how far an upload is, and what is put into `drop` is one too."""
    parts: Parts = {"corpus": corpus, "timer": timer}
    with gr.Tab("Corpora", id="corpora") as parts["tab"]:
        parts["awaited"] = gr.State("")
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                _build_form(bench, parts)
            with gr.Column(scale=6, min_width=320):
                _build_browser(parts)
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                _build_search(bench, corpus)
            with gr.Column(scale=6, min_width=320):
                _build_map(bench, corpus)
    refresh = Refresh(
        fn=partial(handlers.list_corpora_view, bench),
        inputs=[corpus, parts["awaited"]],
        outputs=outputs_of(parts, handlers.CorporaView),
    )
    adding = outputs_of(parts, handlers.AddView)
    given = [parts["files"], parts["target"], parts["addresses"], visitor]
    parts["add"].click(partial(handlers.add, bench), given, adding, **QUIETLY)
    parts["stop"].click(partial(handlers.stop, bench), visitor, parts["said"], **QUIETLY, queue=False)
    dropped = outputs_of({**parts, "files": drop}, handlers.AddView)
    drop.upload(lambda files, who: handlers.add(bench, files, "", "", who), [drop, visitor], dropped, **QUIETLY)
    parts["ask"].click(lambda: gr.update(selected="ask"), None, tabs, **QUIETLY, queue=False)
    parts["reindex"].click(partial(handlers.reindex, bench), [corpus, visitor], adding, **QUIETLY)
    _wire_deletion(bench, parts, refresh)
    return parts | {"refresh": refresh}


def _build_form(bench: Workbench, parts: Parts) -> None:
    gr.HTML("<h2>Add files</h2>", js_on_load=None)
    parts["target"] = gr.Dropdown(
        label="Add to corpus",
        info="Pick one, or type a new name; a new corpus is named after its first file otherwise.",
        choices=[],
        value=None,
        allow_custom_value=True,
        elem_id="add-corpus",
    )
    files = parts["files"] = gr.File(
        label="Files",
        file_count="multiple",
        height=180,
        elem_id="add-files",
    )
    folder = gr.UploadButton("Take a folder …", file_count="directory", size="sm", elem_id="add-folder")
    parts["addresses"] = gr.Textbox(
        label="Web pages",
        info="Their addresses, or that of a sitemap or of a list, one a line.",
        lines=1,
        max_lines=8,
        max_length=20_000,
        elem_id="add-addresses",
    )
    kinds = ", ".join(suffix.removeprefix(".") for suffix in SUPPORTED_SUFFIXES)
    limit = f"{bench.max_upload_mb} MB each at most; a zip is read as the folder that it holds."
    gr.HTML(f'<details class="form"><summary>{escape(limit)}</summary>{aside_html(kinds)}</details>', js_on_load=None)
    with gr.Row():
        parts["add"] = gr.Button("Add and index", variant="primary", scale=3, min_width=140, elem_id="add-button")
        parts["stop"] = gr.Button("Stop", scale=1, min_width=90, elem_id="add-stop")
    said = parts["said"] = gr.HTML(elem_id="add-progress", js_on_load=None)
    parts["ask"] = gr.Button("Ask it now", variant="primary", visible=False, elem_id="add-ask")
    parts["outcomes"] = gr.HTML(elem_id="add-outcomes", js_on_load=None)
    folder.upload(handlers.choose_of_folder, [folder, files], [files, said], **QUIETLY)


def _build_browser(parts: Parts) -> None:
    gr.HTML("<h2>What is there</h2>", js_on_load=None)
    parts["corpora"] = gr.HTML(elem_id="corpora-table", js_on_load=None)
    parts["sources"] = gr.HTML(elem_id="sources-table", js_on_load=None)
    parts["picked"] = gr.Dropdown(label="Files to delete", choices=[], multiselect=True, elem_id="sources-picked")
    with gr.Row():
        parts["delete_sources"] = gr.Button("Delete files", interactive=False, elem_id="delete-sources")
        parts["delete_corpus"] = gr.Button("Delete corpus", interactive=False, elem_id="delete-corpus")
    parts["reindex"] = gr.Button("Bring indexes in step", interactive=False, elem_id="reindex")
    parts["message"] = gr.HTML(elem_id="delete-question", js_on_load=None)
    with gr.Group(visible=False) as parts["box"], gr.Row():
        parts["confirm"] = gr.Button("Yes, delete", variant="stop", elem_id="delete-confirm")
        parts["keep"] = gr.Button("No, keep", elem_id="delete-keep")


def _wire_deletion(bench: Workbench, parts: Parts, refresh: Refresh) -> None:
    corpus, picked = parts["corpus"], parts["picked"]
    doomed = parts["doomed"] = gr.State(None)
    outputs = outputs_of(parts, ConfirmView)
    ask_to_delete = partial(handlers.ask_to_delete, bench)
    parts["delete_corpus"].click(lambda corpus: ask_to_delete(corpus, ()), corpus, outputs, api_visibility="private")
    parts["delete_sources"].click(ask_to_delete, [corpus, picked], outputs, **QUIETLY)
    picked.change(lambda some: gr.update(interactive=bool(some)), picked, parts["delete_sources"], **QUIETLY)
    parts["keep"].click(lambda: dismiss(), None, outputs, api_visibility="private", queue=False)
    refresh.after(parts["confirm"].click(partial(handlers.delete, bench), doomed, outputs, **QUIETLY))
