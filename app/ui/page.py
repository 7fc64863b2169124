"""The whole page: header, tabs, and what makes them look again."""

from __future__ import annotations

from functools import partial
from html import escape

import gradio as gr

from app.asked import MOST_KEPT
from app.handlers.background import show_background
from app.handlers.voting import new_visitor
from app.ui.api import build_api
from app.ui.ask import build_ask
from app.ui.compare import build_compare
from app.ui.corpora import build_corpora
from app.ui.evaluate import build_evaluate
from app.ui.teach import build_teach
from app.workbench import Workbench

TITLE = "Intermediate Distillation"
_CACHE_CHECK_S, _CACHE_AGE_S = 3600, 24 * 3600  # uploaded copies are deleted after a day; originals are in the corpus

_MAX_WAITING = 100  # whoever comes after them is told so at once, and does not wait for an answer that comes too late
_VISITOR = "visitor"  # keeps a browser's number readable over a restart; it hides nothing


def build_app(bench: Workbench) -> gr.Blocks:
    """The page, not launched yet; everything that it remembers is in `bench` or in the visitor's session."""
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=False, delete_cache=(_CACHE_CHECK_S, _CACHE_AGE_S)
    ) as page:
        gr.HTML(_header(bench.llm_name, bench.keeps_questions), elem_id="header", js_on_load=None)
        banner = gr.HTML(elem_id="banner", js_on_load=None)
        timer = gr.Timer(1.0, active=True)
        finished = gr.State(None)
        visitor = gr.BrowserState("", storage_key="visitor", secret=_VISITOR)
        with gr.Tabs() as tabs:
            ask = build_ask(bench, visitor)
            compare = build_compare(bench, visitor, tabs)
            teach = build_teach(bench)
            evaluate = build_evaluate(bench)
            corpora = build_corpora(bench)
        gr.on(
            [page.load, timer.tick],
            partial(show_background, bench),
            finished,
            [banner, timer, finished],
            api_visibility="private",
            show_progress="hidden",
        )
        for each in (ask, compare, evaluate, corpora):
            each.refresh.on([page.load, each.tab.select, finished.change])
        teach.refresh.on([teach.tab.select, finished.change, *teach.triggers])
        page.load(new_visitor, visitor, visitor, api_visibility="private", show_progress="hidden")
        ask.restore.on([page.load])
        compare.restore.on([page.load])
        build_api(bench)
    page.queue(default_concurrency_limit=8, max_size=_MAX_WAITING)
    return page  # type: ignore[no-any-return]


def _header(llm_name: str, keeps_questions: bool) -> str:
    newest = f"The newest questions, up to {MOST_KEPT:,} for each corpus, are kept on this machine, without who asked."
    kept = f" · {newest}" if keeps_questions else ""
    return (
        f"<h1>{TITLE}</h1><p>Ask your documents, teach the retriever with any LLM, and see what changed.{kept}</p>"
        f'<p class="llm" title="What writes the answers">LLM: <b>{escape(llm_name)}</b></p>'
    )
