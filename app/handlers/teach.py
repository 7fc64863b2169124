"""The Teach tab: its form, the runs, the one that is looked at, and what can be done with it."""

from __future__ import annotations

import time
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from app import tables
from app.handlers.buttons import SAME, ConfirmView, Update, confirm, dismiss, only, teachers
from app.jobs.launching import Form, Plan, begin, foresee, go_on, make_plan
from app.plots import bars_html, bars_of, curves_html
from app.rendering import notice_html, to_safe_html
from app.retriever import look_up
from app.votes import count_asked, people_orders
from app.workbench import Workbench
from distill.run_folder import RunFolder, RunInfo, delete_run, in_use, list_runs, run_info
from distill.verdict.promotion import promote, rollback
from indexes.errors import NotFoundError, UserError, counted

_RESUMABLE = ("paused", "interrupted", "failed")


RunView = namedtuple(
    "RunView",
    "picked table headline stages figures curves bars report report_box log log_box pause resume cancel "
    "promote rollback delete budget timer seen",
)
"""Everything that is shown of the runs; parts that have not changed since `seen` are not sent again."""


def show_runs(bench: Workbench, picked: str | None, seen: Mapping[str, Any]) -> RunView:
    """The runs as they are on disk now; the timer goes as long as one is going on."""
    try:
        return _show(bench, picked, seen)
    except UserError as error:  # such as a corpus that a newer version has written
        return only(RunView, headline=notice_html(str(error), "error"), seen={})


def tick(bench: Workbench, picked: str | None, seen: Mapping[str, Any]) -> RunView:
    """What has moved since the last look, by the files of what goes on alone; all, where a run stands otherwise now."""
    runs: Sequence[RunInfo] = seen.get("runs", ())
    going = [run for run in runs if run.is_going_on]
    run = next((each for each in runs if each.name == picked), None)
    if run is None or not going or any(each.state != _folder(bench, each.name).state for each in going):
        return show_runs(bench, picked, seen)
    return RunView(**_updates({**seen, **(_parts(bench, run) if run in going else {})}, seen))


def _folder(bench: Workbench, name: str) -> RunFolder:
    return RunFolder(bench.paths.run(name))


def _show(bench: Workbench, picked: str | None, seen: Mapping[str, Any]) -> RunView:
    runs = list_runs(bench.paths)
    run = next((each for each in runs if each.name == picked), runs[0] if runs else None)
    parts = _hidden_parts() if run is None else _parts(bench, run)
    parts |= {
        "picked": {"choices": run_choices(runs), "visible": bool(runs)},
        "table": {"value": tables.runs_table_html(runs)},
        "timer": {"active": any(each.is_going_on for each in runs)},
    }
    updates = _updates({**parts, "runs": runs}, seen)
    if run and run.name != picked:
        updates["picked"] = gr.update(**parts["picked"], value=run.name)
    return RunView(**updates)


def _updates(parts: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Update]:
    """What to send of each part: nothing of those that were `seen` so, the `runs` among them, which are only kept."""
    updates = {
        name: SAME if seen.get(name) == part else gr.update(**part) for name, part in parts.items() if name != "runs"
    }
    return updates | {"seen": SAME if parts == seen else parts}


def run_choices(runs: Sequence[RunInfo]) -> list[tuple[str, str]]:
    """The runs as they can be picked: how each stands, and its name."""
    return [(f"{run.name} · {tables.STATE_WORDS[run.state]}", run.name) for run in runs]


def _parts(bench: Workbench, run: RunInfo) -> dict[str, dict[str, Any]]:
    """The properties of each part of the run's view."""
    folder = _folder(bench, run.name)
    progress, metrics, verdict = folder.progress, folder.metrics, folder.verdict
    job, report = folder.job, folder.report
    spend = metrics.spend if metrics else progress.spend
    stages = tables.silence_html(progress, run.state, time.time())
    stages += tables.stages_list_html(progress, run.state) if job or progress.stages else ""
    resumable = run.state in _RESUMABLE
    has_end = run.state == "done"
    return {
        "headline": {"value": tables.headline_html(run, verdict)},
        "stages": {"value": stages},
        "figures": {"value": tables.figures_html(folder.orders, folder.teacher.assessment, spend)},
        "curves": {"value": curves_html({"ranker": folder.losses("ranker"), "retriever": folder.losses("retriever")})},
        "bars": {"value": bars_html(bars_of(metrics), metrics.questions or 0) if metrics else ""},
        "report": {"value": _report_html(report) if report else ""},
        "report_box": {"visible": bool(report)},
        "log": {"value": tables.log_html(folder.log_tail)},
        "log_box": {"visible": job is not None},
        "pause": {"visible": run.state == "running"},
        "resume": {"visible": resumable},
        "cancel": {"visible": run.is_going_on or run.state == "paused"},
        "promote": {
            "visible": has_end and not run.answers_now,
            "variant": "primary" if verdict and verdict.promoted else "secondary",
        },
        "rollback": {"visible": has_end and bool(in_use(bench.paths, run.corpus))},
        "delete": {"visible": not run.is_going_on and run.state != "paused"},
        "budget": {"visible": resumable},
    }


def _hidden_parts() -> dict[str, dict[str, Any]]:
    texts = ("headline", "stages", "figures", "curves", "bars", "report", "log")
    others = ("report_box", "log_box", "pause", "resume", "cancel", "promote", "rollback", "delete", "budget")
    return {name: {"value": tables.promise_html() if name == "headline" else ""} for name in texts} | {
        name: {"visible": False} for name in others
    }


def _report_html(markdown: str) -> str:
    return (
        f'<section class="answer report" aria-label="Report"><div class="text">{to_safe_html(markdown)}</div></section>'
    )


