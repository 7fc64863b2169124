"""The one panel that Ask and Compare repeat: an answer and the passages it was written from."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

# A citation opens its passage and brings it into view; the link alone would only move the page.
_OPEN_PASSAGE = """
element.addEventListener('click', (event) => {
  const link = event.target.closest('a.citation');
  if (!link) return;
  event.preventDefault();
  const passage = document.getElementById(link.getAttribute('href').slice(1));
  if (!passage) return;
  document.querySelectorAll('details.cited').forEach((other) => other.classList.remove('cited'));
  passage.open = true;
  passage.classList.add('cited');
  passage.querySelector('summary').focus({preventScroll: true});
  passage.scrollIntoView({behavior: 'smooth', block: 'nearest'});
});
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The two parts of a panel."""

    answer: gr.HTML
    passages: gr.HTML


def build_panel(prefix: str, *, in_columns: bool, empty: str = "") -> Panel:
    """A panel whose element ids begin with `prefix`: two columns side by side, or one where the caller is in one."""
    if not in_columns:
        return Panel(answer=_build_answer(prefix, empty), passages=_build_passages(prefix))
    with gr.Row(elem_classes="panel"):
        with gr.Column(scale=5, min_width=320):
            answer = _build_answer(prefix, empty)
        with gr.Column(scale=6, min_width=320):
            passages = _build_passages(prefix)
    return Panel(answer=answer, passages=passages)


def _build_answer(prefix: str, empty: str) -> gr.HTML:
    return gr.HTML(value=empty, elem_id=f"{prefix}-answer", elem_classes="panel-answer", js_on_load=_OPEN_PASSAGE)


def _build_passages(prefix: str) -> gr.HTML:
    return gr.HTML(elem_id=f"{prefix}-passages", elem_classes="panel-passages", js_on_load=None)
