"""The Evaluate tab: judged questions, what every retriever found of them, and how good answers from it are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import gradio as gr
from gradio.components import Component

from app.evaluating import EXAMPLE, METRICS, ORDERS
from app.handlers import evaluate
from app.handlers.buttons import StopFlag, press_stop
from app.ui.panel import QUIETLY, Parts, Refresh, outputs_of
from app.workbench import Workbench


def _build_answers(bench: Workbench, judged: Sequence[Component]) -> gr.Dropdown:
    """The part with its events, of which the retriever can be picked.

    `judged` are the pickers of the corpus, of its judged questions, and of their file.
    """
    flag, parts = gr.State(StopFlag()), Parts()
    with gr.Accordion("Answer quality: ask the LLM too", open=False, elem_id="evaluate-answers-box"):
        gr.HTML(
            '<p class="aside">Where answers are known, the LLM answers from what the retriever found, and is compared: '
            "exact match, F1 of words, and whether it refuses questions that have neither an answer nor a relevant "
            "document. Each question is one request to the LLM.</p>",
            js_on_load=None,
        )
        with gr.Row(elem_classes="question"):
            parts["retriever"] = gr.Dropdown(label="Retriever", choices=[], min_width=200, elem_id="answers-retriever")
            parts["limit"] = gr.Number(
                label="Questions at most",
                value=20,
                minimum=1,
                maximum=evaluate.MAX_ANSWERS,
                precision=0,
                min_width=120,
                elem_id="answers-limit",
            )
            parts["ask"] = gr.Button("Ask the LLM", min_width=120, elem_id="answers-button")
            parts["stop"] = gr.Button("Stop", interactive=False, min_width=90, elem_id="answers-stop")
        parts["progress"] = gr.HTML(elem_id="answers-progress", js_on_load=None)
        parts["answers"] = gr.HTML(elem_id="answers-table", js_on_load=None)
    parts["ask"].click(
        partial(evaluate.judge_answers, bench),
        [*judged, parts["retriever"], parts["limit"], flag],
        outputs_of(parts, evaluate.AnswersView),
        concurrency_limit=1,
        **QUIETLY,
    )
    parts["stop"].click(press_stop, flag, parts["stop"], api_visibility="private", queue=False)
    return parts["retriever"]  # type: ignore[no-any-return]


_FORM = (
    '<details class="form"><summary>What the file looks like</summary><p class="aside">One question a line, '
    "<code>.jsonl</code> or <code>.jsonl.gz</code>. <code>positives</code> are the ids of the documents that answer "
    "it: file names, or the ids of a jsonl corpus. <code>answers</code> are optional; lines of split "
    f'<code>"train"</code> are left out.</p><pre class="command" tabindex="0">{escape(EXAMPLE)}</pre></details>'
)


def build_evaluate(bench: Workbench, corpus: gr.Dropdown) -> Parts:
    """The tab with its events."""
    parts: Parts = {"corpus": corpus}
    with gr.Tab("Evaluate", id="evaluate") as parts["tab"]:
        parts["evaluation"] = gr.State(None)
        _build_form(parts)
        _build_results(parts)
        retriever = _build_answers(bench, [corpus, parts["source"], parts["file"]])
    _wire_evaluation(bench, parts)
    choices = [corpus, parts["source"], retriever]
    refresh = Refresh(fn=partial(evaluate.list_choices, bench), inputs=choices, outputs=choices)
    return parts | {"refresh": refresh}


def _build_form(parts: Parts) -> None:
    gr.HTML(
        '<p class="aside">How often does each retriever find what answers a question? Questions whose relevant '
        "documents are known say it: every retriever of the corpus is asked all of them.</p>",
        js_on_load=None,
    )
    with gr.Row(elem_classes="pickers"):
        with gr.Column(scale=5, min_width=300):
            parts["source"] = gr.Dropdown(
                label="Judged questions", choices=[("The file that I upload", "")], value="", elem_id="evaluate-source"
            )
            with gr.Row():
                parts["limit"] = gr.Number(
                    label="Questions at most",
                    value=1000,
                    minimum=1,
                    maximum=evaluate.MAX_QUESTIONS,
                    precision=0,
                    min_width=120,
                    elem_id="evaluate-limit",
                )
                parts["metric"] = gr.Dropdown(
                    label="Compare in", choices=list(METRICS), value="ndcg@10", min_width=120, elem_id="evaluate-metric"
                )
        with gr.Column(scale=5, min_width=300):
            parts["file"] = gr.File(
                label="Questions (.jsonl or .jsonl.gz)",
                file_count="single",
                height=150,
                elem_id="evaluate-file",
            )
            gr.HTML(_FORM, elem_id="evaluate-form", js_on_load=None)
    with gr.Row():
        parts["evaluate"] = gr.Button("Evaluate", variant="primary", scale=3, min_width=140, elem_id="evaluate-button")
        parts["stop"] = gr.Button("Stop", interactive=False, scale=1, min_width=90, elem_id="evaluate-stop")
    parts["progress"] = gr.HTML(elem_id="evaluate-progress", js_on_load=None)


def _build_results(parts: Parts) -> None:
    with gr.Column(visible=False, elem_id="evaluate-results") as parts["results"]:
        parts["figures"] = gr.HTML(elem_id="evaluate-figures", js_on_load=None)
        parts["charts"] = gr.HTML(elem_id="evaluate-charts", js_on_load=None)
        with gr.Row(elem_classes="downloads"):
            for label, kind in (("Figures as CSV", "csv"), ("TREC runs", "trec"), ("Charts as SVG", "svg")):
                parts[kind] = gr.DownloadButton(label, size="sm", min_width=120, elem_id=f"evaluate-{kind}")
        gr.HTML(
            "<h2>Question by question</h2><p class='aside'>Pick one to see what both sides found.</p>", js_on_load=None
        )
        with gr.Row(elem_classes="pickers"):
            parts["left"] = gr.Dropdown(label="From", choices=[], min_width=180, elem_id="evaluate-left")
            parts["right"] = gr.Dropdown(label="To", choices=[], min_width=180, elem_id="evaluate-right")
            parts["order"] = gr.Dropdown(
                label="Order", choices=list(ORDERS), value=ORDERS[0], min_width=180, elem_id="evaluate-order"
            )
        parts["questions"] = gr.Dataset(
            label="Questions",
            show_label=False,
            components=[gr.Textbox(visible=False, render=False) for _ in range(4)],
            headers=["Change", "From", "To", "Question"],
            samples=[],
            samples_per_page=12,
            type="index",
            elem_id="evaluate-questions",
        )
        parts["opened"] = gr.HTML(elem_id="evaluate-question", js_on_load=None)


def _wire_evaluation(bench: Workbench, parts: Parts) -> None:
    flag = gr.State(StopFlag())
    asked = [parts[name] for name in ("corpus", "source", "file", "limit", "metric")]
    compared = [parts[name] for name in ("evaluation", "left", "right", "metric", "order")]
    parts["evaluate"].click(
        partial(evaluate.run_evaluation, bench),
        [*asked, flag],
        outputs_of(parts, evaluate.EvaluationView),
        concurrency_limit=2,
        **QUIETLY,
    ).then(evaluate.list_pairs, compared, parts["questions"], **QUIETLY)
    parts["stop"].click(press_stop, flag, parts["stop"], api_visibility="private", queue=False)
    parts["file"].upload(lambda: evaluate.UPLOADED, None, parts["source"], **QUIETLY)
    changed = outputs_of(parts, evaluate.MetricView)
    parts["metric"].input(evaluate.change_metric, [parts["evaluation"], parts["metric"]], changed, **QUIETLY)
    changes = [parts[name].input for name in ("left", "right", "order", "metric")]
    gr.on(changes, evaluate.list_pairs, compared, parts["questions"], **QUIETLY)
    clicked = [parts["questions"], *compared]
    parts["questions"].click(partial(evaluate.open_pair, bench), clicked, parts["opened"], **QUIETLY)
