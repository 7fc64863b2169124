"""The start and the stop button of a tab, and what an update is."""

from __future__ import annotations

from typing import Any

import gradio as gr

Update = Any
"""A value for a component, an update of its properties, or `gr.skip()`."""


class StopFlag:
    """Whether this visitor has pressed Stop; one for each session and tab."""

    def __init__(self) -> None:
        self.is_set = False

    def read(self) -> bool:
        return self.is_set


def press_stop(flag: StopFlag) -> Update:
    """The stop button, pressed."""
    flag.is_set = True
    return gr.update(interactive=False)


def busy() -> tuple[Update, Update]:
    """The start and the stop button while something is going on."""
    return gr.update(interactive=False), gr.update(interactive=True)


def idle() -> tuple[Update, Update]:
    return gr.update(interactive=True), gr.update(interactive=False)
