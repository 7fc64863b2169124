"""What happens when somebody fills in the form of the Teach tab: plain values in, a NamedTuple of updates out."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from app.asked import count_asked
from app.classroom import Classroom
from app.handlers.run_view import run_choices
from app.rendering import notice_html
from app.shelf import look_up
from app.teaching.forecast import foresee
from app.teaching.launching import begin
from app.teaching.lesson import Lesson
from app.teaching.plan import Plan, make_plan
from app.teaching.rendering import estimate_html
from app.teaching.runs import list_runs
from app.vote_rankings import people_orders
from indexes.errors import InputError, UserError

Update = Any


class ShapeView(NamedTuple):
    """Which parts of the form are to be seen."""

    writing: Update
    upload: Update
    endpoint: Update


def shape_form(source: str, teacher: str) -> ShapeView:
    """Only what belongs to the picked source of questions and the picked teacher."""
    return ShapeView(
        writing=gr.update(visible=source == "write"),
        upload=gr.update(visible=source == "upload"),
        endpoint=gr.update(visible=teacher == "endpoint"),
    )


class OfferView(NamedTuple):
    """What people said and asked here that could teach too."""

    votes: Update
    asked: Update


def offer(room: Classroom, corpus: str | None) -> OfferView:
    """The two offers with how much there is of each; hidden where there is nothing."""
    paths = room.bench.paths
    try:
        _, shown, _ = look_up(paths, room.bench.encoder, corpus)
        n_votes = len(people_orders(paths, shown.name)) if shown else 0
        n_asked = count_asked(paths, shown.name) if shown else 0
    except UserError:
        n_votes = n_asked = 0
    return OfferView(
        _offer(n_votes, f"Use people's votes too ({_count(n_votes, 'order')})"),
        _offer(n_asked, f"Use the questions asked here too ({_count(n_asked, 'question')})"),
    )


def _offer(n: int, label: str) -> Update:
    return gr.update(visible=True, label=label) if n else gr.update(visible=False, value=False)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


class Form(NamedTuple):
    """The form's values as gradio gives them, in the order of the tab's inputs; empty fields may be None."""

    source: str
    upload: str | None
    corpus: str | None
    n_written: float | None
    like: str | None
    teacher: str
    base_url: str | None
    model: str | None
    key: str | None
    train: str
    name: str | None
    n_candidates: float | None
    budget: str | None
    votes: bool | None
    asked: bool | None


def fill_in(form: Form) -> Lesson:
    """The lesson of the form's values; `InputError` where a corpus or a file is missing."""
    values: dict[str, Any] = form._asdict()
    texts: dict[str, Any] = {
        key: value or ""
        for key, value in values.items()
        if key not in ("source", "n_written", "n_candidates", "votes", "asked")
    }
    if not form.corpus:
        raise InputError("There is no corpus yet. Add files on the Corpora tab to make one.")
    if form.source == "upload" and not form.upload:
        raise InputError("Upload a file of questions first, or have them written.")
    texts["upload"] = texts["upload"] if form.source == "upload" else ""
    return Lesson(
        **texts,
        n_written=values["n_written"],
        n_candidates=values["n_candidates"],
        votes=bool(form.votes),
        asked=bool(form.asked),
    )


def estimate(room: Classroom, form: Form) -> str:
    """What the form, as it is filled in, would ask, cost and take."""
    try:
        plan = _plan(room, form)
        return estimate_html(foresee(plan, room.bench.paths))
    except UserError as error:
        return notice_html(str(error))


class StartView(NamedTuple):
    """What became of the start, the run to look at, and the key's field, which is emptied."""

    message: Update
    picked: Update
    key: Update


def start(room: Classroom, form: Form) -> StartView:
    """Begins to teach, or says why not."""
    try:
        name = begin(room.jobs, _plan(room, form), room.bench.paths)
    except UserError as error:
        return StartView(notice_html(str(error), "error"), gr.skip(), gr.skip())
    choices = run_choices(list_runs(room.bench.paths, room.jobs))
    message = notice_html(f"'{name}' has begun. It goes on when this page is closed.", "done")
    return StartView(message, gr.update(choices=choices, value=name), "")


def _plan(room: Classroom, form: Form) -> Plan:
    if not form.corpus:  # the tab was opened before its pickers were filled
        _, shown, _ = look_up(room.bench.paths, room.bench.encoder, None)
        form = form._replace(corpus=shown.name if shown else None)
    return make_plan(fill_in(form), room.bench.paths, room.bench.encoder, room.bench.llm)
