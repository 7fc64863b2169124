"""Corpora, files, runs and votes → safe HTML tables: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import get_args

from app.rendering import aside_html, notice_html, table_html
from app.votes import Score
from app.workbench import Stage
from distill.records import Assessment, Spend
from distill.run_folder import Progress, RunInfo, StageProgress, State
from distill.verdict.verdict import Verdict
from indexes.encoders.finding import language_advice
from indexes.errors import counted
from indexes.types import CorpusInfo, FileOutcome, SourceInfo

_MAX_ROWS = 200
_ORDER = {"failed": 0, "skipped": 0, "removed": 1, "renamed": 2, "replaced": 3, "read": 4, "unchanged": 5, "noted": -1}


def progress_html(label: str, done: int, total: int) -> str:
    """A labelled bar."""
    said = f"<p>{escape(label)} <span>{done:,} of {total:,}</span></p>"
    return f'<div class="progress">{said}{_bar(label, done, total)}</div>'


def _bar(label: str, done: int, total: int) -> str:
    percent = 100 * done // total if total else 100
    return (
        f'<div class="bar" role="progressbar" aria-label="{escape(label)}" aria-valuenow="{percent}" aria-valuemin="0" '
        f'aria-valuemax="100"><i style="width: {percent}%"></i></div>'
    )


def stages_html(stages: Sequence[Stage]) -> str:
    """What goes on in the background, and what failed there; nothing when all is done."""
    shown = []
    for stage in stages:
        if stage.state == "failed":
            shown.append(notice_html(stage.message, "error"))
        elif stage.state == "working":
            shown.append(
                progress_html(stage.message, stage.done, stage.total)
                if stage.total
                else notice_html(f"{stage.message} …", "busy")
            )
    return "".join(shown)


def outcomes_html(outcomes: Sequence[FileOutcome]) -> str:
    """What became of each file: what went wrong is shown, and what went well folded."""
    if not outcomes:
        return ""
    ordered = sorted(outcomes, key=lambda outcome: (_ORDER[outcome.status], outcome.source))
    wrong = [each for each in ordered if each.status in ("failed", "skipped")]
    well = [each for each in ordered if each.status not in ("failed", "skipped")]
    folded = (
        f"<details><summary>{counted(len(well), 'file')} went well</summary>{_outcomes(well)}</details>" if well else ""
    )
    return (_outcomes(wrong) if wrong else "") + folded


def _outcomes(ordered: Sequence[FileOutcome]) -> str:
    rows = [
        (
            escape(each.source),
            f'<span class="status {each.status}">{each.status}</span>',
            f"{each.n_documents:,}",
            f"{each.n_passages:,}",
            escape(each.reason),
        )
        for each in ordered[:_MAX_ROWS]
    ]
    return table_html("Files", ("File", "Outcome", "Documents", "Passages", "Why"), rows) + _more(len(ordered))


def corpora_html(corpora: Sequence[CorpusInfo], n_bytes: Mapping[str, int] | None = None) -> str:
    """Every corpus in figures, with the size of its files by name and the passages that each index has."""
    sizes = n_bytes or {}
    if not corpora:
        return '<p class="empty">There is no corpus yet. Drop some files on the left to make one.</p>'
    rows = [
        (
            escape(each.name) + _in_language(each),
            f"{each.n_sources:,}",
            f"{each.n_documents:,}",
            f"{each.n_passages:,}",
            format_bytes(sizes[each.name]) if each.name in sizes else "–",
            "<br>".join(f"{escape(index.encoder)} ({index.n_passages:,})" for index in each.indexes)
            or escape(each.damage)
            or "<i>not indexed yet</i>",
        )
        for each in corpora
    ]
    return table_html("Corpora", ("Corpus", "Files", "Documents", "Passages", "Size", "Indexed by (passages)"), rows)


def _in_language(corpus: CorpusInfo) -> str:
    """What is said where no encoder of a corpus knows its language."""
    said = [language_advice(index.encoder, corpus.language) for index in corpus.indexes]
    return f'<br><span class="aside">{escape(said[0])}</span>' if said and all(said) else ""


def sources_html(sources: Sequence[SourceInfo]) -> str:
    """The files of one corpus."""
    older = '<br><span class="aside">read by an older version: add it again</span>'
    rows = [
        (
            escape(each.source) + older * each.is_older,
            f"{each.n_documents:,}",
            f"{each.n_passages:,}",
            format_bytes(each.n_bytes),
        )
        for each in sources[:_MAX_ROWS]
    ]
    return table_html("Files of the corpus", ("File", "Documents", "Passages", "Size"), rows) + _more(len(sources))


def format_bytes(n_bytes: int) -> str:
    """'512 B', '1.4 kB', '12.0 MB'."""
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def _more(n_rows: int) -> str:
    return f'<p class="aside">and {n_rows - _MAX_ROWS:,} more</p>' if n_rows > _MAX_ROWS else ""


STAGES: Mapping[str, str] = {
    "questions": "Questions are read or written",
    "candidates": "Passages are found for each",
    "teacher": "The teacher is tried out",
    "rankings": "The teacher orders the passages",
    "ranker": "The ranker learns these orders",
    "scores": "The ranker scores the passages",
    "retriever": "The retriever learns the scores",
    "control": "What needs no teacher is learned beside it",
    "index": "The corpus is indexed anew",
    "verdict": "Old and new are judged",
}
STATE_WORDS: Mapping[State, str] = {each: each for each in get_args(State)} | {"running": "going on"}
_SILENT_S = 90.0


def estimate_html(sentences: Sequence[str], details: Sequence[str]) -> str:
    """What would be asked, before anything is; the numbers are folded."""
    lines, more = ("".join(f"<li>{escape(each)}</li>" for each in said) for said in (sentences, details))
    folded = f"<details><summary>Details</summary><ul>{more}</ul></details>" if details else ""
    return f'<div class="notice info foreseen" role="status"><b>Before it runs</b><ul>{lines}</ul>{folded}</div>'


def promise_html() -> str:
    """What will be seen here, where nothing has been taught yet."""
    items = "".join(f'<li><span class="name">{label}</span></li>' for label in STAGES.values())
    return (
        '<h2>How it goes</h2><p class="aside">Each step leaves a file, so a run can pause and go on where it was. '
        "In the end the new retriever and the old one are judged on questions that took no part, and only one that is "
        f'better beyond doubt is used.</p><ol class="stages" aria-label="Stages">{items}</ol>'
    )


def headline_html(run: RunInfo, verdict: Verdict | None) -> str:
    """One sentence on how the run stands; for a finished one its verdict."""
    if run.state == "done":
        return _verdict_html(run, verdict)
    sentence, kind = {
        "running": ("It goes on in a process of its own: this page may be closed, and opened again elsewhere.", "busy"),
        "stopping": ("It stops as soon as what is in hand is kept …", "busy"),
        "paused": ("Paused. What it has done is kept; resume it whenever you like.", "info"),
        "interrupted": ("It was cut off before its end. What it has done is kept: resume it.", "error"),
        "failed": (run.sentence, "error"),
    }[run.state]
    return f"{_title(run)}{notice_html(sentence, kind)}"


def _title(run: RunInfo) -> str:
    word = STATE_WORDS[run.state]
    return (
        f'<h2 class="run">{escape(run.name)} <span class="state {run.state}">{word}</span>'
        f'<span class="of">corpus {escape(run.corpus)}</span></h2>'
    )


def _verdict_html(run: RunInfo, verdict: Verdict | None) -> str:
    now = f"It answers for corpus '{run.corpus}' now." if run.answers_now else ""
    if verdict is None:
        return f"{_title(run)}{notice_html(f'This run has no verdict. {now}'.strip())}"
    word, kind = _word(verdict)
    advice = "".join(f"<li>{escape(each.sentence)}</li>" for each in verdict.advice)
    standing = now or f"It does not answer for corpus '{run.corpus}'; on the Ask and Compare tabs it can be picked."
    return (
        f'{_title(run)}<div class="verdict {kind}" role="status"><b>{word}</b> {escape(verdict.sentence)}</div>'
        f"{aside_html(standing)}" + (f'<ul class="advice">{advice}</ul>' if advice else "")
    )


def _word(verdict: Verdict) -> tuple[str, str]:
    """The verdict in a word or two, and how it looks."""
    if verdict.promoted:
        return ("On trial" if verdict.on_trial else "Use it"), "better"
    if verdict.encoder:
        return "The free one will do", "better"
    return ("Too few to tell" if verdict.is_open else "No clear gain"), "same"


def stages_list_html(progress: Progress, state: State) -> str:
    """The stages in order, how far each is, and how long it took."""
    items = "".join(f"<li{_stage_html(stage, progress, state)}</li>" for stage in STAGES)
    note = f'<p class="aside">{escape(progress.note)}</p>' if progress.note and state == "running" else ""
    return f'<ol class="stages" aria-label="Stages">{items}</ol>{note}'


def _stage_html(stage: str, progress: Progress, state: State) -> str:
    known = progress.stages.get(stage, StageProgress())
    label = escape(STAGES[stage])
    if state == "done" or known.ended:
        seconds = max(0.0, known.ended - (known.began or known.ended))
        took = f'<span class="figure">{duration(seconds)}</span>' if seconds >= 1 else ""
        return f' class="over"><span class="name">{label}</span>{took}'
    if stage != progress.stage:
        return f'><span class="name">{label}</span>'
    done, total = known.done, known.total
    now = ' aria-current="step"' if state == "running" else ""
    what = f" ({escape(known.label)})" if known.label else ""
    name = f'<span class="name">{label}{what}</span>'
    if not total:
        return f' class="now"{now}>{name}'
    left = _left(known, progress.beat) if state == "running" else ""
    figure = f'<span class="figure">{done:,} of {total:,}{left}</span>'
    return f' class="now"{now}>{name}{figure}{_bar(STAGES[stage], done, total)}'


def _left(stage: StageProgress, now: float) -> str:
    """How long the rest takes at the pace so far, in words; "" while that cannot be told."""
    n_done = stage.done - stage.first
    elapsed = now - (stage.counted_from or now)
    if n_done < 3 or elapsed < 3:
        return ""
    return f" · {duration(elapsed / n_done * (stage.total - stage.done))} left"


def duration(seconds: float) -> str:
    """'40 s', '12 min' or '3.5 h'."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def figures_html(malformed: tuple[int, float | None] | None, assessment: Assessment | None, spend: Spend) -> str:
    """What is known of the teacher and of what it has cost, as pairs of a name and a figure."""
    pairs: list[tuple[str, str, str]] = []
    if assessment:
        hint = f"Puts the same passage first when asked twice, on {assessment.n_questions} questions"
        pairs.append(("Agrees with itself", f"{assessment.best_agreement:.0%}", hint))
        if assessment.probe_first is not None:
            hint = f"Puts a passage that answers before others drawn at random, {assessment.n_probes} times"
            pairs.append(("Finds planted answers", f"{assessment.probe_first:.0%}", hint))
        words = {"use": "use it", "weigh": "with less weight", "refuse": "refused"}
        if trust := words.get(assessment.trust):
            pairs.append(("Trust in the teacher", trust, "By both, and by what decides its orders"))
    if malformed:
        n_orders, share = malformed
        pairs.append(("Orders", f"{n_orders:,}", "Questions whose passages the teacher has put in order"))
        if share is not None:
            pairs.append(("Malformed replies", f"{share:.0%}", "Orders that were not in the form asked for"))
    if spend.calls or spend.cached:
        pairs.append(("Calls", f"{spend.calls:,}", f"Beside {spend.cached:,} replies that were known already"))
        pairs.append(("Tokens", f"{spend.prompt_tokens:,} + {spend.reply_tokens:,}", "Read and written by the LLM"))
        cost = "unknown" if spend.cost_usd is None else f"{spend.cost_usd:.2f} $"
        pairs.append(("Cost", cost, "By the price table of the model"))
    items = "".join(
        f'<div title="{escape(hint)}"><dt>{name}</dt><dd>{escape(each)}</dd></div>' for name, each, hint in pairs
    )
    said = assessment.sentence if assessment else ""
    return (f'<dl class="pairs" aria-label="Teacher and spend">{items}</dl>' if items else "") + (
        aside_html(said) if said else ""
    )


