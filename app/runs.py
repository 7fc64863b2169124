"""The runs of a data folder as the page shows them: how they stand, what they measured, and their end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.jobs import Jobs, State
from distill.verdict.promotion import promoted
from indexes.corpus import Corpus, list_corpora
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths

Point = tuple[float, float]
_METRIC = "ndcg@10"
_OF_RANKER = "Ranker: agreement with the teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One line of the list of runs; `answers_now` says that its encoder is the promoted one of its corpus."""

    name: str
    corpus: str
    state: State
    sentence: str
    answers_now: bool
    changed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One loss of one training by step; `steps` is where it would end."""

    title: str
    trained: tuple[Point, ...]
    held_out: tuple[Point, ...]
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a retriever reached on questions that were held out; `interval` is None in runs that kept none."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of a run; `is_better` is what the run decided, whatever was promoted by hand later."""

    is_better: bool
    sentence: str
    advice: tuple[str, ...]


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


def metrics_of(paths: DataPaths, name: str) -> dict[str, Any]:
    """What the run measured, {} before its end."""
    return read_object(paths.run(name) / "metrics.json")


def verdict_of(metrics: Mapping[str, Any]) -> Verdict | None:
    """The verdict of a finished run."""
    verdict = metrics.get("verdict")
    if not isinstance(verdict, Mapping) or not verdict.get("sentence"):
        return None
    advice = tuple(str(each) for each in verdict.get("advice") or ())
    return Verdict(is_better=bool(verdict.get("promoted")), sentence=str(verdict["sentence"]), advice=advice)


def bars_of(metrics: Mapping[str, Any]) -> list[Bar]:
    """nDCG@10 of every retriever that the run judged, in the run's order."""
    config = metrics.get("config") or {}
    base, name = str(config.get("base", "")), str(config.get("name", ""))
    known = {
        base: ("Baseline", "baseline"),
        name: ("Taught", "taught"),
        "lexical": ("Keyword search (BM25)", "other"),
        f"fused({base})": ("Baseline and keywords, fused", "baseline"),
        f"fused({name})": ("Taught and keywords, fused", "taught"),
        "ranker over fused": ("Ranker over the fused baseline", "other"),
    }
    intervals = metrics.get("intervals") or {}
    bars = []
    for retriever, values in (metrics.get("retrievers") or {}).items():
        if _METRIC in values:
            label, kind = known.get(retriever, (f"{retriever}, promoted before", "other"))
            low_high = intervals.get(retriever)
            interval = (float(low_high[0]), float(low_high[1])) if low_high else None
            bars.append(Bar(label=label, value=float(values[_METRIC]), interval=interval, kind=kind))
    return bars


def curves_of(paths: DataPaths, name: str) -> list[Curve]:
    """What the trainings of the run have logged so far: the ranker's, then the retriever's."""
    folder = paths.run(name)
    files = [*sorted(folder.glob("ranker-checkpoints/*/losses.jsonl")), folder / "retriever-checkpoints/losses.jsonl"]
    learns = "error of the margins" if _learns_margins(folder) else "divergence from the ranker"
    titles = {"retriever-checkpoints": f"Retriever: {learns}"}
    found = [_curve(*_stamped(file), titles.get(file.parent.name, _OF_RANKER)) for file in files]
    return [curve for curve in found if curve]


def _learns_margins(folder: Path) -> bool:
    """Whether stage 2 of the run learns the margins of the ranker's scores, and not their distribution."""
    config = read_object(folder / "config.json")
    method, objective = str(config.get("method", "intermediate")), str(config.get("objective", "kl"))
    return method == "pseudo-label" or (method, objective) == ("intermediate", "margin-mse")


def _stamped(file: Path) -> tuple[Path, int, float]:
    try:
        known = file.stat()
    except OSError:
        return file, 0, 0.0
    return file, known.st_size, known.st_mtime


@lru_cache(maxsize=32)
def _curve(file: Path, n_bytes: int, changed_at: float, title: str) -> Curve | None:
    trained: dict[int, float] = {}
    held_out: dict[int, float] = {}
    steps = 0
    key = "eval_agreement" if title == _OF_RANKER else "eval_loss"
    for record in _records(file) if n_bytes else ():
        step, steps = int(record["step"]), int(record["steps"])
        if "loss" in record:
            _put(trained, step, record["loss"])
        if key in record:
            _put(held_out, step, record[key])
    if not trained and not held_out:
        return None
    shown = () if title == _OF_RANKER else tuple(trained.items())  # loss and agreement have no scale in common
    return Curve(title=title, trained=shown, held_out=tuple(held_out.items()), steps=steps)


def _put(points: dict[int, float], step: int, value: float) -> None:
    """Adds a point; a training that was resumed goes through some steps again, and the later ones count."""
    for stale in [known for known in points if known >= step]:
        del points[stale]
    points[step] = float(value)


def malformed_share(paths: DataPaths, name: str) -> tuple[int, float] | None:
    """How many orders have come, and what share was not in the form that was asked for; None before the first."""
    return _malformed(*_stamped(paths.run(name) / "rankings.jsonl"))


@lru_cache(maxsize=8)
def _malformed(file: Path, n_bytes: int, changed_at: float) -> tuple[int, float] | None:
    statuses = [record.get("status", "ok") for record in _records(file)] if n_bytes else []
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


def delete_run(paths: DataPaths, jobs: Jobs, name: str) -> None:
    """Ends the run if it is going on, and deletes its files, its encoder and the index by it.

    What the LLM has replied stays in the cache of replies.
    """
    from indexes.chroma import delete_index
    from indexes.encoder_cards import remove_unused_graphs

    folder = paths.run(name)
    if not folder.is_dir():
        raise NotFoundError(f"Run '{name}' is not there any more.")
    corpus = str((read_object(folder / "config.json") or read_object(folder / "job.json")).get("corpus", ""))
    known = any(info.name == corpus for info in list_corpora(paths))
    if known and promoted(paths, corpus) == name:
        raise InputError(f"'{name}' answers for corpus '{corpus}' now. Roll it back first, then delete it.")
    jobs.end(name)
    if known:
        manifest = Corpus.open(paths, corpus)
        if any(index.encoder == name for index in manifest.indexes()):
            delete_index(paths, manifest, name)
    for each in (paths.encoder(name), folder):
        shutil.rmtree(each, ignore_errors=True)
    remove_unused_graphs(paths)


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, {} if there is none that can be read: other processes write and delete files."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _records(file: Path) -> Sequence[dict[str, Any]]:
    """The whole lines of a file that may be growing."""
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
