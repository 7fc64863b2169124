"""The Compare tab: one question, two retrievers or more side by side, and a vote."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from app.handlers import compare, pickers
from app.handlers.buttons import StopFlag, Update, press_stop
from app.ui import panel
from app.ui.panel import QUIETLY, Parts, Refresh, outputs_of, with_link
from app.votes import MAX_SIDES
from app.workbench import Workbench

_VOTE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-verdict]');
  if (button) trigger('select', {verdict: button.dataset.verdict});
});
"""
_N_AT_ONCE = 4


def build_compare(bench: Workbench, visitor: gr.BrowserState, corpus: gr.Dropdown) -> Parts:
    """The tab with its events."""
    parts: Parts = {"corpus": corpus}
    with gr.Tab("Compare", id="compare") as parts["tab"]:
        flag = gr.State(StopFlag())
        parts |= {"compared": gr.State(None), "is_picked": gr.State(False)}
        gr.HTML(
            '<p class="aside">One question to two retrievers or more: what does each find, and which answer is better? '
            "Your votes are added up below, and can teach.</p>",
            js_on_load=None,
        )
        _build_pickers(parts)
        parts["teach"] = gr.HTML(visible=False, elem_id="compare-teach", js_on_load=None)
        with gr.Column(visible=False) as parts["body"]:
            with gr.Row(elem_classes="question"):
                prompt = "One question for all of them, then press Enter"
                question = panel.build_box("Question", prompt, "compare-question", scale=8, min_width=240)
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
            _build_contrasts(bench, parts, question)
            parts["summary"] = gr.HTML(elem_id="compare-summary", js_on_load=None)
            parts["answers"] = panel.build_answer("compare")
            parts["ballot"] = gr.HTML(elem_id="compare-ballot", js_on_load=_VOTE)
            parts["note"] = panel.build_note("compare")
            parts["passages"] = panel.build_passages("compare")
            parts["score"] = gr.HTML(elem_id="compare-score", js_on_load=None)

    picked = [parts[name] for name in ("corpus", "left", "right", "more")]
    gr.on(
        [parts["compare"].click, question.submit],
        partial(compare.compare, bench),
        [question, *picked, with_answers, is_blind, flag],
        outputs_of(parts, compare.CompareView),
        concurrency_limit=_N_AT_ONCE,
        **QUIETLY,
    )
    parts["stop"].click(press_stop, flag, parts["stop"], api_visibility="private", queue=False)

    def vote(compared: Any, visitor: str, event: gr.EventData) -> compare.VoteView:
        return compare.vote(bench, str(getattr(event, "verdict", "")), compared, visitor)

    def show_score(corpus: str | None, left: str | None, right: str | None, more: list[str] | None) -> Update:
        return compare.show_score(bench, corpus, [left, right, *(more or [])])

    judging = [parts["compared"], visitor]
    parts["ballot"].select(vote, judging, outputs_of(parts, compare.VoteView), **QUIETLY)
    panel.on_thumb(parts["passages"], partial(compare.judge_passage, bench), judging, parts["note"])
    for side in picked[1:]:
        side.input(show_score, picked, parts["score"], **QUIETLY)
    parts["right"].input(lambda: True, None, parts["is_picked"], queue=False, **QUIETLY)  # a person chose that side
    parts["refresh"] = Refresh(
        fn=with_link(partial(pickers.list_compare_choices, bench)),
        inputs=[*picked, parts["is_picked"]],
        outputs=outputs_of(parts, pickers.CompareChoices),
    )
    return parts | {"question": question}


def _build_pickers(parts: Parts) -> None:
    with gr.Row(elem_classes="pickers"):
        parts["left"] = gr.Dropdown(label="Left", choices=[], scale=2, min_width=130, elem_id="left-retriever")
        parts["right"] = gr.Dropdown(label="Right", choices=[], scale=2, min_width=130, elem_id="right-retriever")
        parts["more"] = gr.Dropdown(
            label="More (two at most)",
            choices=[],
            value=[],
            multiselect=True,
            max_choices=MAX_SIDES - 2,
            scale=2,
            min_width=130,
            elem_id="more-retrievers",
        )


def _build_contrasts(bench: Workbench, parts: Parts, question: gr.Textbox) -> None:
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
    pair = [parts["corpus"], parts["left"], parts["right"]]
    among = partial(compare.list_contrasts, bench)
    box.expand(lambda corpus, left, right: among(corpus, left, right, None), pair, [found, note], **slowly)
    upload.upload(among, [*pair, upload], [found, note], **slowly)
    found.click(lambda sample: sample[0], found, question, api_visibility="private", queue=False)
