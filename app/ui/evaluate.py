"""The Evaluate tab: judged questions, what every retriever found of them, and how good answers from it are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from app.evaluating import EXAMPLE, ORDERS
from app.evaluation_report import METRICS
from app.handlers import evaluate
from app.handlers.buttons import StopFlag, press_stop
from app.ui.panel import Refresh
from app.workbench import Workbench

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQuality:
    """The part's elements."""

    retriever: gr.Dropdown
    limit: gr.Number
    ask: gr.Button
    stop: gr.Button
    progress: gr.HTML
    answers: gr.HTML


def build_answers() -> AnswerQuality:
    """The part without its events."""
    with gr.Accordion("Answer quality: ask the LLM too", open=False, elem_id="evaluate-answers-box"):
        gr.HTML(
            '<p class="aside">Where answers are known, the LLM answers from what the retriever found, and is compared: '
            "exact match, F1 of words, and whether it refuses questions that have neither an answer nor a relevant "
            "document. Each question is one request to the LLM.</p>",
            js_on_load=None,
        )
        with gr.Row(elem_classes="question"):
            retriever = gr.Dropdown(label="Retriever", choices=[], min_width=200, elem_id="answers-retriever")
            limit = gr.Number(
                label="Questions at most",
                value=20,
                minimum=1,
                maximum=evaluate.MAX_ANSWERS,
                precision=0,
                min_width=120,
                elem_id="answers-limit",
            )
            ask = gr.Button("Ask the LLM", min_width=120, elem_id="answers-button")
            stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="answers-stop")
        progress = gr.HTML(elem_id="answers-progress", js_on_load=None)
        answers = gr.HTML(elem_id="answers-table", js_on_load=None)
    return AnswerQuality(retriever=retriever, limit=limit, ask=ask, stop=stop, progress=progress, answers=answers)


def wire_answers(bench: Workbench, answers: AnswerQuality, judged: Sequence[Component]) -> None:
    """Its events; `judged` are the pickers of the corpus, of its judged questions, and of their file."""
    flag = gr.State(StopFlag())
    answers.ask.click(
        partial(evaluate.judge_answers, bench),
        [*judged, answers.retriever, answers.limit, flag],
        [answers.progress, answers.answers, answers.ask, answers.stop],
        concurrency_limit=1,
        **_QUIET,
    )
    answers.stop.click(press_stop, flag, answers.stop, api_visibility="private", queue=False)


_FORM = (
    '<details class="form"><summary>What the file looks like</summary><p class="aside">One question a line, '
    "<code>.jsonl</code> or <code>.jsonl.gz</code>. <code>positives</code> are the ids of the documents that answer "
    "it: file names, or the ids of a jsonl corpus. <code>answers</code> are optional; lines of split "
    f'<code>"train"</code> are left out.</p><pre class="command">{escape(EXAMPLE)}</pre></details>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateTab:
    """What other parts of the page need of this tab."""

    tab: gr.Tab
    refresh: Refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    corpus: gr.Dropdown
    source: gr.Dropdown
    file: gr.File
    limit: gr.Number
    metric: gr.Dropdown
    go: gr.Button
    stop: gr.Button
    progress: gr.HTML


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    box: gr.Column
    figures: gr.HTML
    charts: gr.HTML
    csv: gr.DownloadButton
    trec: gr.DownloadButton
    svg: gr.DownloadButton
    left: gr.Dropdown
    right: gr.Dropdown
    order: gr.Dropdown
    questions: gr.Dataset
    opened: gr.HTML


def build_evaluate(bench: Workbench, corpus: gr.Dropdown) -> EvaluateTab:
    """The tab with its events."""
    with gr.Tab("Evaluate", id="evaluate") as tab:
        form = _build_form(corpus)
        results = _build_results()
        answers = build_answers()
    evaluation = gr.State(None)
    _wire_evaluation(bench, form, results, evaluation)
    _wire_questions(bench, form, results, evaluation)
    wire_answers(bench, answers, [form.corpus, form.source, form.file])
    refresh = Refresh(
        fn=partial(evaluate.list_choices, bench),
        inputs=[form.corpus, form.source, answers.retriever],
        outputs=[form.corpus, form.source, answers.retriever],
    )
    return EvaluateTab(tab=tab, refresh=refresh)


def _build_form(corpus: gr.Dropdown) -> _Form:
    gr.HTML(
        '<p class="aside">How often does each retriever find what answers a question? Questions whose relevant '
        "documents are known say it: every retriever of the corpus is asked all of them.</p>",
        js_on_load=None,
    )
    with gr.Row(elem_classes="pickers"):
        with gr.Column(scale=5, min_width=300):
            source = gr.Dropdown(
                label="Judged questions", choices=[("The file that I upload", "")], value="", elem_id="evaluate-source"
            )
            with gr.Row():
                limit = gr.Number(
                    label="Questions at most",
                    value=1000,
                    minimum=1,
                    maximum=evaluate.MAX_QUESTIONS,
                    precision=0,
                    min_width=120,
                    elem_id="evaluate-limit",
                )
                metric = gr.Dropdown(
                    label="Compare in", choices=list(METRICS), value="ndcg@10", min_width=120, elem_id="evaluate-metric"
                )
        with gr.Column(scale=5, min_width=300):
            file = gr.File(
                label="Questions (.jsonl or .jsonl.gz)",
                file_count="single",
                height=150,
                elem_id="evaluate-file",
            )
            gr.HTML(_FORM, elem_id="evaluate-form", js_on_load=None)
    with gr.Row():
        go = gr.Button("Evaluate", variant="primary", scale=3, min_width=140, elem_id="evaluate-button")
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=90, elem_id="evaluate-stop")
    progress = gr.HTML(elem_id="evaluate-progress", js_on_load=None)
    return _Form(
        corpus=corpus, source=source, file=file, limit=limit, metric=metric, go=go, stop=stop, progress=progress
    )


