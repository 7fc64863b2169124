"""What the Teach tab shows of the runs, and of the one that is looked at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr

from app.classroom import Classroom
from app.markdown import to_safe_html
from app.rendering import notice_html
from app.shelf import look_up
from app.teaching.curves import bars_html, curves_html
from app.teaching.losses import curves_of
from app.teaching.rendering import (
    STATE_WORDS,
    figures_html,
    headline_html,
    log_html,
    promise_html,
    runs_table_html,
    silence_html,
    stages_list_html,
)
from app.teaching.results import assessment_of, bars_of, malformed_share, metrics_of, report_of, verdict_of
from app.teaching.runs import RunInfo, list_runs
from distill.verdict.promotion import promoted
from indexes.errors import UserError
from indexes.records import CorpusInfo

Update = Any
_RESUMABLE = ("paused", "interrupted", "failed")


class RunView(NamedTuple):
    """Everything that is shown of the runs; parts that have not changed since `seen` are not sent again."""

    corpus: Update
    picked: Update
    table: Update
    headline: Update
    stages: Update
    figures: Update
    curves: Update
    bars: Update
    report: Update
    report_box: Update
    log: Update
    log_box: Update
    pause: Update
    resume: Update
    cancel: Update
    promote: Update
    rollback: Update
    delete: Update
    budget: Update
    timer: Update
    seen: Update


def show_runs(room: Classroom, corpus: str | None, picked: str | None, seen: Mapping[str, Any]) -> RunView:
    """The runs as they are on disk now; the timer goes as long as one is going on."""
    try:
        return _show(room, corpus, picked, seen)
    except UserError as error:  # such as a corpus that a newer version has written
        nothing = dict.fromkeys(RunView._fields, gr.skip())
        return RunView(**(nothing | {"headline": notice_html(str(error), "error"), "seen": {}}))


def _show(room: Classroom, corpus: str | None, picked: str | None, seen: Mapping[str, Any]) -> RunView:
    paths, jobs = room.bench.paths, room.jobs
    runs = list_runs(paths, jobs)
    run = next((each for each in runs if each.name == picked), runs[0] if runs else None)
    corpora, shown, _ = look_up(paths, room.bench.encoder, corpus)
    parts = _hidden_parts() if run is None else _parts(room, run)
    parts |= {
        "corpus": _corpus_picker(corpora, shown),
        "picked": {"choices": run_choices(runs), "visible": bool(runs)},
        "table": {"value": runs_table_html(runs)},
        "timer": {"active": any(each.state in ("running", "stopping") for each in runs)},
    }
    updates = {name: gr.skip() if seen.get(name) == part else gr.update(**part) for name, part in parts.items()}
    if run and run.name != picked:
        updates["picked"] = gr.update(**parts["picked"], value=run.name)
    if shown and shown.name != corpus:
        updates["corpus"] = gr.update(**parts["corpus"], value=shown.name)
    return RunView(**updates, seen=gr.skip() if parts == dict(seen) else parts)


def _corpus_picker(corpora: Sequence[CorpusInfo], shown: CorpusInfo | None) -> dict[str, Any]:
    return {"choices": [info.name for info in corpora], "interactive": shown is not None}


def run_choices(runs: Sequence[RunInfo]) -> list[tuple[str, str]]:
    """The runs as they can be picked: how each stands, and its name."""
    return [(f"{run.name} · {STATE_WORDS[run.state]}", run.name) for run in runs]


def _parts(room: Classroom, run: RunInfo) -> dict[str, dict[str, Any]]:
    """The properties of each part of the run's view."""
    paths, jobs = room.bench.paths, room.jobs
    progress, metrics, job = jobs.progress(run.name), metrics_of(paths, run.name), jobs.find(run.name)
    spend = progress.spend or metrics.get("spend") or {}
    figures = figures_html(malformed_share(paths, run.name), assessment_of(paths, run.name), spend)
    stages = silence_html(progress, run.state, time.time())
    stages += stages_list_html(progress, run.state) if job or progress.stages else ""
    report, log = report_of(paths, run.name), jobs.log_tail(run.name)
    verdict = verdict_of(metrics)
    resumable = run.state in _RESUMABLE
    has_end = run.state == "done"
    return {
        "headline": {"value": headline_html(run, verdict)},
        "stages": {"value": stages},
        "figures": {"value": figures},
        "curves": {"value": curves_html(curves_of(paths, run.name))},
        "bars": {"value": bars_html(bars_of(metrics), int(metrics.get("questions") or 0))},
        "report": {"value": _report_html(report) if report else ""},
        "report_box": {"visible": bool(report)},
        "log": {"value": log_html(log)},
        "log_box": {"visible": job is not None},
        "pause": {"visible": run.state == "running"},
        "resume": {"visible": resumable},
        "cancel": {"visible": run.state in ("running", "stopping", "paused")},
        "promote": {
            "visible": has_end and not run.answers_now,
            "variant": "primary" if verdict and verdict.is_better else "secondary",
        },
        "rollback": {"visible": has_end and _is_promoted(room, run.corpus)},
        "delete": {"visible": run.state not in ("running", "stopping", "paused")},
        "budget": {"visible": resumable},
    }


def _hidden_parts() -> dict[str, dict[str, Any]]:
    texts = ("headline", "stages", "figures", "curves", "bars", "report", "log")
    others = ("report_box", "log_box", "pause", "resume", "cancel", "promote", "rollback", "delete", "budget")
    return {name: {"value": promise_html() if name == "headline" else ""} for name in texts} | {
        name: {"visible": False} for name in others
    }


def _report_html(markdown: str) -> str:
    body = to_safe_html(markdown, 0, lambda number, claim: "")
    return f'<section class="answer report" aria-label="Report"><div class="text">{body}</div></section>'


def _is_promoted(room: Classroom, corpus: str) -> bool:
    try:
        return promoted(room.bench.paths, corpus) is not None
    except UserError:
        return False
