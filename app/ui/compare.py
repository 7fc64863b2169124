"""The Compare tab: one question, two retrievers or more side by side, and a vote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from app.handlers import compare, pickers
from app.handlers.buttons import StopFlag, Update, press_stop, read_link
from app.ui.panel import QUIETLY, Parts, Refresh, Tab, build_answer, build_note, build_passages, on_thumb, outputs_of
from app.votes import MAX_SIDES
from app.workbench import Workbench

_VOTE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-verdict]');
  if (button) trigger('select', {verdict: button.dataset.verdict});
});
"""
_N_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareTab(Tab):
    """The same of this one; `restore` opens it with the question of a link."""

    restore: Refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pickers:
    corpus: gr.Dropdown
    left: gr.Dropdown
    right: gr.Dropdown
    more: gr.Dropdown

    @property
    def all(self) -> list[gr.Dropdown]:
        return [self.corpus, self.left, self.right, self.more]


def build_compare(bench: Workbench, visitor: gr.BrowserState, corpus: gr.Dropdown) -> CompareTab:
    """The tab with its events."""
    with gr.Tab("Compare", id="compare") as tab:
        flag, is_picked = gr.State(StopFlag()), gr.State(False)
        parts: Parts = {"compared": gr.State(None)}
        gr.HTML(
            '<p class="aside">One question to two retrievers or more: what does each find, and which answer is better? '
            "Your votes are added up below, and can teach.</p>",
            js_on_load=None,
        )
        picked = _build_pickers(corpus)
        teach = gr.HTML(visible=False, elem_id="compare-teach", js_on_load=None)
        with gr.Column(visible=False) as body:
            with gr.Row(elem_classes="question"):
                question = gr.Textbox(
                    label="Question",
                    placeholder="One question for all of them, then press Enter",
                    lines=1,
                    show_label=False,
                    container=False,
                    scale=8,
                    min_width=240,
                    elem_id="compare-question",
                )
                parts["compare"] = gr.Button(
                    "Compare", variant="primary", scale=1, min_width=110, elem_id="compare-button"
                )
                parts["stop"] = gr.Button("Stop", interactive=False, scale=1, min_width=90, elem_id="compare-stop")
            with gr.Row(elem_classes="options"):
                with_answers = gr.Checkbox(
                    label="Write the answers", value=True, container=False, min_width=180, elem_id="compare-answers"
                )
                is_blind = gr.Checkbox(
                    label="Blind: the lot decides the sides, and your vote names them",
                    value=False,
                    container=False,
                    min_width=300,
                    elem_id="compare-blind",
                )
            _build_contrasts(bench, picked, question)
            parts["summary"] = gr.HTML(elem_id="compare-summary", js_on_load=None)
            parts["answers"] = build_answer("compare")
            parts["ballot"] = gr.HTML(elem_id="compare-ballot", js_on_load=_VOTE)
            parts["note"] = build_note("compare")
            parts["passages"] = build_passages("compare")
            parts["score"] = gr.HTML(elem_id="compare-score", js_on_load=None)

    gr.on(
        [parts["compare"].click, question.submit],
        partial(compare.compare, bench),
        [question, *picked.all, with_answers, is_blind, flag],
        outputs_of(parts, compare.CompareView),
        concurrency_limit=_N_AT_ONCE,
        **QUIETLY,
    )
    parts["stop"].click(press_stop, flag, parts["stop"], api_visibility="private", queue=False)

    def vote(compared: Any, visitor: str, event: gr.EventData) -> compare.VoteView:
        return compare.vote(bench, str(getattr(event, "verdict", "")), compared, visitor)

    judging = [parts["compared"], visitor]
    parts["ballot"].select(vote, judging, outputs_of(parts, compare.VoteView), **QUIETLY)
    on_thumb(parts["passages"], partial(compare.judge_passage, bench), judging, parts["note"])
    refresh = _wire_pickers(bench, picked, is_picked, [teach, body, parts["score"]])
    return CompareTab(tab=tab, refresh=refresh, restore=_restore(question))


def _build_pickers(corpus: gr.Dropdown) -> _Pickers:
    with gr.Row(elem_classes="pickers"):
        return _Pickers(
            corpus=corpus,
            left=gr.Dropdown(label="Left", choices=[], scale=2, min_width=130, elem_id="left-retriever"),
            right=gr.Dropdown(label="Right", choices=[], scale=2, min_width=130, elem_id="right-retriever"),
            more=gr.Dropdown(
                label="More (two at most)",
                choices=[],
                value=[],
                multiselect=True,
                max_choices=MAX_SIDES - 2,
                scale=2,
                min_width=130,
                elem_id="more-retrievers",
            ),
        )


def _wire_pickers(bench: Workbench, picked: _Pickers, is_picked: gr.State, shown: list[Component]) -> Refresh:
    """What looks again at what can be picked; `is_picked` remembers that a person chose the right side."""

    def show_score(corpus: str | None, left: str | None, right: str | None, more: list[str] | None) -> Update:
        return compare.show_score(bench, corpus, [left, right, *(more or [])])

    def look(
        corpus: str | None,
        left: str | None,
        right: str | None,
        more: list[str] | None,
        is_picked: bool,
        request: gr.Request,
    ) -> pickers.CompareChoices:
        link = read_link(dict(request.query_params))
        return pickers.list_compare_choices(bench, corpus, left, right, more, is_picked, link)

    for side in (picked.left, picked.right, picked.more):
        side.input(show_score, picked.all, shown[-1], **QUIETLY)
    picked.right.input(lambda: True, None, is_picked, queue=False, **QUIETLY)
    return Refresh(fn=look, inputs=[*picked.all, is_picked], outputs=[*picked.all, is_picked, *shown])


def _restore(question: gr.Textbox) -> Refresh:
    """What puts the question of a link to a comparison into its box."""

    def restore(question: str, request: gr.Request) -> Update:
        link = read_link(dict(request.query_params))
        return link.question if link.sides and link.question and not question else gr.skip()

    return Refresh(fn=restore, inputs=[question], outputs=[question])


def _build_contrasts(bench: Workbench, picked: _Pickers, question: gr.Textbox) -> None:
    """The list of questions on which the left and the right retriever differ most."""
    with gr.Accordion("Questions on which they differ most", open=False, elem_id="compare-contrasts") as box:
        note = gr.HTML(elem_id="contrast-note", js_on_load=None)
        found = gr.Dataset(
            label="Most different first",
            components=[gr.Textbox(visible=False), gr.Textbox(visible=False)],
            headers=["Question", "In common"],
            samples=[],
            visible=False,
            elem_id="contrast-list",
        )
        upload = gr.UploadButton(
            "Look among questions of a file",
            file_types=[".jsonl", ".txt"],
            size="sm",
            scale=0,
            min_width=240,
            elem_id="contrast-upload",
        )
    slowly: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": 1}
    pair = [picked.corpus, picked.left, picked.right]
    among = partial(compare.list_contrasts, bench)
    box.expand(lambda corpus, left, right: among(corpus, left, right, None), pair, [found, note], **slowly)
    upload.upload(among, [*pair, upload], [found, note], **slowly)
    found.click(lambda sample: sample[0], found, question, api_visibility="private", queue=False)
