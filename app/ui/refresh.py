"""How a tab looks again at what is on disk: other processes and other visitors change it too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """One event's function, inputs and outputs, to be attached to several triggers."""

    fn: Callable[..., Any]
    inputs: Sequence[Component]
    outputs: Sequence[Component | BlockContext]

    def on(self, triggers: Sequence[Any]) -> None:
        """Looks again at each of `triggers`."""
        gr.on(list(triggers), self.fn, list(self.inputs), list(self.outputs), **_QUIETLY)

    def after(self, event: Any) -> None:
        """Looks again when `event` has ended."""
        event.then(self.fn, list(self.inputs), list(self.outputs), **_QUIETLY)


_QUIETLY: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "trigger_mode": "always_last",
}
