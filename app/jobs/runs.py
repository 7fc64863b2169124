"""The runs of a data folder as the page shows them: how they stand, their losses, and what they measured."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.jobs.jobs import Jobs, State, read_object, read_whole_records, stamped
from distill.verdict.promotion import promoted
from indexes.corpus import Corpus, list_corpora
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths
from indexes.retrievers import Retriever

_METRIC = "ndcg@10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a retriever reached on questions that were held out; `interval` is None in runs that kept none."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of a run; `is_better` is what the run decided, whatever was promoted by hand later.

    `encoder` is what it promoted, "" for nothing: its own, or the free control beside it. `on_trial` says that only
    questions by an LLM judged; `is_open` that too few did, or none.
    """

    is_better: bool
    sentence: str
    advice: tuple[str, ...]
    encoder: str = ""
    on_trial: bool = False
    is_open: bool = False


def metrics_of(paths: DataPaths, name: str) -> dict[str, Any]:
    """What the run measured, {} before its end."""
    return read_object(paths.run(name) / "metrics.json")


def verdict_of(metrics: Mapping[str, Any]) -> Verdict | None:
    """The verdict of a finished run."""
    verdict = metrics.get("verdict")
    if not isinstance(verdict, Mapping) or not verdict.get("sentence"):
        return None
    return Verdict(
        is_better=bool(verdict.get("promoted")),
        sentence=str(verdict["sentence"]),
        advice=tuple(_advice(each) for each in verdict.get("advice") or ()),
        encoder=str(verdict.get("encoder") or ""),
        on_trial=bool(verdict.get("on_trial")),
        is_open=verdict.get("reason") in ("few", "unjudged"),
    )


def _advice(advice: Any) -> str:
    """Advice for who fills in the form, without what to type; older runs kept sentences alone."""
    return str(advice.get("sentence", "")) if isinstance(advice, Mapping) else str(advice)


def bars_of(metrics: Mapping[str, Any]) -> list[Bar]:
    """nDCG@10 of every retriever that the run judged, in the run's order."""
    config = metrics.get("config") or {}
    base, name = str(config.get("base", "")), str(config.get("name", ""))
    known = {"lexical": (Retriever(kind="lexical").name, "other")}
    for encoder, alias, kind in (
        (base, "Baseline", "baseline"),
        (name, "Taught", "taught"),
        (f"weighted({base})", "Baseline, rare words count more", "other"),
        (f"{name}-free", "Taught for free", "other"),
    ):
        dense = Retriever(encoder=encoder, alias=alias)
        fused = replace(dense, kind="fused")
        reranked = replace(fused, is_reranked=True)
        known |= {each.key: (each.name, kind) for each in (dense, fused, reranked)}
        known |= {replace(dense, is_reranked=True).key: known[reranked.key]}  # as earlier versions wrote it
    known["ranker over fused"] = known[Retriever(encoder=base, kind="fused", is_reranked=True).key]
    intervals = metrics.get("intervals") or {}
    bars = []
    for retriever, values in (metrics.get("retrievers") or {}).items():
        if _METRIC in values:
            label, kind = known.get(retriever, (f"{retriever}, promoted before", "other"))
            low_high = intervals.get(retriever)
            interval = (float(low_high[0]), float(low_high[1])) if low_high else None
            bars.append(Bar(label=label, value=float(values[_METRIC]), interval=interval, kind=kind))
    return bars


def malformed_share(paths: DataPaths, name: str) -> tuple[int, float | None] | None:
    """How many orders have come, and what share was not in the form that was asked for; None before the first.

    Where the orders were given in a file nobody was asked for a form, so the share is None too.
    """
    known = _malformed(*stamped(paths.run(name) / "rankings.jsonl"))
    given = bool(read_object(paths.run(name) / "config.json").get("rankings"))
    return (known[0], None) if known and given else known


@lru_cache(maxsize=8)
def _malformed(file: Path, n_bytes: int, changed_at: float) -> tuple[int, float] | None:
    statuses = [record.get("status", "ok") for record in read_whole_records(file)] if n_bytes else []
    return (len(statuses), sum(status != "ok" for status in statuses) / len(statuses)) if statuses else None


def assessment_of(paths: DataPaths, name: str) -> Mapping[str, Any]:
    """What was found out about the teacher before it was asked in earnest, {} if nothing was."""
    teacher = read_object(paths.run(name) / "teacher.json")
    chosen = [each for each in teacher.get("assessments") or () if each.get("mode") == teacher.get("mode")]
    return chosen[-1] if chosen else {}