def silence_html(progress: Progress, state: State, now: float) -> str:
    """A word of warning where a job that goes on has not been heard of for long."""
    silent = now - progress.beat
    if state != "running" or not progress.beat or silent < _SILENT_S:
        return ""
    return notice_html(f"It has said nothing for {duration(silent)}. The machine may be asleep or very busy.", "error")


def log_html(text: str) -> str:
    """The end of a log as it was written."""
    return (
        f'<pre class="log" tabindex="0" aria-label="Log">{escape(text)}</pre>' if text else aside_html("Nothing yet.")
    )


def runs_table_html(runs: Sequence[RunInfo]) -> str:
    """Every run with its verdict."""
    if not runs:
        return '<p class="empty">No retriever has been taught yet. Press Teach: what is filled in will do.</p>'
    rows = [
        (
            escape(run.name) + (" <b>answers now</b>" if run.answers_now else ""),
            escape(run.corpus),
            f'<span class="state {run.state}">{STATE_WORDS[run.state]}</span>',
            escape(run.sentence),
        )
        for run in runs
    ]
    return table_html("Runs", ("Retriever", "Corpus", "State", "Verdict"), rows)


def score_html(score: Score, first: str, second: str) -> str:
    """How the votes on two retrievers stand: a bar with its interval, and a sentence."""
    if not score.n:
        return '<p class="aside">Nobody has voted on these two retrievers yet.</p>'
    rest = f"{score.ties} ties, {score.both_bad} times both bad."
    if not score.decided:
        return f'<p class="aside">{score.n} votes so far, none for a side: {rest}</p>'
    share, low, high = (100 * value for value in (score.share, score.low, score.high))
    judgement = "No clear winner yet." if score.low <= 0.5 <= score.high else "That is a clear lead."
    sentence = (
        f"<b>{escape(second)}</b> was better in {score.second} of {score.decided} decided votes against "
        f"<b>{escape(first)}</b>: {share:.0f} % (95 % interval {low:.0f} to {high:.0f} %). {rest} {judgement}"
    )
    return f'<div class="running-score"><p>{sentence}</p>{_share_html(score)}</div>'


