"""What tabs are built of: answers and passages, parts by name, and how a tab looks again at what is on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component

from app.handlers.buttons import read_link

# A citation opens its passage, marks the words that it means and brings them into view.
_OPEN_PASSAGE = """
element.addEventListener('click', (event) => {
  const link = event.target.closest('a.citation');
  if (!link) return;
  event.preventDefault();
  const passage = document.getElementById(link.getAttribute('href').slice(1));
  if (!passage) return;
  document.querySelectorAll('details.cited').forEach((other) => {
    other.classList.remove('cited');
    const text = other.querySelector('.text');
    if (!text.querySelector('table')) text.textContent = text.textContent;
  });
  passage.open = true;
  passage.classList.add('cited');
  const text = passage.querySelector('.text');
  let target = passage;
  if (link.dataset.end) {
    const whole = text.textContent;
    const [start, end] = [Number(link.dataset.start), Number(link.dataset.end)];
    target = document.createElement('mark');
    target.textContent = whole.slice(start, end);
    text.replaceChildren(whole.slice(0, start), target, whole.slice(end));
  }
  passage.querySelector('summary').focus({preventScroll: true});
  passage.scrollIntoView({behavior: 'smooth', block: 'nearest'});
  const below = target.offsetTop - text.offsetTop;
  if (below > text.clientHeight) text.scrollTop = below - 40;
});
"""

# A passage that is shown in its place comes into view.
_SHOW_PLACE = """
new MutationObserver(() => {
  const mark = element.querySelector('.place mark, .place .here');
  const text = mark && mark.closest('.text');
  if (text) text.scrollTop += mark.getBoundingClientRect().top - text.getBoundingClientRect().top - 60;
  element.querySelector('.place')?.scrollIntoView({behavior: 'smooth', block: 'nearest'});
}).observe(element, {childList: true, subtree: true});
"""

# A thumb is a toggle; pointing at a passage shows where it stands on the other side.
_JUDGE_AND_FOLLOW = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button.thumb');
  if (!button) return;
  const passage = button.closest('details').dataset.passage;
  if (button.dataset.thumb === 'place') { trigger('select', {passage, thumb: 'place'}); return; }
  const pressed = button.getAttribute('aria-pressed') === 'true';
  const thumb = pressed ? 'none' : button.dataset.thumb;
  element.querySelectorAll('details').forEach((each) => {
    if (each.dataset.passage !== passage) return;
    each.querySelectorAll('button.thumb').forEach((other) =>
      other.setAttribute('aria-pressed', String(other.dataset.thumb === thumb)));
  });
  trigger('select', {passage, thumb});
});
const follow = (event) => {
  const pointed = event.target.closest('details');
  element.querySelectorAll('details').forEach((each) =>
    each.classList.toggle('twin', !!pointed && each !== pointed && each.dataset.passage === pointed.dataset.passage));
};
element.addEventListener('mouseover', follow);
element.addEventListener('focusin', follow);
"""


def with_link(handler: Callable[..., Any]) -> Callable[..., Any]:
    """`handler` as gradio calls it, with the `link` that the page was opened by."""

    def call(request: gr.Request, *values: Any) -> Any:
        return handler(*values, link=read_link(dict(request.query_params)))

    return call


def with_name(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`handler` as gradio calls it, with the name that the visitor has signed in with as `who`, "" for none."""

    def call(request: gr.Request, *values: Any) -> Iterator[Any]:
        yield from handler(*values, who=request.username or "")

    return call


QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Parts = dict[str, Any]
"""The components of a tab by name, filled as they are built, and what looks again at some of them."""


def outputs_of(parts: Parts, view: type[NamedTuple]) -> list[Any]:
    """Where the fields of a handler's `view` are shown: the parts of these names."""
    return [parts[name] for name in view._fields]


def build_box(label: str, placeholder: str, element: str, **more: Any) -> gr.Textbox:
    """A line to type into, which says by itself what for."""
    return gr.Textbox(
        label=label, placeholder=placeholder, show_label=False, container=False, elem_id=element, lines=1, **more
    )


def build_answer(prefix: str, empty: str = "") -> gr.HTML:
    """Where an answer is written."""
    return gr.HTML(value=empty, elem_id=f"{prefix}-answer", elem_classes="panel-answer", js_on_load=_OPEN_PASSAGE)


def build_passages(prefix: str) -> gr.HTML:
    """Where passages are listed."""
    return gr.HTML(elem_id=f"{prefix}-passages", elem_classes="panel-passages", js_on_load=_JUDGE_AND_FOLLOW)


def build_note(prefix: str) -> gr.HTML:
    """Where what is said of a passage stands, and the passage in its place."""
    return gr.HTML(elem_id=f"{prefix}-note", js_on_load=_SHOW_PLACE)


def on_thumb(
    passages: gr.HTML, judge: Callable[[Mapping[str, Any], Any, str], Any], inputs: Sequence[Component], note: gr.HTML
) -> None:
    """Calls `judge` with what a thumb says ({"passage", "thumb"}) and `inputs`; what it returns is shown in `note`."""

    def take(state: Any, visitor: str, event: gr.EventData) -> Any:
        return judge({name: getattr(event, name, "") for name in ("passage", "thumb")}, state, visitor)

    passages.select(take, list(inputs), note, queue=False, **QUIETLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """One event's function, inputs and outputs, to be attached to several triggers."""

    fn: Callable[..., Any]
    inputs: Sequence[Component]
    outputs: Sequence[Component | BlockContext]

    def on(self, triggers: Sequence[Any]) -> Any:
        """Looks again at each of `triggers`; gives the event, for what comes after it."""
        return gr.on(list(triggers), self.fn, list(self.inputs), list(self.outputs), **_LATEST)

    def after(self, event: Any) -> Any:
        """Looks again when `event` has ended; gives that event."""
        return event.then(self.fn, list(self.inputs), list(self.outputs), **_LATEST)


_LATEST: dict[str, Any] = {**QUIETLY, "trigger_mode": "always_last"}
