"""The banner above the tabs: what goes on in the background."""

from __future__ import annotations

from typing import NamedTuple

import gradio as gr

from app.handlers.buttons import Update
from app.tables import stages_html
from app.workbench import Workbench


class BackgroundView(NamedTuple):
    """What goes on in the background; `finished` counts up when something has ended, so that pickers look again."""

    banner: Update
    timer: Update
    finished: Update


def show_background(bench: Workbench, finished: int | None) -> BackgroundView:
    """The state of the background work now; the timer runs as long as there is any.

    A page that is opened (`finished` is None then) after all work has ended has nothing to look at again.
    """
    is_busy = bench.background.is_busy  # before the stages: work that ends in between is told by the next look
    stages = bench.background.stages
    n_ended = sum(stage.state != "working" for stage in stages)
    is_news = n_ended != finished and (is_busy or finished is not None)
    return BackgroundView(
        banner=gr.update(value=stages_html(stages), visible=any(stage.state != "done" for stage in stages)),
        timer=gr.update(active=is_busy),
        finished=n_ended if is_news else gr.skip(),
    )
