"""The whole page: header, tabs, theme, endpoints for programs, and what makes tabs look again."""

from __future__ import annotations

import json
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api
from gradio.state_holder import SessionState, StateHolder

from app.handlers import pickers
from app.handlers.buttons import BUSY_S, LLMView, choose_llm, show_background
from app.handlers.compare import new_visitor
from app.rendering import aside_html
from app.ui.ask import build_ask
from app.ui.compare import build_compare
from app.ui.corpora import build_corpora
from app.ui.evaluate import build_evaluate
from app.ui.panel import QUIETLY, Parts, Refresh, outputs_of, with_link, with_name
from app.ui.teach import build_teach
from app.votes import MOST_KEPT
from app.workbench import Workbench, name_of

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
        with gr.Row(elem_id="top"):
            gr.HTML(_header(bench), elem_id="header", js_on_load=_DIRECTIONS, min_width=300)
            llm = _build_llm(bench)
            corpus = gr.Dropdown(
                label="Corpus",
                choices=[],
                show_label=False,
                container=False,
                interactive=False,
                scale=0,
                min_width=250,
                elem_id="corpus",
            )
        banner = gr.HTML(elem_id="banner", js_on_load=None)
        timer = gr.Timer(BUSY_S)
        seen, finished = gr.State(None), gr.State(None)
        visitor = gr.BrowserState("", storage_key="visitor", secret=_VISITOR)
        remembered = gr.BrowserState("", storage_key="corpus", secret=_VISITOR)
        with gr.Tabs() as tabs:
            ask = build_ask(bench, visitor, corpus)
            compare = build_compare(bench, visitor, corpus)
            teach = build_teach(bench, corpus)
            evaluate = build_evaluate(bench, corpus)
            corpora = build_corpora(bench, corpus, visitor, tabs, ask["drop"], timer)
        gr.on(
            [page.load, timer.tick],
            partial(show_background, bench),
            seen,
            [banner, timer, seen, finished],
            **QUIETLY,
        )
        page.load(None, js=_SCRIPT)
        opening = Refresh(
            fn=with_link(partial(pickers.open_page, bench)),
            inputs=[corpus, remembered],
            outputs=[corpus, tabs, llm["box"], compare["question"]],
        )
        opened = opening.on([page.load])
        looked = corpora["refresh"].on([finished.change])
        corpora["refresh"].on([corpora["tab"].select, corpus.input])
        corpora["refresh"].after(opened)
        for each in (ask, compare, evaluate):
            each["refresh"].on([each["tab"].select, corpus.input])
            each["refresh"].after(looked)
        ask["restore"].after(ask["refresh"].after(opened))
        compare["refresh"].after(opened)
        evaluate["refresh"].after(opened)
        corpus.change(None, corpus, remembered, js=_REMEMBER, **QUIETLY)
        ask["conversations"].on([page.load])
        ask["lesson"].on([ask["tab"].select, finished.change])
        teach["refresh"].on([teach["tab"].select, finished.change])
        _wire_llm(bench, llm, teach)
        page.load(new_visitor, visitor, visitor, **QUIETLY)
        build_api(bench)
    page.queue(default_concurrency_limit=8, max_size=_MAX_WAITING)
    return page  # type: ignore[no-any-return]


_SIGN_OUT = '<form method="post" action="logout"><button>Sign out</button></form>'


def _header(bench: Workbench) -> str:
    newest = f"The newest questions, up to {MOST_KEPT:,} for each corpus, are kept on this machine, without who asked."
    kept = f" · {newest}" if bench.keeps_questions else ""
    return (
        f'<div id="told" class="unseen" role="status"></div><h1>{TITLE}</h1>'
        f"<p>Ask your documents, teach the retriever with any LLM, and see what changed.{kept}</p>"
        f"{_SIGN_OUT if bench.has_accounts else ''}"
    )


def _build_llm(bench: Workbench) -> Parts:
    """Who answers and teaches, and for who runs the page the choice of another, without its events."""
    started = (f"As started: {name_of(bench.reader.first)}", "first")
    embedded = (f"Embedded: {bench.llm.local_llm}", "embedded")
    parts: Parts = {}
    with gr.Accordion(f"LLM: {bench.reader.name}", open=False, elem_id="llm") as parts["box"]:
        if bench.operator is None:
            gr.HTML(aside_html("Whoever runs this page has chosen what answers and teaches."), js_on_load=None)
            return parts
        parts["kind"] = gr.Radio(
            label="Who answers and teaches",
            choices=[started, *([] if bench.llm.is_embedded else [embedded]), ("Another endpoint", "endpoint")],
            value="first",
            elem_id="llm-kind",
        )
        with gr.Group(visible=False) as parts["endpoint"]:
            parts["url"] = gr.Textbox(label="Address", placeholder="http://localhost:8000/v1", elem_id="llm-url")
            parts["model"] = gr.Textbox(label="Model", placeholder="the endpoint's first", elem_id="llm-model")
            parts["key"] = gr.Textbox(
                label="Key", type="password", info="Kept in memory alone, and shown to nobody.", elem_id="llm-key"
            )
        parts["use"] = gr.Button("Use it", elem_id="llm-use")
        parts["said"] = gr.HTML(elem_id="llm-said", js_on_load=None)
    return parts


