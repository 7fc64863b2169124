"""What can be done with a run that is looked at: each act answers with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from app.classroom import Classroom
from app.rendering import command_notice_html, notice_html
from app.teaching.commands import CommandNeededError
from app.teaching.launching import go_on
from app.teaching.runs import RunInfo, delete_run, list_runs
from distill.verdict.promotion import promote, rollback
from indexes.errors import UserError

Update = Any


def pause(room: Classroom, picked: str | None) -> str:
    """Asks the run to stop soon."""
    return _say(lambda: room.jobs.pause(picked or ""), "")


def resume(room: Classroom, picked: str | None, budget: str, key: str) -> str:
    """Goes on with the run."""
    return _say(
        lambda: go_on(
            room.jobs, picked or "", room.bench.paths, budget=budget or "", key=key or "", page_llm=room.bench.llm
        ),
        f"'{picked}' goes on.",
    )


def promote_run(room: Classroom, picked: str | None) -> str:
    """Lets the run's encoder answer for its corpus."""
    run = _run(room, picked)
    if run is None:
        return notice_html("This run is not there any more.", "error")
    return _say(
        lambda: promote(room.bench.paths, run.corpus, run.name, run.name),
        f"'{run.name}' answers for corpus '{run.corpus}' from now on. Roll back whenever you like.",
    )


def roll_back(room: Classroom, picked: str | None) -> str:
    """Lets the encoder from before the last promotion answer again."""
    run = _run(room, picked)
    if run is None:
        return notice_html("This run is not there any more.", "error")
    try:
        before = rollback(room.bench.paths, run.corpus)
    except UserError as error:
        return notice_html(str(error), "error")
    who = f"'{before}'" if before else "The baseline"
    return notice_html(f"{who} answers for corpus '{run.corpus}' again.", "done")


def _run(room: Classroom, picked: str | None) -> RunInfo | None:
    return next((run for run in list_runs(room.bench.paths, room.jobs) if run.name == picked), None)


def _say(act: Callable[[], object], sentence: str) -> str:
    try:
        act()
    except CommandNeededError as error:
        return command_notice_html(error.sentence, error.command)
    except UserError as error:
        return notice_html(str(error), "error")
    return notice_html(sentence, "done") if sentence else ""


class DoomView(NamedTuple):
    """The question whether to delete a run, and which one it is about."""

    box: Update
    message: Update
    doomed: Update


def ask_to_delete(room: Classroom, picked: str | None) -> DoomView:
    """The question to confirm, with what would be lost."""
    run = _run(room, picked)
    if run is None:
        return DoomView(gr.update(visible=False), notice_html("This run is not there any more.", "error"), None)
    what = "Cancel and delete" if run.state in ("running", "stopping", "paused") else "Delete"
    lost = "its files, its encoder and the index by it are deleted" if run.state == "done" else "its files are deleted"
    question = f"{what} run '{run.name}'? Then {lost}. What the LLM has replied is kept and never paid for again."
    return DoomView(gr.update(visible=True), notice_html(question), run.name)


def keep() -> DoomView:
    """Nothing is deleted."""
    return DoomView(gr.update(visible=False), "", None)


def delete(room: Classroom, doomed: str | None) -> Iterator[DoomView]:
    """What was confirmed is gone; a run that is going on is ended first."""
    if doomed is None:
        yield keep()
        return
    yield DoomView(gr.update(visible=False), notice_html(f"Ending '{doomed}' …", "busy"), None)
    try:
        delete_run(room.bench.paths, room.jobs, doomed)
    except UserError as error:
        yield DoomView(gr.skip(), notice_html(str(error), "error"), None)
        return
    yield DoomView(gr.skip(), notice_html(f"Run '{doomed}' is deleted.", "done"), None)
