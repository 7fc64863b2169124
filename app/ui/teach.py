"""The Teach tab: what to teach on the left, what comes of it on the right, every run below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from app.handlers import teach
from app.handlers.buttons import ConfirmView, dismiss, teachers
from app.handlers.teach import RunView, show_runs, tick
from app.jobs.launching import Form
from app.ui.panel import QUIETLY, Parts, Refresh, outputs_of
from app.workbench import Workbench


def build_form(bench: Workbench, corpus: gr.Dropdown) -> Parts:
    """The form by the fields of `Form`, and what surrounds it, without events; it is about what `corpus` has picked."""
    gr.HTML("<h2>Teach a retriever</h2>", js_on_load=None)
    fields: Parts = {"corpus": corpus}
    fields["source"] = gr.Radio(
        label="Questions",
        info="Questions that people really asked teach most: 300 to 1,000, without answers.",
        choices=[
            ("Have them written", "write"),
            ("Written like mine", "like"),
            ("From a file", "upload"),
        ],
        value="write",
        elem_id="teach-source",
    )
    fields["upload"] = gr.File(
        label="Questions (.txt with one a line, .jsonl or .jsonl.gz)",
        file_types=[".txt", ".jsonl", ".gz"],
        height=150,
        visible=False,
        elem_id="teach-upload",
    )
    offered = teachers(bench)
    fields["teacher"] = gr.Radio(label="Teacher", **offered, value=offered["choices"][0][1], elem_id="teach-teacher")
    fields["train"] = gr.Radio(
        label="How long it may take",
        info="Thorough teaches more; Quick changes only how questions are read.",
        choices=[("Quick", "query"), ("Thorough", "both")],
        value="both",
        elem_id="teach-train",
    )
    fields["budget"] = gr.Textbox(
        label="What it may cost at most",
        placeholder="2.50 usd or 200000 tokens; empty: any",
        visible=False,
        elem_id="teach-budget",
    )
    fields["people"] = gr.Checkbox(label="", visible=False, container=False, elem_id="teach-people")
    fields["foreseen"] = gr.HTML(elem_id="teach-foreseen", js_on_load=None)
    fields["teach"] = gr.Button("Teach", variant="primary", elem_id="teach-button")
    fields["message"] = gr.HTML(elem_id="teach-message", js_on_load=None)
    return fields


def wire_form(bench: Workbench, fields: Parts, tab: gr.Tab, picked: gr.Dropdown, refresh: Refresh) -> Refresh:
    """Its events, and the one that looks again at what can be filled in; the run that begins is the `picked` one."""
    inputs = [fields[name] for name in Form._fields]
    look = Refresh(fn=_with_form(partial(teach.look, bench)), inputs=inputs, outputs=outputs_of(fields, teach.FormView))
    filled = [fields[name].input for name in ("source", "teacher", "train", "budget", "people", "corpus")]
    look.on([tab.select, fields["upload"].upload, fields["upload"].clear, *filled])
    begun = outputs_of({**fields, "picked": picked}, teach.StartView)
    refresh.after(fields["teach"].click(_with_form(partial(teach.start, bench)), inputs, begun, **QUIETLY))
    return look


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


def wire_desk(bench: Workbench, parts: Parts, refresh: Refresh) -> None:
    """Its events."""
    parts |= {"doomed": gr.State(None), "asked": gr.State("")}
    picked, message = parts["picked"], parts["message"]
    promoted, doomed = outputs_of(parts, teach.PromoteView), outputs_of(parts, ConfirmView)
    asking = [parts["cancel"].click, parts["delete"].click]
    gr.on(asking, partial(teach.ask_to_delete, bench), picked, doomed, **QUIETLY)
    # what was said or asked about another run is not left standing over the one that is picked
    gr.on([parts["keep"].click, picked.input], lambda: dismiss(), None, doomed, **QUIETLY)
    for button, handler, inputs, outputs in (
        ("pause", teach.pause, picked, message),
        ("resume", teach.resume, [picked, parts["budget"]], message),
        ("promote", teach.promote_run, [picked, parts["asked"]], promoted),
        ("rollback", teach.roll_back, picked, message),
        ("confirm", teach.delete, parts["doomed"], doomed),
    ):
        refresh.after(parts[button].click(partial(handler, bench), inputs, outputs, **QUIETLY))


_TICK_S = 1.5


def build_teach(bench: Workbench, corpus: gr.Dropdown) -> Parts:
    """The tab with its events; `look` is about the form, whose `teacher` follows the page's LLM."""
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
        look = wire_form(bench, form, tab, desk["picked"], refresh)
        wire_desk(bench, desk, refresh)
    return {"tab": tab, "refresh": refresh, "look": look, "teacher": form["teacher"]}