def _wire_llm(bench: Workbench, parts: Parts, teach: Parts) -> None:
    """Its events; what is chosen can teach."""
    if "use" not in parts:
        return
    parts["kind"].input(
        lambda kind: gr.update(visible=kind == "endpoint"), parts["kind"], parts["endpoint"], queue=False, **QUIETLY
    )
    given = [parts[name] for name in ("kind", "url", "model", "key")]
    shown = outputs_of({**parts, "teacher": teach["teacher"]}, LLMView)
    chosen = parts["use"].click(with_name(partial(choose_llm, bench)), given, shown, **QUIETLY)
    teach["look"].after(chosen)


# The corpus and the tab stand in the address; what a link asked for goes from it once something else is looked at.
# What is waited for says for how many seconds, the end of an answer is said aloud, "/" goes to the question.
_SCRIPT = """() => {
  const shown = () => new URLSearchParams(location.search);
  let corpus = shown().get('corpus');
  window.note = (name, value) => {
    const url = new URL(location);
    if (!value || url.searchParams.get(name) === value) return;
    const is_first = name === 'corpus' && !url.searchParams.has(name);
    if (!is_first) ['question', 'retriever', 'left', 'right', 'third', 'fourth'].forEach((each) =>
      url.searchParams.delete(each));
    url.searchParams.set(name, value);
    history[is_first ? 'replaceState' : 'pushState']({}, '', url);
    corpus = shown().get('corpus');
  };
  window.addEventListener('click', (event) => {
    const tab = event.isTrusted && event.target.closest('[role=tab][data-tab-id]');
    if (tab) window.note('tab', tab.dataset.tabId);
  });
  window.addEventListener('popstate', () => {
    if (shown().get('corpus') !== corpus) location.reload();
    else document.querySelector(`[role=tab][data-tab-id="${shown().get('tab') || 'ask'}"]`)?.click();
  });
  window.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target.closest('input, textarea, [contenteditable]')) return;
    const boxes = [...document.querySelectorAll('#ask-question textarea, #compare-question textarea')];
    const box = boxes.find((each) => each.offsetParent);
    if (box) { event.preventDefault(); box.focus(); }
  });
  window.addEventListener('click', (event) => {
    const button = event.target.closest('a.link, button.copy');
    if (!button) return;
    event.preventDefault();
    const text = button.href || button.closest('.answer').querySelector('.text').innerText;
    const done = () => { button.textContent = 'Copied'; };
    navigator.clipboard.writeText(text).then(done, () => prompt('Copy this:', text));
  });
  let since = {};
  let was = '';
  setInterval(() => {
    const now = {};
    document.querySelectorAll('.notice.busy').forEach((notice) => {
      const place = notice.closest('[id]').id;
      now[place] = since[place] || Date.now();
      const seconds = Math.floor((Date.now() - now[place]) / 1000);
      if (seconds > 1) notice.dataset.elapsed = `${seconds} s`;
    });
    since = now;
    const state = document.querySelector('#ask-answer .answer')?.className || '';
    const told = state === 'answer done' ? 'The answer is complete.' : '';
    if (state !== was) document.getElementById('told').textContent = told;
    was = state;
  }, 250);
}"""
_REMEMBER = "(corpus) => { window.note?.('corpus', corpus); return corpus; }"


class QuickSessions(StateHolder):
    """What each visit has changed, as gradio keeps it, but begun at once: gradio makes the settings of all components
    anew for every visit (59 to 90 ms), so that a few hundred of them hold up everybody.
    """

    def __init__(self, page: gr.Blocks) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._first = SessionState(page)
        self.set_blocks(page)  # from here on it is asked: gradio opens the page before it lets us replace its own

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = begun = copy(self._first)
            begun.blocks_config = copy(self.blocks.default_config)
            begun.config_values = {
                number: {**config, "props": dict(config.get("props", {}))}
                for number, config in self._first.config_values.items()
            }
            vars(begun).update({name: {} for name, held in vars(begun).items() if held == {}})  # what a session fills
        return super().__getitem__(session_id)


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
        link_text_color="*primary_700",
        input_border_color_focus="*primary_700",
        input_border_color_focus_dark="*primary_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_secondary_background_fill="white",
        button_secondary_border_color="*neutral_300",
        button_border_width="1px",
        button_large_text_weight="500",
        button_large_text_size="*text_md",
        block_shadow="none",
    )
