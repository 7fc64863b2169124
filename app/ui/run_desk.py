"""The right of the Teach tab: the run that is looked at, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from app.classroom import Classroom
from app.handlers import run_actions
from app.ui.refresh import Refresh

_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDesk:
    """The picker of the run and everything about the picked one; `parts` by the fields of `RunView`."""

    picked: gr.Dropdown
    parts: dict[str, Any]
    message: gr.HTML
    box: gr.Group
    confirm: gr.Button
    keep: gr.Button


def build_desk() -> RunDesk:
    """The desk without its events."""
    parts: dict[str, Any] = {}
    picked = gr.Dropdown(label="Run", choices=[], visible=False, elem_id="teach-run")
    parts["headline"] = gr.HTML(elem_id="teach-headline", js_on_load=None)
    with gr.Row(elem_classes="controls"):
        parts["pause"] = _button("Pause", "teach-pause")
        parts["budget"] = gr.Textbox(
            label="Budget from now on", placeholder="none", visible=False, min_width=150, elem_id="teach-more-budget"
        )
        parts["resume"] = _button("Resume", "teach-resume", variant="primary")
        parts["cancel"] = _button("Cancel", "teach-cancel")
        parts["promote"] = _button("Promote: let it answer", "teach-promote", min_width=200)
        parts["rollback"] = _button("Roll back", "teach-rollback")
        parts["delete"] = _button("Delete", "teach-delete")
    message = gr.HTML(elem_id="teach-said", js_on_load=None)
    with gr.Group(visible=False) as box, gr.Row():
        confirm = gr.Button("Yes, delete", variant="stop", elem_id="teach-confirm")
        keep = gr.Button("No, keep", elem_id="teach-keep")
    for name in ("bars", "stages", "figures", "curves"):
        parts[name] = gr.HTML(elem_id=f"teach-{name}", js_on_load=None)
    with gr.Accordion("Report", open=False, visible=False, elem_id="teach-report-box") as parts["report_box"]:
        parts["report"] = gr.HTML(elem_id="teach-report", js_on_load=None)
    with gr.Accordion("Log", open=False, visible=False, elem_id="teach-log-box") as parts["log_box"]:
        parts["log"] = gr.HTML(elem_id="teach-log", js_on_load=None)
    return RunDesk(picked=picked, parts=parts, message=message, box=box, confirm=confirm, keep=keep)


def _button(label: str, element: str, variant: Any = "secondary", min_width: int = 110) -> gr.Button:
    return gr.Button(label, variant=variant, visible=False, min_width=min_width, elem_id=element)


def wire_desk(room: Classroom, desk: RunDesk, key: gr.Textbox, refresh: Refresh) -> None:
    """Its events; a run whose key is not known goes on with what is typed into `key`."""
    doomed = gr.State(None)
    budget = desk.parts["budget"]
    done = [
        desk.parts["pause"].click(partial(run_actions.pause, room), desk.picked, desk.message, **_QUIETLY),
        desk.parts["resume"].click(
            partial(run_actions.resume, room), [desk.picked, budget, key], desk.message, **_QUIETLY
        ),
        desk.parts["promote"].click(partial(run_actions.promote_run, room), desk.picked, desk.message, **_QUIETLY),
        desk.parts["rollback"].click(partial(run_actions.roll_back, room), desk.picked, desk.message, **_QUIETLY),
    ]
    outputs = [desk.box, desk.message, doomed]
    gr.on(
        [desk.parts["cancel"].click, desk.parts["delete"].click],
        partial(run_actions.ask_to_delete, room),
        desk.picked,
        outputs,
        **_QUIETLY,
    )
    # what was said or asked about another run is not left standing over the one that is picked
    gr.on([desk.keep.click, desk.picked.input], run_actions.keep, None, outputs, **_QUIETLY)
    done.append(desk.confirm.click(partial(run_actions.delete, room), doomed, outputs, **_QUIETLY))
    for each in done:
        refresh.after(each)
