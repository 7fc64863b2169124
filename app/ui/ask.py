"""The Ask tab: one corpus, one retriever, one question after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from app.demo_lesson import RUN
from app.handlers import ask as handlers
from app.handlers import compare, pickers
from app.handlers.buttons import SAME, StopFlag, Update, press_stop
from app.ui import panel
from app.ui.panel import QUIETLY, Parts, Refresh, outputs_of, with_link, with_name
from app.workbench import Workbench

_EMPTY = '<p class="empty">Ask a question: passages come first, then an answer that cites them.</p>'
_N_AT_ONCE = 8
_TICK_S = 1.5


def build_ask(bench: Workbench, visitor: gr.BrowserState, corpus: gr.Dropdown) -> Parts:
    """The tab with its events; what is put into `drop` is an upload, and `restore` asks the question of a link."""
    parts: Parts = {"corpus": corpus}
    with gr.Tab("Ask", id="ask") as parts["tab"]:
        flag, linked = gr.State(StopFlag()), gr.State("")
        parts |= {"turns": gr.State(()), "last": gr.State(""), "shown": gr.State(None), "chosen": gr.State({})}
        with gr.Row(elem_classes="question"):
            prompt = "Ask or follow up, then press Enter"
            question = parts["question"] = panel.build_box("Question", prompt, "ask-question", scale=8, min_width=240)
            parts["ask"] = gr.Button("Ask", variant="primary", scale=1, min_width=90, elem_id="ask-button")
            parts["stop"] = gr.Button("Stop", interactive=False, scale=1, min_width=160, elem_id="ask-stop")
        way = parts["way"] = gr.Radio(label="How it searches", info=" ", choices=[], elem_id="ask-retriever")
        with gr.Accordion("More …", open=False, elem_id="ask-more"), gr.Row():
            retriever = gr.Dropdown(label="Every retriever of this corpus", choices=[], elem_id="ask-any")
            rerank = gr.Checkbox(label="Re-rank", info=" ", visible=False, container=False, elem_id="ask-rerank")
        parts |= {"retriever": retriever, "rerank": rerank}
        parts["drop"] = gr.File(
            label="Drop files here, and ask them",
            file_count="multiple",
            height=180,
            visible=False,
            elem_id="ask-drop",
        )
        examples = parts["examples"] = gr.Dataset(
            label="Try one of these",
            components=[question],
            samples=[],
            visible=False,
            elem_id="ask-examples",
        )
        lesson = build_lesson()
        parts["earlier"] = gr.HTML(elem_id="ask-earlier", js_on_load=None)
        with gr.Row(elem_classes="asked-row"):
            parts["asked"] = gr.HTML(elem_id="ask-asked", js_on_load=None, scale=8, min_width=240)
            parts["retry"] = gr.Button(
                "Try again", visible=False, size="sm", scale=0, min_width=110, elem_id="ask-retry"
            )
            parts["fresh"] = gr.Button(
                "New conversation", visible=False, size="sm", scale=0, min_width=150, elem_id="ask-fresh"
            )
        with gr.Row(elem_classes="panel"):
            with gr.Column(scale=5, min_width=320):
                parts["answer"] = panel.build_answer("ask", _EMPTY)
            with gr.Column(scale=6, min_width=320):
                parts["passages"] = panel.build_passages("ask")
        note = panel.build_note("ask")
        view, picked = outputs_of(parts, handlers.AskView), outputs_of(parts, pickers.AskChoices)
        conversations = _build_conversations(parts, view)

    ask: dict[str, Any] = {
        "fn": partial(handlers.ask, bench),
        "inputs": [question, corpus, retriever, rerank, parts["turns"], flag],
        "outputs": view,
        "concurrency_limit": _N_AT_ONCE,
        "concurrency_id": "ask",
        **QUIETLY,
    }
    gr.on([parts["ask"].click, question.submit, linked.change], **ask)
    examples.click(lambda sample: sample[0], examples, question, api_visibility="private").then(**ask)
    parts["retry"].click(lambda last: last, parts["last"], question, api_visibility="private").then(**ask)
    parts["fresh"].click(handlers.start_afresh, None, view, api_visibility="private", queue=False)
    parts["stop"].click(press_stop, flag, parts["stop"], api_visibility="private", queue=False)
    panel.on_thumb(parts["passages"], partial(compare.judge_passage, bench), [parts["shown"], visitor], note)
    chosen = parts["chosen"]
    lesson.found.click(
        lambda corpus, chosen, sample: (sample[0], *pickers.choose(bench, corpus, RUN, chosen)),
        [corpus, chosen, lesson.found],
        [question, *picked],
        api_visibility="private",
    ).then(**ask)
    # At once, in the browser: whoever presses Enter right after picking is asked for with what was picked.
    way.input(None, way, retriever, js="(key) => key", **QUIETLY)
    for each in (way, retriever):
        each.input(partial(pickers.choose, bench), [corpus, each, chosen], picked, **QUIETLY)
    look = with_link(partial(pickers.list_ask_choices, bench))
    return parts | {
        "refresh": Refresh(fn=look, inputs=[corpus, chosen, retriever], outputs=picked),
        "restore": Refresh(fn=with_link(handlers.restore), inputs=[question], outputs=[question, linked]),
        "lesson": _wire_lesson(bench, lesson, corpus, chosen, picked),
        "conversations": conversations,
    }


def _build_conversations(parts: Parts, view: Sequence[Any]) -> Refresh:
    """What this browser keeps of what was asked before, with its events: what is answered is kept, what is picked goes
    on and is shown in `view`.
    """
    kept = gr.BrowserState({}, storage_key="conversations", secret="conversations")  # noqa: S106 - hides nothing
    with gr.Accordion("Conversations", open=False, visible=False, elem_id="ask-conversations") as box, gr.Row():
        picked = gr.Dropdown(label="Go on with", choices=[], min_width=240, elem_id="conversation")
        title = gr.Textbox(label="Name, then Enter", min_width=200, max_length=80, elem_id="conversation-title")
        export = gr.DownloadButton("Save as Markdown", min_width=150, elem_id="conversation-export")
        delete = gr.Button("Delete", min_width=90, elem_id="conversation-delete")
    shown = list(handlers.ConversationsView(kept=kept, box=box, picked=picked, title=title, export=export))
    answered = [parts["turns"], parts["corpus"], picked, kept]
    parts["turns"].change(with_name(handlers.keep_turn), answered, shown, **QUIETLY)
    forget = partial(handlers.change_conversation, title=None)
    delete.click(with_name(forget), [kept, picked], shown, **QUIETLY)
    title.submit(with_name(handlers.change_conversation), [kept, picked, title], shown, **QUIETLY)
    picked.input(with_name(handlers.open_conversation), [kept, picked], list(view), **QUIETLY)
    return Refresh(fn=with_name(handlers.list_conversations), inputs=[kept], outputs=shown)


def build_lesson() -> handlers.LessonView:
    """The demonstration's lesson on this tab, unseen until `show_lesson` has something to say."""
    text = gr.HTML(elem_id="ask-lesson", visible=False, js_on_load=None)
    teach = gr.Button("Teach it now", visible=False, variant="primary", elem_id="ask-teach")
    found = gr.Dataset(
        label="Found by Taught and missed by the baseline: click one",
        components=[gr.Textbox(visible=False)],
        samples=[],
        visible=False,
        elem_id="ask-found",
    )
    return handlers.LessonView(text, teach, found, timer=gr.Timer(_TICK_S, active=False), state=gr.State(""))


def _wire_lesson(
    bench: Workbench, lesson: handlers.LessonView, corpus: gr.Dropdown, chosen: gr.State, picked: Sequence[Any]
) -> Refresh:
    """Its events but for the questions'; who saw it come to its end finds the taught retriever picked."""

    def look_at_taught(corpus: str | None, chosen: pickers.Chosen, state: str) -> pickers.AskChoices | Update:
        return pickers.choose(bench, corpus, RUN, chosen) if state == handlers.ENDED else SAME

    shown = Refresh(fn=partial(handlers.show_lesson, bench), inputs=[corpus, lesson.state], outputs=list(lesson))
    shown.on([corpus.change, lesson.timer.tick])
    lesson.teach.click(partial(handlers.teach_demo, bench), [corpus], list(lesson), **QUIETLY)
    lesson.state.change(look_at_taught, [corpus, chosen, lesson.state], list(picked), **QUIETLY)
    return shown
