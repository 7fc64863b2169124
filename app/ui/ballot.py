"""The buttons of a vote: as many as there are sides to vote for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from app.handlers.voting import VoteView

_VOTE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-verdict]');
  if (button) trigger('select', {verdict: button.dataset.verdict});
});
"""


def build_ballot() -> gr.HTML:
    """Where `ballot_html` is shown."""
    return gr.HTML(elem_id="compare-ballot", js_on_load=_VOTE)


def on_vote(
    ballot: gr.HTML,
    vote: Callable[[str, Any, str], VoteView],
    inputs: Sequence[Component],
    outputs: Sequence[Component],
) -> None:
    """Calls `vote` with the verdict of the button that was pressed and `inputs`; what it returns goes to `outputs`."""

    def take(state: Any, visitor: str, event: gr.EventData) -> VoteView:
        return vote(str(getattr(event, "verdict", "")), state, visitor)

    ballot.select(take, list(inputs), list(outputs), api_visibility="private", show_progress="hidden")
