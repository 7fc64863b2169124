"""The Teach tab: what to teach on the left, what comes of it on the right, every run below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from app.handlers import teach
from app.handlers.teach import RunView, show_runs, tick
from app.jobs.launching import LEAST_CANDIDATES, LEAST_WRITTEN, MOST_CANDIDATES, MOST_WRITTEN, Form
from app.ui.panel import QUIETLY, Parts, Refresh, Tab, outputs_of
from app.workbench import Workbench
from distill.llm.weights import LOCAL_MODELS

_TEACHER_INFO = (
    "With None no LLM puts passages in order: the ranker as it begins teaches alone, and every LLM has to beat that. "
    "If questions are to be written, the page's LLM still writes them."
)


def build_form(bench: Workbench, corpus: gr.Dropdown) -> Parts:
    """The form by the fields of `Form`, and what surrounds it, without events; it is about what `corpus` has picked."""
    gr.HTML(
        "<h2>Teach a retriever</h2><p class='aside'>An LLM puts passages in order, and the retriever learns from that "
        "order. What is filled in will do; press Teach.</p>",
        js_on_load=None,
    )
    fields: Parts = {"corpus": corpus}
    _build_questions(fields)
    _build_teacher(fields, bench)
    _build_training(fields)
    _build_more(fields)
    fields["foreseen"] = gr.HTML(elem_id="teach-foreseen", js_on_load=None)
    fields["teach"] = gr.Button("Teach", variant="primary", elem_id="teach-button")
    fields["message"] = gr.HTML(elem_id="teach-message", js_on_load=None)
    return fields


def _build_questions(fields: Parts) -> None:
    fields["source"] = gr.Radio(
        label="Questions",
        info="Questions that people really asked teach most: 300 to 1,000, without answers.",
        choices=[("Have them written", "write"), ("Upload a file", "upload")],
        value="write",
        elem_id="teach-source",
    )
    with gr.Group() as fields["writing"]:
        fields["n_written"] = gr.Number(
            label="How many", value=200, minimum=LEAST_WRITTEN, maximum=MOST_WRITTEN, precision=0, elem_id="teach-n"
        )
        fields["like"] = gr.Textbox(
            label="A few real questions, one a line (optional)",
            info="Three to twenty: the LLM then writes in their manner.",
            lines=3,
            max_lines=8,
            elem_id="teach-like",
        )
    with gr.Group(visible=False) as fields["uploading"]:
        fields["upload"] = gr.File(
            label="Questions (.txt with one a line, .jsonl or .jsonl.gz)",
            file_types=[".txt", ".jsonl", ".gz"],
            height=170,
            elem_id="teach-upload",
        )


def _build_teacher(fields: Parts, bench: Workbench) -> None:
    fields["teacher"] = gr.Radio(
        label="Teacher",
        choices=_teachers(bench),
        value=_teachers(bench)[0][1],
        info=_TEACHER_INFO,
        elem_id="teach-teacher",
    )
    with gr.Group(visible=False) as fields["endpoint"]:
        fields["base_url"] = gr.Textbox(
            label="Address of the endpoint", placeholder="http://localhost:8000/v1", elem_id="teach-url"
        )
        fields["model"] = gr.Textbox(label="Model", elem_id="teach-model")
        fields["key"] = gr.Textbox(
            label="Key",
            type="password",
            info="Handed to the run in its environment; never written to disk, a log or a command.",
            elem_id="teach-key",
        )


def _teachers(bench: Workbench) -> list[tuple[str, str]]:
    """Who can teach, the usual one first; those that come with the page are too small: they would be refused."""
    others = [("None (the free control)", "none"), ("Another endpoint", "endpoint")]
    if bench.llm.local_llm not in LOCAL_MODELS:
        others.append((f"Embedded here: {bench.llm.local_llm}", "embedded"))
    return others if bench.llm.is_embedded else [(f"The page's LLM: {bench.llm_name}", "page"), *others]


def _build_training(fields: Parts) -> None:
    fields["train"] = gr.Radio(
        label="What learns",
        choices=[("Both sides (teaches more)", "both"), ("The question side (faster)", "query")],
        value="both",
        info="Either way the corpus is embedded once more.",
        elem_id="teach-train",
    )
    fields["votes"] = gr.Checkbox(
        label="Use people's votes too",
        info="Their orders count beside the teacher's, or alone; the questions they voted on train.",
        visible=False,
        elem_id="teach-votes",
    )
    fields["asked"] = gr.Checkbox(
        label="Use the questions asked here too",
        info="They train, and are never held out, as nobody said what answers them.",
        visible=False,
        elem_id="teach-asked",
    )


def _build_more(fields: Parts) -> None:
    with gr.Accordion("More", open=False, elem_id="teach-more"):
        fields["name"] = gr.Textbox(
            label="Name of the new retriever", placeholder="made up for you", max_length=60, elem_id="teach-name"
        )
        fields["n_candidates"] = gr.Slider(
            label="Passages to put in order for each question",
            minimum=LEAST_CANDIDATES,
            maximum=MOST_CANDIDATES,
            step=1,
            value=10,
            elem_id="teach-candidates",
        )
        fields["budget"] = gr.Textbox(
            label="Budget",
            placeholder="none",
            info="Like 2.50 usd, or 200000 tokens: the run stops before a request could pass it.",
            elem_id="teach-budget",
        )


def wire_form(bench: Workbench, fields: Parts, tab: gr.Tab, picked: gr.Dropdown, refresh: Refresh) -> None:
    """Its events; the run that begins becomes the `picked` one."""
    inputs = [fields[name] for name in Form._fields]
    shaping = [fields["source"], fields["teacher"]]
    shaped = [fields["writing"], fields["uploading"], fields["endpoint"]]
    gr.on([each.change for each in shaping], teach.shape_form, shaping, shaped, **QUIETLY)
    looks = [tab.select, fields["corpus"].input]
    offered = outputs_of(fields, teach.OfferView)
    gr.on(looks, partial(teach.offer, bench), fields["corpus"], offered, **QUIETLY)
    typed = [fields[name].input for name in Form._fields if name not in ("corpus", "upload", "like", "key")]
    gr.on(
        [*looks, fields["upload"].upload, fields["upload"].clear, *typed],
        _with_form(partial(teach.estimate, bench)),
        inputs,
        fields["foreseen"],
        trigger_mode="always_last",
        **QUIETLY,
    )
    begun = outputs_of({**fields, "picked": picked}, teach.StartView)
    refresh.after(fields["teach"].click(_with_form(partial(teach.start, bench)), inputs, begun, **QUIETLY))


def _with_form(handler: Callable[[Form], Any]) -> Callable[..., Any]:
    """`handler` as gradio calls it, with a value for each input."""
    return lambda *values: handler(Form(*values))


def build_desk() -> Parts:
    """The picker of the run and everything about the picked one, by the fields of `RunView`, without its events."""
    parts: Parts = {}
    parts["picked"] = gr.Dropdown(label="Run", choices=[], visible=False, elem_id="teach-run")
    parts["headline"] = gr.HTML(elem_id="teach-headline", js_on_load=None)
    with gr.Row(elem_classes="controls"):
        parts["pause"] = _button("Pause", "teach-pause")
        parts["budget"] = gr.Textbox(
            label="Budget, what is spent included",
            placeholder="none",
            visible=False,
            min_width=150,
            elem_id="teach-more-budget",
        )
        parts["resume"] = _button("Resume", "teach-resume", variant="primary")
        parts["cancel"] = _button("Cancel", "teach-cancel")
        parts["promote"] = _button("Promote: let it answer", "teach-promote", min_width=200)
        parts["rollback"] = _button("Roll back", "teach-rollback")
        parts["delete"] = _button("Delete", "teach-delete")
    parts["message"] = gr.HTML(elem_id="teach-said", js_on_load=None)
    with gr.Group(visible=False) as parts["box"], gr.Row():
        parts["confirm"] = gr.Button("Yes, delete", variant="stop", elem_id="teach-confirm")
        parts["keep"] = gr.Button("No, keep", elem_id="teach-keep")
    for name in ("bars", "stages", "figures", "curves"):
        parts[name] = gr.HTML(elem_id=f"teach-{name}", js_on_load=None)
    with gr.Accordion("Report", open=False, visible=False, elem_id="teach-report-box") as parts["report_box"]:
        parts["report"] = gr.HTML(elem_id="teach-report", js_on_load=None)
    with gr.Accordion("Log", open=False, visible=False, elem_id="teach-log-box") as parts["log_box"]:
        parts["log"] = gr.HTML(elem_id="teach-log", js_on_load=None)
    return parts


def _button(label: str, element: str, variant: Any = "secondary", min_width: int = 110) -> gr.Button:
    return gr.Button(label, variant=variant, visible=False, min_width=min_width, elem_id=element)


def wire_desk(bench: Workbench, parts: Parts, key: gr.Textbox, refresh: Refresh) -> None:
    """Its events; a run whose key is not known goes on with what is typed into `key`."""
    parts |= {"doomed": gr.State(None), "asked": gr.State("")}
    picked, message = parts["picked"], parts["message"]
    promoted, doomed = outputs_of(parts, teach.PromoteView), outputs_of(parts, teach.DoomView)
    asking = [parts["cancel"].click, parts["delete"].click]
    gr.on(asking, partial(teach.ask_to_delete, bench), picked, doomed, **QUIETLY)
    # what was said or asked about another run is not left standing over the one that is picked
    gr.on([parts["keep"].click, picked.input], teach.keep, None, doomed, **QUIETLY)
    for button, handler, inputs, outputs in (
        ("pause", teach.pause, picked, message),
        ("resume", teach.resume, [picked, parts["budget"], key], message),
        ("promote", teach.promote_run, [picked, parts["asked"]], promoted),
        ("rollback", teach.roll_back, picked, message),
        ("confirm", teach.delete, parts["doomed"], doomed),
    ):
        refresh.after(parts[button].click(partial(handler, bench), inputs, outputs, **QUIETLY))


_TICK_S = 1.5


def build_teach(bench: Workbench, corpus: gr.Dropdown) -> Tab:
    """The tab with its events."""
    with gr.Tab("Teach", id="teach") as tab:
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                form = build_form(bench, corpus)
            with gr.Column(scale=6, min_width=320):
                desk = build_desk()
        gr.HTML("<h2>Every run</h2>", js_on_load=None)
        desk["table"] = gr.HTML(elem_id="teach-runs", js_on_load=None)
        desk["timer"] = gr.Timer(_TICK_S, active=False)
        desk["seen"] = gr.State({})
        refresh = Refresh(
            fn=partial(show_runs, bench),
            inputs=[desk["picked"], desk["seen"]],
            outputs=outputs_of(desk, RunView),
        )
        refresh.on([desk["picked"].input])
        replace(refresh, fn=partial(tick, bench)).on([desk["timer"].tick])
        wire_form(bench, form, tab, desk["picked"], refresh)
        wire_desk(bench, desk, form["key"], refresh)
    return Tab(tab=tab, refresh=refresh)
