"""The Compare tab: one question, two retrievers side by side, and a vote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from app.handlers import comparing, contrasting, pickers, voting
from app.handlers.buttons import StopFlag, press_stop
from app.ui.panel import build_answer, build_passages, on_thumb
from app.ui.refresh import Refresh
from app.votes import Verdict
from app.workbench import Workbench

_N_AT_ONCE = 4
_BALLOT: tuple[tuple[str, Verdict], ...] = (
    ("Left is better", "left"),
    ("Right is better", "right"),
    ("Both are good", "tie"),
    ("Both are bad", "both bad"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareTab:
    """What other parts of the page need of this tab."""

    tab: gr.Tab
    refresh: Refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pickers:
    corpus: gr.Dropdown
    left: gr.Dropdown
    right: gr.Dropdown

    @property
    def all(self) -> list[gr.Dropdown]:
        return [self.corpus, self.left, self.right]


def build_compare(bench: Workbench, visitor: gr.BrowserState) -> CompareTab:
    """The tab with its events."""
    with gr.Tab("Compare", id="compare") as tab:
        flag, compared = gr.State(StopFlag()), gr.State(None)
        with gr.Row(elem_classes="pickers"):
            picked = _Pickers(
                corpus=gr.Dropdown(label="Corpus", choices=[], scale=2, min_width=200, elem_id="compare-corpus"),
                left=gr.Dropdown(label="Left", choices=[], scale=2, min_width=200, elem_id="left-retriever"),
                right=gr.Dropdown(label="Right", choices=[], scale=2, min_width=200, elem_id="right-retriever"),
            )
        teach = gr.HTML(visible=False, elem_id="compare-teach", js_on_load=None)
        with gr.Column(visible=False) as body:
            with gr.Row(elem_classes="question"):
                question = gr.Textbox(
                    label="Question",
                    placeholder="One question for both retrievers, then press Enter",
                    lines=1,
                    show_label=False,
                    container=False,
                    scale=8,
                    min_width=240,
                    elem_id="compare-question",
                )
                button = gr.Button("Compare", variant="primary", scale=1, min_width=110, elem_id="compare-button")
                stop = gr.Button("Stop", interactive=False, scale=1, min_width=90, elem_id="compare-stop")
            with gr.Row(elem_classes="options"):
                with_answers = gr.Checkbox(
                    label="Write both answers", value=True, container=False, min_width=180, elem_id="compare-answers"
                )
                is_blind = gr.Checkbox(
                    label="Blind: the lot decides the sides, and your vote names them",
                    value=False,
                    container=False,
                    min_width=300,
                    elem_id="compare-blind",
                )
            _build_contrasts(bench, picked, question)
            summary = gr.HTML(elem_id="compare-summary", js_on_load=None)
            with gr.Row(elem_classes="sides"):
                with gr.Column(min_width=320):
                    left_title = gr.HTML(elem_id="left-title", js_on_load=None)
                    left_answer = build_answer("left")
                with gr.Column(min_width=320):
                    right_title = gr.HTML(elem_id="right-title", js_on_load=None)
                    right_answer = build_answer("right")
            with gr.Row(visible=False, elem_id="compare-ballot", elem_classes="ballot") as ballot:
                buttons = [
                    (gr.Button(label, size="sm", min_width=110, elem_id=f"vote-{verdict.replace(' ', '-')}"), verdict)
                    for label, verdict in _BALLOT
                ]
            note = gr.HTML(elem_id="compare-note", js_on_load=None)
            passages = build_passages("compare")
            score = gr.HTML(elem_id="compare-score", js_on_load=None)

    view = comparing.CompareView(
        summary=summary,
        left_title=left_title,
        left_answer=left_answer,
        right_title=right_title,
        right_answer=right_answer,
        passages=passages,
        compare=button,
        stop=stop,
        ballot=ballot,
        note=note,
        compared=compared,
    )
    gr.on(
        [button.click, question.submit],
        partial(comparing.compare, bench),
        [question, *picked.all, with_answers, is_blind, flag],
        list(view),
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=_N_AT_ONCE,
    )
    stop.click(press_stop, flag, stop, api_visibility="private", queue=False)
    outcome = [note, score, summary, left_title, right_title, passages, compared]
    for each, verdict in buttons:
        each.click(
            partial(voting.vote, bench, verdict),
            [compared, visitor],
            outcome,
            api_visibility="private",
            show_progress="hidden",
        )
    on_thumb(passages, partial(voting.judge_passage, bench), [compared, visitor], note)
    for side in (picked.left, picked.right):
        side.input(
            partial(voting.show_score, bench), picked.all, score, api_visibility="private", show_progress="hidden"
        )
    refresh = Refresh(
        fn=partial(pickers.list_compare_choices, bench),
        inputs=picked.all,
        outputs=[*picked.all, teach, body, score],
    )
    refresh.on([picked.corpus.input])
    return CompareTab(tab=tab, refresh=refresh)


def _build_contrasts(bench: Workbench, picked: _Pickers, question: gr.Textbox) -> None:
    """The list of questions on which the two retrievers differ most."""
    with gr.Accordion("Questions on which they differ most", open=False, elem_id="compare-contrasts"):
        with gr.Row(elem_classes="options"):
            find = gr.Button("Look for them", size="sm", scale=0, min_width=150, elem_id="contrast-find")
            upload = gr.UploadButton(
                "Look among questions of a file",
                file_types=[".jsonl", ".txt"],
                size="sm",
                scale=0,
                min_width=240,
                elem_id="contrast-upload",
            )
        note = gr.HTML(elem_id="contrast-note", js_on_load=None)
        found = gr.Dataset(
            label="Most different first",
            components=[gr.Textbox(visible=False), gr.Textbox(visible=False)],
            headers=["Question", "In common"],
            samples=[],
            visible=False,
            elem_id="contrast-list",
        )
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": 1}

    def among_known(corpus: str | None, left: str | None, right: str | None) -> contrasting.ContrastView:
        return contrasting.list_contrasts(bench, corpus, left, right, None)

    find.click(among_known, picked.all, [found, note], **quietly)
    upload.upload(partial(contrasting.list_contrasts, bench), [*picked.all, upload], [found, note], **quietly)
    found.click(_first, found, question, api_visibility="private", queue=False)


def _first(sample: list[str]) -> str:
    return sample[0]
