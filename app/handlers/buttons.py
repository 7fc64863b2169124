"""What several tabs share: start and stop buttons, the banner of background work, links to a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from app.rendering import PREFIXES
from app.streaming import MAX_QUESTION_CHARACTERS
from app.tables import stages_html
from app.workbench import Workbench

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


def busy(label: str = "Stop") -> tuple[Update, Update]:
    """The start and the stop button while something is going on."""
    return gr.update(interactive=False), gr.update(value=label, interactive=True)


def idle() -> tuple[Update, Update]:
    return gr.update(interactive=True), gr.update(value="Stop", interactive=False)


BUSY_S, IDLE_S = 1.0, 10.0


class BackgroundView(NamedTuple):
    """What goes on in the background; `finished` counts up when something has ended, so that pickers look again.

    `seen` is how much had ended at this look.
    """

    banner: Update
    timer: Update
    seen: Update
    finished: Update


def show_background(bench: Workbench, seen: int | None) -> BackgroundView:
    """The state of the background work now, whoever began it; the timer is slow while there is none.

    A page that is opened (`seen` is None then) has just looked at everything.
    """
    is_busy = bench.background.is_busy  # before the stages: work that ends in between is told by the next look
    n_ended, stages = bench.background.n_ended, bench.background.stages
    return BackgroundView(
        banner=gr.update(value=stages_html(stages), visible=any(stage.state != "done" for stage in stages)),
        timer=gr.update(value=BUSY_S if is_busy else IDLE_S),
        seen=n_ended,
        finished=n_ended if n_ended != seen is not None else gr.skip(),
    )


TABS = ("ask", "compare", "teach", "evaluate", "corpora")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What the address of the page asks for; "" for what it leaves open. It is shown, and not asked by itself.

    With `sides` it is a comparison of them, and else a question for `retriever`.
    """

    corpus: str = ""
    question: str = ""
    retriever: str = ""
    sides: tuple[str, ...] = ()
    tab: str = ""


def read_link(parameters: Mapping[str, str]) -> Link:
    """The link that the page was opened by; what is too long for a question is left out."""
    question = parameters.get("question", "")
    sides = tuple(parameters[prefix] for prefix in PREFIXES if parameters.get(prefix))
    tab = parameters.get("tab", "")
    return Link(
        corpus=parameters.get("corpus", ""),
        question=question if len(question) <= MAX_QUESTION_CHARACTERS else "",
        retriever=parameters.get("retriever", ""),
        sides=sides,
        tab=tab if tab in TABS else "compare" if sides else "",
    )


def make_link(question: str, corpus: str | None, retriever: str | None) -> str:
    """The query part of the page's address for this question."""
    return _query({"corpus": corpus, "retriever": retriever, "question": question})


def make_compare_link(question: str, corpus: str, sides: Sequence[str]) -> str:
    """The query part of the page's address for this comparison."""
    return _query({"corpus": corpus, **dict(zip(PREFIXES, sides, strict=False)), "question": question})


def _query(named: Mapping[str, str | None]) -> str:
    return "?" + urlencode({name: value for name, value in named.items() if value})
