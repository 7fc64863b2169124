"""What several tabs share: start and stop buttons, the banner of background work, links to a question."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import gradio as gr

from app.rendering import PREFIXES, notice_html
from app.streaming import MAX_QUESTION_CHARACTERS
from app.tables import stages_html
from app.workbench import Workbench
from distill.llm.weights import LOCAL_MODELS
from indexes.errors import UserError

Update = Any
"""A value for a component, an update of its properties, or `SAME`."""

SAME: Update = gr.skip()


View = TypeVar("View", bound=NamedTuple)


def only(view: type[View], **said: Update) -> View:
    """A `view` that changes nothing but what is said."""
    return view._make([SAME] * len(view._fields))._replace(**said)


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


ConfirmView = namedtuple("ConfirmView", "box message doomed")
"""The buttons that confirm a deletion, what is asked or became of it, and what it is about."""


def confirm(question: str, doomed: Any) -> ConfirmView:
    """The question whether to delete."""
    return ConfirmView(gr.update(visible=True), notice_html(question), doomed)


def dismiss(sentence: str = "", kind: str = "error") -> ConfirmView:
    """Nothing is asked any more; what became of it, or nothing, is said."""
    return ConfirmView(gr.update(visible=False), notice_html(sentence, kind) if sentence else "", None)


BUSY_S, IDLE_S = 1.0, 10.0


BackgroundView = namedtuple("BackgroundView", "banner timer seen finished")
"""What goes on in the background; `finished` counts up when something has ended, so that pickers look again.

`seen` is how much had ended at this look.
"""


def show_background(bench: Workbench, seen: int | None) -> BackgroundView:
    """The state of the background work now, whoever began it; the timer is slow while there is none.

    A page that is opened (`seen` is None then) has just looked at everything.
    """
    is_busy = bench.background.is_busy  # before the stages: work that ends in between is told by the next look
    n_ended, stages = bench.background.n_ended, bench.background.stages
    return BackgroundView(
        banner=gr.update(value=stages_html(stages), visible=bool(stages)),
        timer=gr.update(value=BUSY_S if is_busy else IDLE_S),
        seen=n_ended,
        finished=n_ended if n_ended != seen is not None else SAME,
    )


LLMView = namedtuple("LLMView", "said box key teacher")
"""What became of the choice of an LLM, who answers and teaches now, and the key's field, which is emptied."""


def choose_llm(bench: Workbench, kind: str, url: str, model: str, key: str, who: str | None) -> Iterator[LLMView]:
    """The LLM that `who` chose answers and teaches from now on, on this whole page, or a sentence says why not."""
    if bench.operator != (who or ""):
        yield only(LLMView, said=notice_html("Only whoever runs this page chooses its LLM.", "error"), key="")
        return
    yield only(LLMView, said=notice_html("Asking it for a word …", "busy"))
    try:
        bench.reader.choose(kind, url, model, key)
    except UserError as error:
        yield only(LLMView, said=notice_html(str(error), "error"))
        return
    offered = teachers(bench)
    yield LLMView(
        notice_html(f"{bench.reader.name} answers and teaches, until this page is started again.", "done"),
        gr.update(label=f"LLM: {bench.reader.name}"),
        "",
        gr.update(**offered, value=offered["choices"][0][1]),
    )


_ALONE = ("No LLM: the questions alone, free", "none")


def teachers(bench: Workbench) -> dict[str, Any]:
    """Who can teach, the usual one first; those that come with the page are too small: they would be refused."""
    if bench.llm.is_embedded and bench.llm.local_llm in LOCAL_MODELS:
        info = "The embedded LLM is too small to teach: its orders would be refused. A larger one can: LLM, above."
        return {"choices": [_ALONE], "info": info}
    info = "An LLM puts passages in order, and the retriever learns from that."
    return {"choices": [(bench.reader.name, "page"), _ALONE], "info": info}


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


def make_link(question: str, corpus: str | None, retriever: str | None = "", sides: Sequence[str] = ()) -> str:
    """The query part of the page's address for this question to one retriever, or for a comparison of `sides`."""
    named = {"corpus": corpus, "retriever": retriever, **dict(zip(PREFIXES, sides, strict=False)), "question": question}
    return "?" + urlencode({name: value for name, value in named.items() if value})