FormView = namedtuple("FormView", "upload teacher train budget people foreseen")
"""The form as it fits what is filled in, and what that would do, cost and take."""


def look(bench: Workbench, form: Form) -> FormView:
    """Only what belongs to what was picked, how long each way takes, and what will be done."""
    durations: dict[str, str] = {}
    offered, foreseen = teachers(bench), ""
    if form.teacher not in dict(offered["choices"]).values():
        offered["value"] = "none"
    try:
        for train in _EFFORTS:
            seen = foresee(_plan(bench, form._replace(train=train)), bench.paths)
            durations[train] = f", about {seen.duration}"
            if train == form.train:
                foreseen = tables.estimate_html(seen.said, seen.details)
    except UserError as error:
        foreseen = notice_html(str(error))
    is_paid = not bench.llm.is_embedded and (form.teacher, form.source) != ("none", "upload")
    return FormView(
        upload=gr.update(visible=form.source != "write"),
        teacher=gr.update(**offered),
        train=gr.update(choices=[(label + durations.get(train, ""), train) for train, label in _EFFORTS.items()]),
        budget=gr.update(visible=is_paid),
        people=_offer_people(bench, form.corpus),
        foreseen=foreseen,
    )


_EFFORTS = {"query": "Quick", "both": "Thorough"}


def _offer_people(bench: Workbench, corpus: str | None) -> Update:
    """What people said and asked here that could teach too, with how much there is; hidden where there is nothing."""
    try:
        n_votes, n_asked = len(people_orders(bench.paths, corpus or "")[0]), count_asked(bench.paths, corpus or "")
    except UserError:
        n_votes = n_asked = 0
    if not (n_votes or n_asked):
        return gr.update(visible=False, value=False)
    label = f"Use what people asked and voted here too ({counted(n_asked, 'question')}, {counted(n_votes, 'order')})"
    return gr.update(visible=True, label=label)


StartView = namedtuple("StartView", "message picked")
"""What became of the start, and the run to look at."""


def start(bench: Workbench, form: Form) -> StartView:
    """Begins to teach, or says why not."""
    try:
        name = begin(bench.jobs, _plan(bench, form))
    except UserError as error:
        return StartView(notice_html(str(error), "error"), SAME)
    choices = run_choices(list_runs(bench.paths))
    message = notice_html(f"'{name}' has begun. It goes on when this page is closed.", "done")
    return StartView(message, gr.update(choices=choices, value=name))


def _plan(bench: Workbench, form: Form) -> Plan:
    if not form.corpus:  # the tab was opened before its pickers were filled
        form = form._replace(corpus=look_up(bench.paths, bench.encoder, None)[1])
    return make_plan(form, bench.paths, bench.encoder, bench.llm)


def pause(bench: Workbench, picked: str | None) -> str:
    """Asks the run to stop soon."""
    try:
        bench.jobs.pause(picked or "")
    except UserError as error:
        return notice_html(str(error), "error")
    return ""


def resume(bench: Workbench, picked: str | None, budget: str) -> str:
    """Goes on with the run."""
    try:
        go_on(bench.jobs, picked or "", bench.paths, budget=budget or "", page_llm=bench.llm)
    except UserError as error:
        return notice_html(str(error), "error")
    return notice_html(f"'{picked}' goes on.", "done")


PromoteView = namedtuple("PromoteView", "message asked")
"""What became of the wish to promote, and the run that was asked about."""


def promote_run(bench: Workbench, picked: str | None, asked: str) -> PromoteView:
    """Lets the run's encoder answer for its corpus; without a clear gain only if that is said twice."""
    try:
        run = _run(bench, picked)
        verdict = _folder(bench, run.name).verdict
        if asked != run.name and not (verdict and verdict.promoted):
            sentence = f"'{run.name}' showed no clear gain. Press Promote once more to let it answer all the same."
            return PromoteView(notice_html(sentence), run.name)
        promote(bench.paths, run.corpus, run.name, run.name)
    except UserError as error:
        return PromoteView(notice_html(str(error), "error"), "")
    said = f"'{run.name}' answers for corpus '{run.corpus}' from now on. Roll back whenever you like."
    return PromoteView(notice_html(said, "done"), "")


def roll_back(bench: Workbench, picked: str | None) -> str:
    """Lets the encoder from before the last promotion answer again."""
    try:
        run = _run(bench, picked)
        before = rollback(bench.paths, run.corpus)
    except UserError as error:
        return notice_html(str(error), "error")
    who = f"'{before}'" if before else "The baseline"
    return notice_html(f"{who} answers for corpus '{run.corpus}' again.", "done")


def _run(bench: Workbench, picked: str | None) -> RunInfo:
    run = run_info(bench.paths, picked or "")
    if run is None:
        raise NotFoundError("This run is not there any more.")
    return run


def ask_to_delete(bench: Workbench, picked: str | None) -> ConfirmView:
    """The question to confirm, with what would be lost."""
    try:
        run = _run(bench, picked)
    except UserError as error:
        return dismiss(str(error))
    what = "Cancel and delete" if run.is_going_on or run.state == "paused" else "Delete"
    lost = "its files, its encoder and the index by it are deleted" if run.state == "done" else "its files are deleted"
    question = f"{what} run '{run.name}'? Then {lost}. What the LLM has replied is kept and never paid for again."
    return confirm(question, run.name)


def delete(bench: Workbench, doomed: str | None) -> Iterator[ConfirmView]:
    """What was confirmed is gone; a run that is going on is ended first."""
    if doomed is None:
        yield dismiss()
        return
    yield dismiss(f"Ending '{doomed}' …", "busy")
    try:
        delete_run(bench.paths, doomed, ends=True)
    except UserError as error:
        yield dismiss(str(error))
        return
    yield dismiss(f"Run '{doomed}' is deleted.", "done")