def scores_html(scores: Mapping[tuple[str, str], Score]) -> str:
    """How the votes on each pair of several retrievers stand: a row with a bar each."""
    if not any(score.n for score in scores.values()):
        return '<p class="aside">Nobody has voted on these retrievers yet.</p>'
    rows = [
        (
            f"{escape(second)} against {escape(first)}",
            f"{score.second} of {score.decided}",
            f"{score.ties}",
            f"{score.both_bad}",
            _share_html(score) if score.decided else "–",
        )
        for (first, second), score in scores.items()
        if score.n
    ]
    heads = ("Pair", "Better in", "Ties", "Both bad", "Share, 95 % interval")
    return (
        '<div class="running-score"><p>Votes on these retrievers, pair by pair: the best of several was better than '
        f"each other one.</p>{table_html('Votes', heads, rows, has_row_heads=True)}</div>"
    )


def _share_html(score: Score) -> str:
    share, low, high = (100 * value for value in (score.share, score.low, score.high))
    return (
        f'<div class="score-bar" role="img" aria-label="{share:.0f} percent, from {low:.0f} to {high:.0f}">'
        f'<i class="range" style="left: {low:.1f}%; width: {high - low:.1f}%"></i>'
        f'<i class="mean" style="left: {share:.1f}%"></i><i class="half"></i></div>'
    )