def report_of(paths: DataPaths, name: str) -> str:
    """The run's report as Markdown, "" before its end."""
    try:
        return (paths.run(name) / "report.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One line of the list of runs; `answers_now` says that its encoder is the promoted one of its corpus."""

    name: str
    corpus: str
    state: State
    sentence: str
    answers_now: bool
    changed_at: float


def list_runs(paths: DataPaths, jobs: Jobs) -> list[RunInfo]:
    """Every run, those that are going on first, then the newest."""
    standing = {info.name: promoted(paths, info.name) for info in list_corpora(paths)}
    found = []
    for folder in paths.runs.iterdir() if paths.runs.is_dir() else ():
        settings = read_object(folder / "config.json") or read_object(folder / "job.json")
        name, corpus = settings.get("name"), settings.get("corpus")
        if not isinstance(name, str) or not isinstance(corpus, str) or paths.run(name).name != folder.name:
            continue
        state = jobs.state(name)
        found.append(
            RunInfo(
                name=name,
                corpus=corpus,
                state=state,
                sentence=_sentence(paths, jobs, name, state),
                answers_now=standing.get(corpus) == name,
                changed_at=_changed_at(folder),
            )
        )
    return sorted(found, key=lambda run: (run.state not in ("running", "stopping"), -run.changed_at, run.name))


def _sentence(paths: DataPaths, jobs: Jobs, name: str, state: State) -> str:
    if state == "done":
        verdict = verdict_of(metrics_of(paths, name))
        return verdict.sentence if verdict else ""
    return failure(jobs, name) if state == "failed" else ""


def failure(jobs: Jobs, name: str) -> str:
    """Why a run failed: its own sentence, or the last line of its log if it died before it could say one."""
    said = jobs.progress(name)
    job = jobs.find(name)
    if said.sentence and job and said.pid == job.pid:
        return said.sentence
    last = (jobs.log_tail(name).splitlines() or [""])[-1]
    return f"It ended before it began: {last}" if last else "It ended before it began, and said nothing."


def _changed_at(folder: Path) -> float:
    files = (folder / name for name in ("metrics.json", "progress.json", "job.json", "config.json"))
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def _encoders_of(paths: DataPaths, name: str) -> list[str]:
    """What the run has made: its own encoder, and the free control beside it, whose training left its word."""
    return [name, f"{name}-free"] if (paths.run(name) / "control.json").is_file() else [name]


def delete_run(paths: DataPaths, jobs: Jobs, name: str) -> None:
    """Ends the run if it is going on, and deletes its files, its encoders and the indexes by them.

    What the LLM has replied stays in the cache of replies.
    """
    from indexes.encoders.finding import remove_unused_graphs
    from indexes.passage_index import delete_index

    folder = paths.run(name)
    if not folder.is_dir():
        raise NotFoundError(f"Run '{name}' is not there any more.")
    corpus = str((read_object(folder / "config.json") or read_object(folder / "job.json")).get("corpus", ""))
    known = any(info.name == corpus for info in list_corpora(paths))
    encoders = _encoders_of(paths, name)
    if known and (standing := promoted(paths, corpus)) in encoders:
        raise InputError(f"'{standing}' answers for corpus '{corpus}' now. Roll it back first, then delete it.")
    jobs.end(name)
    if known:
        manifest = Corpus.open(paths, corpus)
        for index in manifest.indexes():
            if index.encoder in encoders:
                delete_index(paths, manifest, index.encoder)
    for each in (*map(paths.encoder, encoders), folder):
        shutil.rmtree(each, ignore_errors=True)
    remove_unused_graphs(paths)


Point = tuple[float, float]
_TITLES = {"ranker-checkpoints": "Ranker: loss", "retriever-checkpoints": "Retriever: divergence from its targets"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The loss of one training by step; `steps` is where it would end."""

    title: str
    trained: tuple[Point, ...]
    steps: int


def curves_of(paths: DataPaths, name: str) -> list[Curve]:
    """What the trainings of the run have logged so far: the ranker's, then the retriever's."""
    files = [paths.run(name) / folder / "losses.jsonl" for folder in _TITLES]
    found = [_curve(*stamped(file), _TITLES[file.parent.name]) for file in files]
    return [curve for curve in found if curve]


@lru_cache(maxsize=32)
def _curve(file: Path, n_bytes: int, changed_at: float, title: str) -> Curve | None:
    trained: dict[int, float] = {}
    steps = 0
    for record in read_whole_records(file) if n_bytes else ():
        if "loss" not in record:  # earlier versions noted what was held out in lines of their own
            continue
        step, steps = int(record["step"]), int(record["steps"])
        _put(trained, step, record["loss"])
    return Curve(title=title, trained=tuple(trained.items()), steps=steps) if trained else None


def _put(points: dict[int, float], step: int, value: float) -> None:
    """Adds a point; a training that was resumed goes through some steps again, and the later ones count."""
    for stale in [known for known in points if known >= step]:
        del points[stale]
    points[step] = float(value)
