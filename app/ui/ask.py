"""The Ask tab: one corpus, one retriever, one question after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from app.demo_lesson import RUN
from app.handlers import ask as handlers
from app.handlers import compare, pickers
from app.handlers.buttons import StopFlag, Update, press_stop, read_link
from app.ui.panel import QUIETLY, Parts, Refresh, Tab, build_answer, build_note, build_passages, on_thumb, outputs_of
from app.workbench import Workbench

_EMPTY = '<p class="empty">Ask a question: passages come first, then an answer that cites them.</p>'
_N_AT_ONCE = 8
_TICK_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTab(Tab):
    """The same of this one; `restore` asks the question of a link, and `drop` takes files while there is no corpus."""

    drop: gr.File
    restore: Refresh
    lesson: Refresh
    conversations: Refresh


def build_ask(bench: Workbench, visitor: gr.BrowserState, corpus: gr.Dropdown) -> AskTab:
    """The tab with its events."""
    with gr.Tab("Ask", id="ask") as tab:
        flag, chosen, linked = gr.State(StopFlag()), gr.State({}), gr.State("")
        parts: Parts = {"turns": gr.State(()), "last": gr.State(""), "shown": gr.State(None)}
        with gr.Row(elem_classes="question"):
            question = parts["question"] = gr.Textbox(
                label="Question",
                placeholder="Ask or follow up, then press Enter",
                lines=1,
                show_label=False,
                container=False,
                scale=8,
                min_width=240,
                elem_id="ask-question",
            )
            parts["ask"] = gr.Button("Ask", variant="primary", scale=1, min_width=90, elem_id="ask-button")
            parts["stop"] = gr.Button("Stop", interactive=False, scale=1, min_width=160, elem_id="ask-stop")
        way = gr.Radio(label="How it searches", info=" ", choices=[], elem_id="ask-retriever")
        with gr.Accordion("More …", open=False, elem_id="ask-more"), gr.Row():
            retriever = gr.Dropdown(label="Every retriever of this corpus", choices=[], elem_id="ask-any")
            rerank = gr.Checkbox(label="Re-rank", info=" ", visible=False, container=False, elem_id="ask-rerank")
        drop = gr.File(
            label="Drop files here, and ask them",
            file_count="multiple",
            height=180,
            visible=False,
            elem_id="ask-drop",
        )
        examples = gr.Dataset(
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
                parts["answer"] = build_answer("ask", _EMPTY)
            with gr.Column(scale=6, min_width=320):
                parts["passages"] = build_passages("ask")
        note = build_note("ask")
        conversations, delete = _build_conversations()

    view = outputs_of(parts, handlers.AskView)
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
    on_thumb(parts["passages"], partial(compare.judge_passage, bench), [parts["shown"], visitor], note)

    def look(
        corpus: str | None, chosen: pickers.Chosen, current: str | None, request: gr.Request
    ) -> pickers.AskChoices:
        return pickers.list_ask_choices(bench, corpus, chosen, current, read_link(dict(request.query_params)))

    def restore(question: str, request: gr.Request) -> tuple[Update, Update]:
        link = read_link(dict(request.query_params))
        linked = "" if link.sides else link.question
        # Nothing to put there: the box is left alone, as something may have been typed since the page was asked for.
        return (linked, linked) if linked and not question else (gr.skip(), gr.skip())

    listed = _wire_conversations(conversations, delete, parts["turns"], corpus, view)
    picked = [corpus, way, retriever, rerank, examples, drop, chosen]
    shown_lesson = _wire_lesson(bench, lesson, corpus, chosen, picked)
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
    return AskTab(
        tab=tab,
        drop=drop,
        refresh=Refresh(fn=look, inputs=[corpus, chosen, retriever], outputs=picked),
        restore=Refresh(fn=restore, inputs=[question], outputs=[question, linked]),
        lesson=shown_lesson,
        conversations=listed,
    )


def _build_conversations() -> tuple[handlers.ConversationsView, gr.Button]:
    """What this browser keeps of what was asked before, and the button that deletes one."""
    kept = gr.BrowserState({}, storage_key="conversations", secret="conversations")  # noqa: S106 - hides nothing
    with gr.Accordion("Conversations", open=False, visible=False, elem_id="ask-conversations") as box, gr.Row():
        picked = gr.Dropdown(label="Go on with", choices=[], min_width=240, elem_id="conversation")
        title = gr.Textbox(label="Name, then Enter", min_width=200, max_length=80, elem_id="conversation-title")
        export = gr.DownloadButton("Save as Markdown", min_width=150, elem_id="conversation-export")
        delete = gr.Button("Delete", min_width=90, elem_id="conversation-delete")
    return handlers.ConversationsView(kept=kept, box=box, picked=picked, title=title, export=export), delete


def _wire_conversations(
    part: handlers.ConversationsView, delete: gr.Button, turns: gr.State, corpus: gr.Dropdown, view: Sequence[Any]
) -> Refresh:
    """Its events: what is answered is kept, and what is picked goes on."""

    def show(kept: handlers.Kept, request: gr.Request) -> Iterator[handlers.ConversationsView]:
        yield from handlers.list_conversations(kept, request.username or "")

    def keep(
        turns: Any, corpus: str | None, picked: str | None, kept: handlers.Kept, request: gr.Request
    ) -> Iterator[handlers.ConversationsView]:
        yield from handlers.keep_turn(turns, corpus, picked, kept, request.username or "")

    def rename(
        kept: handlers.Kept, picked: str | None, title: str, request: gr.Request
    ) -> Iterator[handlers.ConversationsView]:
        yield from handlers.change_conversation(kept, request.username or "", picked, title)

    def forget(kept: handlers.Kept, picked: str | None, request: gr.Request) -> Iterator[handlers.ConversationsView]:
        yield from handlers.change_conversation(kept, request.username or "", picked, None)

    def open_it(kept: handlers.Kept, picked: str | None, request: gr.Request) -> handlers.AskView:
        return handlers.open_conversation(kept, request.username or "", picked)

    turns.change(keep, [turns, corpus, part.picked, part.kept], list(part), **QUIETLY)
    delete.click(forget, [part.kept, part.picked], list(part), **QUIETLY)
    part.title.submit(rename, [part.kept, part.picked, part.title], list(part), **QUIETLY)
    part.picked.input(open_it, [part.kept, part.picked], list(view), **QUIETLY)
    return Refresh(fn=show, inputs=[part.kept], outputs=list(part))


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
        return pickers.choose(bench, corpus, RUN, chosen) if state == handlers.ENDED else gr.skip()

    shown = Refresh(fn=partial(handlers.show_lesson, bench), inputs=[corpus, lesson.state], outputs=list(lesson))
    shown.on([corpus.change, lesson.timer.tick])
    lesson.teach.click(partial(handlers.teach_demo, bench), [corpus], list(lesson), **QUIETLY)
    lesson.state.change(look_at_taught, [corpus, chosen, lesson.state], list(picked), **QUIETLY)
    return shown
