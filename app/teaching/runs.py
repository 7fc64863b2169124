"""The runs of a data folder as the page shows them: how they stand, and their end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from app.teaching.growing_files import read_object
from app.teaching.jobs import Jobs, State
from app.teaching.results import metrics_of, verdict_of
from distill.verdict.promotion import promoted
from indexes.corpus import Corpus, list_corpora
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths


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
    from indexes.chroma import delete_index
    from indexes.encoder_cards import remove_unused_graphs

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
