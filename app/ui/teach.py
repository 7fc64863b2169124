"""The Teach tab: what to teach on the left, what comes of it on the right, every run below."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from app.classroom import Classroom
from app.handlers.run_view import RunView, show_runs
from app.teaching.jobs import Jobs
from app.ui.lesson_form import build_form, wire_form
from app.ui.refresh import Refresh
from app.ui.run_desk import build_desk, wire_desk
from app.workbench import Workbench

_TICK_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachTab:
    """What other parts of the page need of this tab; it also looks again at each of `triggers`."""

    tab: gr.Tab
    refresh: Refresh
    triggers: tuple[Any, ...]


def build_teach(bench: Workbench) -> TeachTab:
    """The tab with its events."""
    room = Classroom(bench=bench, jobs=bench.jobs or Jobs(bench.paths))
    with gr.Tab("Teach", id="teach") as tab:
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                form = build_form(bench)
            with gr.Column(scale=6, min_width=320):
                desk = build_desk()
        gr.HTML("<h2>Every run</h2>", js_on_load=None)
        table = gr.HTML(elem_id="teach-runs", js_on_load=None)
        timer = gr.Timer(_TICK_S, active=False)
        seen = gr.State({})
        parts = {**desk.parts, "corpus": form.fields["corpus"], "picked": desk.picked, "table": table, "timer": timer}
        refresh = Refresh(
            fn=partial(show_runs, room),
            inputs=[form.fields["corpus"], desk.picked, seen],
            outputs=[seen if name == "seen" else parts[name] for name in RunView._fields],
        )
        wire_form(room, form, tab, desk.picked, refresh)
        wire_desk(room, desk, form.fields["key"], refresh)
    return TeachTab(tab=tab, refresh=refresh, triggers=(timer.tick, desk.picked.input))