def _build_results() -> _Results:
    with gr.Column(visible=False, elem_id="evaluate-results") as box:
        figures = gr.HTML(elem_id="evaluate-figures", js_on_load=None)
        charts = gr.HTML(elem_id="evaluate-charts", js_on_load=None)
        with gr.Row(elem_classes="downloads"):
            csv, trec, svg = (
                gr.DownloadButton(label, size="sm", min_width=120, elem_id=f"evaluate-{kind}")
                for label, kind in (("Figures as CSV", "csv"), ("TREC runs", "trec"), ("Charts as SVG", "svg"))
            )
        gr.HTML(
            "<h2>Question by question</h2><p class='aside'>Pick one to see what both sides found.</p>", js_on_load=None
        )
        with gr.Row(elem_classes="pickers"):
            left = gr.Dropdown(label="From", choices=[], min_width=180, elem_id="evaluate-left")
            right = gr.Dropdown(label="To", choices=[], min_width=180, elem_id="evaluate-right")
            order = gr.Dropdown(
                label="Order", choices=list(ORDERS), value=ORDERS[0], min_width=180, elem_id="evaluate-order"
            )
        questions = gr.Dataset(
            label="Questions",
            show_label=False,
            components=[gr.Textbox(visible=False, render=False) for _ in range(4)],
            headers=["Change", "From", "To", "Question"],
            samples=[],
            samples_per_page=12,
            type="index",
            elem_id="evaluate-questions",
        )
        opened = gr.HTML(elem_id="evaluate-question", js_on_load=None)
    return _Results(
        box=box,
        figures=figures,
        charts=charts,
        csv=csv,
        trec=trec,
        svg=svg,
        left=left,
        right=right,
        order=order,
        questions=questions,
        opened=opened,
    )


def _wire_evaluation(bench: Workbench, form: _Form, results: _Results, evaluation: gr.State) -> None:
    flag = gr.State(StopFlag())
    r = results
    form.go.click(
        partial(evaluate.run_evaluation, bench),
        [form.corpus, form.source, form.file, form.limit, form.metric, flag],
        [
            evaluation,
            form.progress,
            *(r.box, r.figures, r.charts, r.csv, r.trec, r.svg, r.left, r.right),
            form.go,
            form.stop,
        ],
        concurrency_limit=2,
        **_QUIET,
    ).then(evaluate.list_pairs, [evaluation, *_pickers(form, r)], r.questions, **_QUIET)
    form.stop.click(press_stop, flag, form.stop, api_visibility="private", queue=False)
    form.file.upload(lambda: evaluate.UPLOADED, None, form.source, **_QUIET)
    form.metric.input(evaluate.change_metric, [evaluation, form.metric], [r.figures, r.charts, r.svg], **_QUIET)


def _wire_questions(bench: Workbench, form: _Form, results: _Results, evaluation: gr.State) -> None:
    inputs = [evaluation, *_pickers(form, results)]
    gr.on(
        [results.left.input, results.right.input, results.order.input, form.metric.input],
        evaluate.list_pairs,
        inputs,
        results.questions,
        **_QUIET,
    )
    results.questions.click(partial(evaluate.open_pair, bench), [results.questions, *inputs], results.opened, **_QUIET)


def _pickers(form: _Form, results: _Results) -> list[gr.Dropdown]:
    return [results.left, results.right, form.metric, results.order]
