"""The Teach tab: what to teach on the left, what comes of it on the right, every run below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from app.handlers import teach
from app.handlers import teach as handlers
from app.handlers.teach import RunView, show_runs, tick
from app.jobs.launching import LEAST_CANDIDATES, LEAST_WRITTEN, MOST_CANDIDATES, MOST_WRITTEN, Form
from app.ui.panel import Refresh
from app.workbench import Workbench
from distill.llm.weights import LOCAL_MODELS

_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_TEACHER_INFO = (
    "With None no LLM puts passages in order: the ranker as it begins teaches alone, and every LLM has to beat that. "
    "If questions are to be written, the page's LLM still writes them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonForm:
    """The form; `fields` by the fields of `Form`."""

    fields: dict[str, Any]
    writing: gr.Group
    uploading: gr.Group
    endpoint: gr.Group
    foreseen: gr.HTML
    teach: gr.Button
    message: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        return [self.fields[name] for name in Form._fields]


def build_form(bench: Workbench, corpus: gr.Dropdown) -> LessonForm:
    """The form without its events; it is about what is picked in `corpus`."""
    gr.HTML(
        "<h2>Teach a retriever</h2><p class='aside'>An LLM puts passages in order, and the retriever learns from that "
        "order. What is filled in will do; press Teach.</p>",
        js_on_load=None,
    )
    fields: dict[str, Any] = {"corpus": corpus}
    writing, uploading = _build_questions(fields)
    endpoint = _build_teacher(fields, bench)
    _build_training(fields)
    _build_more(fields)
    foreseen = gr.HTML(elem_id="teach-foreseen", js_on_load=None)
    teach = gr.Button("Teach", variant="primary", elem_id="teach-button")
    message = gr.HTML(elem_id="teach-message", js_on_load=None)
    return LessonForm(
        fields=fields,
        writing=writing,
        uploading=uploading,
        endpoint=endpoint,
        foreseen=foreseen,
        teach=teach,
        message=message,
    )


def _build_questions(fields: dict[str, Any]) -> tuple[gr.Group, gr.Group]:
    fields["source"] = gr.Radio(
        label="Questions",
        info="Questions that people really asked teach most: 300 to 1,000, without answers.",
        choices=[("Have them written", "write"), ("Upload a file", "upload")],
        value="write",
        elem_id="teach-source",
    )
    with gr.Group() as writing:
        fields["n_written"] = gr.Number(
            label="How many", value=200, minimum=LEAST_WRITTEN, maximum=MOST_WRITTEN, precision=0, elem_id="teach-n"
        )
        fields["like"] = gr.Textbox(
            label="A few real questions, one a line (optional)",
            info="Three to twenty: the LLM then writes in their manner.",
            lines=3,
            max_lines=8,
            elem_id="teach-like",
        )
    with gr.Group(visible=False) as uploading:
        fields["upload"] = gr.File(
            label="Questions (.txt with one a line, .jsonl or .jsonl.gz)",
            file_types=[".txt", ".jsonl", ".gz"],
            height=170,
            elem_id="teach-upload",
        )
    return writing, uploading


def _build_teacher(fields: dict[str, Any], bench: Workbench) -> gr.Group:
    fields["teacher"] = gr.Radio(
        label="Teacher",
        choices=_teachers(bench),
        value=_teachers(bench)[0][1],
        info=_TEACHER_INFO,
        elem_id="teach-teacher",
    )
    endpoint = gr.Group(visible=False)
    with endpoint:
        fields["base_url"] = gr.Textbox(
            label="Address of the endpoint", placeholder="http://localhost:8000/v1", elem_id="teach-url"
        )
        fields["model"] = gr.Textbox(label="Model", elem_id="teach-model")
        fields["key"] = gr.Textbox(
            label="Key",
            type="password",
            info="Handed to the run in its environment; never written to disk, a log or a command.",
            elem_id="teach-key",
        )
    return endpoint


def _teachers(bench: Workbench) -> list[tuple[str, str]]:
    """Who can teach, the usual one first; those that come with the page are too small: they would be refused."""
    others = [("None (the free control)", "none"), ("Another endpoint", "endpoint")]
    if bench.llm.local_llm not in LOCAL_MODELS:
        others.append((f"Embedded here: {bench.llm.local_llm}", "embedded"))
    return others if bench.llm.is_embedded else [(f"The page's LLM: {bench.llm_name}", "page"), *others]


def _build_training(fields: dict[str, Any]) -> None:
    fields["train"] = gr.Radio(
        label="What learns",
        choices=[("Both sides (teaches more)", "both"), ("The question side (faster)", "query")],
        value="both",
        info="Either way the corpus is embedded once more.",
        elem_id="teach-train",
    )
    fields["votes"] = gr.Checkbox(
        label="Use people's votes too",
        info="Their orders count beside the teacher's, or alone; the questions they voted on train.",
        visible=False,
        elem_id="teach-votes",
    )
    fields["asked"] = gr.Checkbox(
        label="Use the questions asked here too",
        info="They train, and are never held out, as nobody said what answers them.",
        visible=False,
        elem_id="teach-asked",
    )


def _build_more(fields: dict[str, Any]) -> None:
    with gr.Accordion("More", open=False, elem_id="teach-more"):
        fields["name"] = gr.Textbox(
            label="Name of the new retriever", placeholder="made up for you", max_length=60, elem_id="teach-name"
        )
        fields["n_candidates"] = gr.Slider(
            label="Passages to put in order for each question",
            minimum=LEAST_CANDIDATES,
            maximum=MOST_CANDIDATES,
            step=1,
            value=10,
            elem_id="teach-candidates",
        )
        fields["budget"] = gr.Textbox(
            label="Budget",
            placeholder="none",
            info="Like 2.50 usd, or 200000 tokens: the run stops before a request could pass it.",
            elem_id="teach-budget",
        )


def wire_form(bench: Workbench, form: LessonForm, tab: gr.Tab, picked: gr.Dropdown, refresh: Refresh) -> None:
    """Its events; the run that begins becomes the `picked` one."""
    fields = form.fields
    gr.on(
        [fields["source"].change, fields["teacher"].change],
        handlers.shape_form,
        [fields["source"], fields["teacher"]],
        [form.writing, form.uploading, form.endpoint],
        **_QUIETLY,
    )
    gr.on(
        [tab.select, fields["corpus"].input],
        partial(handlers.offer, bench),
        fields["corpus"],
        [fields["votes"], fields["asked"]],
        **_QUIETLY,
    )
    typed = [fields[name].input for name in Form._fields if name not in ("corpus", "upload", "like", "key")]
    gr.on(
        [tab.select, fields["corpus"].input, fields["upload"].upload, fields["upload"].clear, *typed],
        _with_form(partial(handlers.estimate, bench)),
        form.inputs,
        form.foreseen,
        trigger_mode="always_last",
        **_QUIETLY,
    )
    begun = form.teach.click(
        _with_form(partial(handlers.start, bench)), form.inputs, [form.message, picked, fields["key"]], **_QUIETLY
    )
    refresh.after(begun)


def _with_form(handler: Callable[[Form], Any]) -> Callable[..., Any]:
    """`handler` as gradio calls it, with a value for each input."""
    return lambda *values: handler(Form(*values))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDesk:
    """The picker of the run and everything about the picked one; `parts` by the fields of `RunView`."""

    picked: gr.Dropdown
    parts: dict[str, Any]
    message: gr.HTML
    box: gr.Group
    confirm: gr.Button
    keep: gr.Button


def build_desk() -> RunDesk:
    """The desk without its events."""
    parts: dict[str, Any] = {}
    picked = gr.Dropdown(label="Run", choices=[], visible=False, elem_id="teach-run")
    parts["headline"] = gr.HTML(elem_id="teach-headline", js_on_load=None)
    with gr.Row(elem_classes="controls"):
        parts["pause"] = _button("Pause", "teach-pause")
        parts["budget"] = gr.Textbox(
            label="Budget, what is spent included",
            placeholder="none",
            visible=False,
            min_width=150,
            elem_id="teach-more-budget",
        )
        parts["resume"] = _button("Resume", "teach-resume", variant="primary")
        parts["cancel"] = _button("Cancel", "teach-cancel")
        parts["promote"] = _button("Promote: let it answer", "teach-promote", min_width=200)
        parts["rollback"] = _button("Roll back", "teach-rollback")
        parts["delete"] = _button("Delete", "teach-delete")
    message = gr.HTML(elem_id="teach-said", js_on_load=None)
    with gr.Group(visible=False) as box, gr.Row():
        confirm = gr.Button("Yes, delete", variant="stop", elem_id="teach-confirm")
        keep = gr.Button("No, keep", elem_id="teach-keep")
    for name in ("bars", "stages", "figures", "curves"):
        parts[name] = gr.HTML(elem_id=f"teach-{name}", js_on_load=None)
    with gr.Accordion("Report", open=False, visible=False, elem_id="teach-report-box") as parts["report_box"]:
        parts["report"] = gr.HTML(elem_id="teach-report", js_on_load=None)
    with gr.Accordion("Log", open=False, visible=False, elem_id="teach-log-box") as parts["log_box"]:
        parts["log"] = gr.HTML(elem_id="teach-log", js_on_load=None)
    return RunDesk(picked=picked, parts=parts, message=message, box=box, confirm=confirm, keep=keep)


def _button(label: str, element: str, variant: Any = "secondary", min_width: int = 110) -> gr.Button:
    return gr.Button(label, variant=variant, visible=False, min_width=min_width, elem_id=element)


def wire_desk(bench: Workbench, desk: RunDesk, key: gr.Textbox, refresh: Refresh) -> None:
    """Its events; a run whose key is not known goes on with what is typed into `key`."""
    doomed, asked = gr.State(None), gr.State("")
    budget = desk.parts["budget"]
    done = [
        desk.parts["pause"].click(partial(teach.pause, bench), desk.picked, desk.message, **_QUIETLY),
        desk.parts["resume"].click(partial(teach.resume, bench), [desk.picked, budget, key], desk.message, **_QUIETLY),
        desk.parts["promote"].click(
            partial(teach.promote_run, bench), [desk.picked, asked], [desk.message, asked], **_QUIETLY
        ),
        desk.parts["rollback"].click(partial(teach.roll_back, bench), desk.picked, desk.message, **_QUIETLY),
    ]
    outputs = [desk.box, desk.message, doomed]
    gr.on(
        [desk.parts["cancel"].click, desk.parts["delete"].click],
        partial(teach.ask_to_delete, bench),
        desk.picked,
        outputs,
        **_QUIETLY,
    )
    # what was said or asked about another run is not left standing over the one that is picked
    gr.on([desk.keep.click, desk.picked.input], teach.keep, None, outputs, **_QUIETLY)
    done.append(desk.confirm.click(partial(teach.delete, bench), doomed, outputs, **_QUIETLY))
    for each in done:
        refresh.after(each)


_TICK_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachTab:
    """What other parts of the page need of this tab."""

    tab: gr.Tab
    refresh: Refresh


def build_teach(bench: Workbench, corpus: gr.Dropdown) -> TeachTab:
    """The tab with its events."""
    with gr.Tab("Teach", id="teach") as tab:
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                form = build_form(bench, corpus)
            with gr.Column(scale=6, min_width=320):
                desk = build_desk()
        gr.HTML("<h2>Every run</h2>", js_on_load=None)
        table = gr.HTML(elem_id="teach-runs", js_on_load=None)
        timer = gr.Timer(_TICK_S, active=False)
        seen = gr.State({})
        parts = {**desk.parts, "picked": desk.picked, "table": table, "timer": timer}
        refresh = Refresh(
            fn=partial(show_runs, bench),
            inputs=[desk.picked, seen],
            outputs=[seen if name == "seen" else parts[name] for name in RunView._fields],
        )
        refresh.on([desk.picked.input])
        replace(refresh, fn=partial(tick, bench)).on([timer.tick])
        wire_form(bench, form, tab, desk.picked, refresh)
        wire_desk(bench, desk, form.fields["key"], refresh)
    return TeachTab(tab=tab, refresh=refresh)
