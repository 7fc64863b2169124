"""The whole page: header, tabs, theme, endpoints for programs, and what makes tabs look again."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from app.handlers import pickers
from app.handlers.buttons import show_background
from app.handlers.compare import new_visitor
from app.question_log import MOST_KEPT
from app.ui.ask import build_ask
from app.ui.compare import build_compare
from app.ui.corpora import build_corpora
from app.ui.evaluate import build_evaluate
from app.ui.teach import build_teach
from app.workbench import Workbench

_N_AT_ONCE = 4
# The docstrings below are what an MCP client reads of its tools; of each argument gradio takes one line.


def build_api(bench: Workbench) -> None:
    """Adds the endpoints /ask and /compare to the page that is being built."""

    def ask(
        question: str, corpus: str = "", retriever: str = "", request: gr.Request | None = None
    ) -> dict[str, Any] | str:
        """Answer a question from a corpus of documents, with numbered citations of its passages.

        With reranked(…) around a retriever's name the trained ranker puts its passages in order.

        Args:
            question: What to ask, in any language.
            corpus: The corpus to ask; empty for the first one.
            retriever: baseline, distilled, lexical, fused, or an encoder's name; empty for the one in use.
        """
        return _as_read_by(request, pickers.ask(bench, question, corpus, retriever))

    def compare(
        question: str,
        corpus: str = "",
        left: str = "",
        right: str = "",
        answers: bool = False,
        third: str = "",
        fourth: str = "",
        request: gr.Request | None = None,
    ) -> dict[str, Any] | str:
        """Compare what two to four retrievers find in a corpus of documents for one question.

        Args:
            question: What to ask, in any language.
            corpus: The corpus to ask; empty for the first one.
            left: One retriever, named as for ask; empty for the baseline.
            right: The other one; empty for the one that was taught.
            answers: Whether an answer is written from the passages of each.
            third: A third retriever, named as for ask; empty for none.
            fourth: A fourth retriever, named as for ask; empty for none.
        """
        found = pickers.compare(bench, question, corpus, left, right, answers, [third, fourth])
        return _as_read_by(request, found)

    for function in (ask, compare):
        api(function, api_name=function.__name__, concurrency_limit=_N_AT_ONCE)


def _as_read_by(request: gr.Request | None, value: dict[str, Any]) -> dict[str, Any] | str:
    """`value` itself, or as a text of JSON for an MCP client.

    gradio's MCP server calls an endpoint as a client of its own, whose requests carry this header, and passes on
    `str(value)`: of a dict that would be Python, which only Python reads.
    """
    is_for_mcp = request is not None and request.headers.get("x-gradio-user") == "mcp"
    return json.dumps(value, ensure_ascii=False) if is_for_mcp else value


TITLE = "Intermediate Distillation"
_CACHE_CHECK_S, _CACHE_AGE_S = 3600, 24 * 3600  # uploaded copies are deleted after a day; originals are in the corpus

# What is typed, or offered to be asked, runs from right to left where its own letters do.
_DIRECTIONS = """
const texts = 'textarea, input[type=text], input:not([type]), .gallery-item, .tr-body td';
const direct = () => document.querySelectorAll(texts).forEach((each) => { each.dir = 'auto'; });
new MutationObserver(direct).observe(document.body, {childList: true, subtree: true});
direct();
"""

_MAX_WAITING = 100  # whoever comes after them is told so at once, and does not wait for an answer that comes too late
_VISITOR = "visitor"  # keeps a browser's number readable over a restart; it hides nothing


def build_app(bench: Workbench) -> gr.Blocks:
    """The page, not launched yet; everything that it remembers is in `bench` or in the visitor's session."""
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=False, delete_cache=(_CACHE_CHECK_S, _CACHE_AGE_S)
    ) as page:
        gr.HTML(_header(bench.llm_name, bench.keeps_questions), elem_id="header", js_on_load=_DIRECTIONS)
        banner = gr.HTML(elem_id="banner", js_on_load=None)
        timer = gr.Timer(1.0, active=True)
        finished = gr.State(None)
        visitor = gr.BrowserState("", storage_key="visitor", secret=_VISITOR)
        with gr.Tabs() as tabs:
            ask = build_ask(bench, visitor)
            compare = build_compare(bench, visitor, tabs)
            teach = build_teach(bench)
            evaluate = build_evaluate(bench)
            corpora = build_corpora(bench, timer)
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
        ask.lesson.on([page.load, ask.tab.select, finished.change])
        teach.refresh.on([teach.tab.select, finished.change])
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


STYLE_SHEET = Path(__file__).with_name("style.css")


def build_theme() -> gr.themes.Base:
    """Gradio's own theme in calm colours and with the fonts that the visitor's system has."""
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "DejaVu Sans Mono", "monospace"],
    )
    return theme.set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_500",
        color_accent="*primary_700",
        color_accent_soft="*primary_50",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_secondary_background_fill="white",
        button_secondary_border_color="*neutral_300",
        button_border_width="1px",
        button_large_text_weight="500",
        button_large_text_size="*text_md",
        block_shadow="none",
    )
