"""The Corpora tab: files in, corpora and their files, a search inside them, and out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from app.handlers import corpora
from app.handlers import corpora as handlers
from app.rendering import aside_html
from app.streaming import MAX_QUESTION_CHARACTERS
from app.ui.panel import Refresh
from app.workbench import Workbench
from indexes.files import SUPPORTED_SUFFIXES

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
    words.submit(partial(corpora.search_inside, bench), [corpus, words], hits, **_QUIET)
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
        partial(corpora.show_map, bench),
        [corpus, question, kept],
        [kept, picture],
        concurrency_limit=2,
        api_visibility="private",
        trigger_mode="always_last",  # a question that is asked while the map is drawn is not lost
    )
    corpus.input(lambda: "", None, picture, **_QUIET)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorporaTab:
    """What other parts of the page need of this tab."""

    tab: gr.Tab
    refresh: Refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    target: gr.Dropdown
    files: gr.File
    addresses: gr.Textbox
    add: gr.Button
    stop: gr.Button
    progress: gr.HTML
    ask: gr.Button
    outcomes: gr.HTML


@dataclass(frozen=True, slots=True, kw_only=True)
class _Browser:
    corpora: gr.HTML
    sources: gr.HTML
    picked: gr.Dropdown
    delete_corpus: gr.Button
    delete_sources: gr.Button
    box: gr.Group
    question: gr.HTML
    confirm: gr.Button
    keep: gr.Button
    reindex: gr.Button


def build_corpora(
    bench: Workbench, corpus: gr.Dropdown, tabs: gr.Tabs, drop: gr.File, telling: Sequence[Component]
) -> CorporaTab:
    """The tab with its events; `telling` says how far an upload is, and what is put into `drop` is one too."""
    with gr.Tab("Corpora", id="corpora") as tab:
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                form = _build_form(bench)
            with gr.Column(scale=6, min_width=320):
                browser = _build_browser()
        build_inside(bench, corpus)
    awaited = gr.State("")
    refresh = Refresh(
        fn=partial(handlers.list_corpora_view, bench),
        inputs=[corpus, awaited],
        outputs=[
            form.progress,
            form.outcomes,
            form.ask,
            awaited,
            browser.corpora,
            form.target,
            corpus,
            browser.sources,
            browser.picked,
            browser.delete_corpus,
            browser.delete_sources,
            browser.reindex,
        ],
    )
    timer, finished = telling
    adding = [form.progress, form.files, timer, awaited, finished]
    _wire_form(bench, form, adding)
    drop.upload(
        lambda files: handlers.add(bench, files, "", ""),
        drop,
        [form.progress, drop, timer, awaited, finished],
        **_QUIET,
    )
    form.ask.click(lambda: gr.update(selected="ask"), None, tabs, **_QUIET, queue=False)
    _wire_browser(bench, browser, corpus, refresh, adding)
    return CorporaTab(tab=tab, refresh=refresh)


def _build_form(bench: Workbench) -> _Form:
    gr.HTML("<h2>Add files</h2>", js_on_load=None)
    target = gr.Dropdown(
        label="Add to corpus",
        info="Pick one, or type a new name; a new corpus is named after its first file otherwise.",
        choices=[],
        value=None,
        allow_custom_value=True,
        elem_id="add-corpus",
    )
    files = gr.File(
        label="Files",
        file_count="multiple",
        height=180,
        elem_id="add-files",
    )
    folder = gr.UploadButton("Take a folder …", file_count="directory", size="sm", elem_id="add-folder")
    addresses = gr.Textbox(
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
        add = gr.Button("Add and index", variant="primary", scale=3, min_width=140, elem_id="add-button")
        stop = gr.Button("Stop", scale=1, min_width=90, elem_id="add-stop")
    progress = gr.HTML(elem_id="add-progress", js_on_load=None)
    ask = gr.Button("Ask it now", variant="primary", visible=False, elem_id="add-ask")
    outcomes = gr.HTML(elem_id="add-outcomes", js_on_load=None)
    folder.upload(
        handlers.choose_of_folder, [folder, files], [files, progress], api_visibility="private", show_progress="hidden"
    )
    return _Form(
        target=target,
        files=files,
        addresses=addresses,
        add=add,
        stop=stop,
        progress=progress,
        ask=ask,
        outcomes=outcomes,
    )


def _build_browser() -> _Browser:
    gr.HTML("<h2>What is there</h2>", js_on_load=None)
    corpora = gr.HTML(elem_id="corpora-table", js_on_load=None)
    sources = gr.HTML(elem_id="sources-table", js_on_load=None)
    picked = gr.Dropdown(label="Files to delete", choices=[], multiselect=True, elem_id="sources-picked")
    with gr.Row():
        delete_sources = gr.Button("Delete files", interactive=False, elem_id="delete-sources")
        delete_corpus = gr.Button("Delete corpus", interactive=False, elem_id="delete-corpus")
    reindex = gr.Button("Bring indexes in step", interactive=False, elem_id="reindex")
    question = gr.HTML(elem_id="delete-question", js_on_load=None)
    with gr.Group(visible=False) as box, gr.Row():
        confirm = gr.Button("Yes, delete", variant="stop", elem_id="delete-confirm")
        keep = gr.Button("No, keep", elem_id="delete-keep")
    return _Browser(
        corpora=corpora,
        sources=sources,
        picked=picked,
        delete_corpus=delete_corpus,
        delete_sources=delete_sources,
        box=box,
        question=question,
        confirm=confirm,
        keep=keep,
        reindex=reindex,
    )


def _wire_form(bench: Workbench, form: _Form, adding: Sequence[Component]) -> None:
    form.add.click(partial(handlers.add, bench), [form.files, form.target, form.addresses], list(adding), **_QUIET)
    form.stop.click(partial(handlers.stop, bench), None, form.progress, **_QUIET, queue=False)


def _wire_browser(
    bench: Workbench, browser: _Browser, corpus: gr.Dropdown, refresh: Refresh, adding: Sequence[Component]
) -> None:
    doomed = gr.State(None)
    outputs = [browser.box, browser.question, doomed]
    ask_to_delete = partial(handlers.ask_to_delete, bench)
    browser.delete_corpus.click(lambda corpus: ask_to_delete(corpus, ()), corpus, outputs, api_visibility="private")
    browser.delete_sources.click(
        ask_to_delete, [corpus, browser.picked], outputs, api_visibility="private", show_progress="hidden"
    )
    browser.picked.change(
        lambda sources: gr.update(interactive=bool(sources)),
        browser.picked,
        browser.delete_sources,
        api_visibility="private",
        show_progress="hidden",
    )
    browser.keep.click(handlers.keep, None, outputs, api_visibility="private", queue=False)
    deleted = browser.confirm.click(
        partial(handlers.delete, bench), doomed, outputs, api_visibility="private", show_progress="hidden"
    )
    refresh.after(deleted)
    browser.reindex.click(partial(handlers.reindex, bench), corpus, list(adding), **_QUIET)
