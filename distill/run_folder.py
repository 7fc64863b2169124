"""The folder of a run: the name of every file in it, how others than the run read them, every run's state, and its end.

What is missing, damaged or of an older version reads as empty here, as a list of runs has to open in any case. A file
that has not changed is not read again, so that to look often costs little.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

from distill.json_files import parsed, peek_json, peek_records, read_json
from distill.records import Ranking, Spend
from distill.run_config import RunConfig
from distill.verdict.promotion import promoted
from distill.verdict.report import Metrics, Teacher
from distill.verdict.verdict import Verdict
from indexes.errors import InputError, NotFoundError, UserError
from indexes.manifest import MANIFEST
from indexes.paths import DataPaths
from indexes.processes import end_within, process_of
from indexes.queries import read_queries
from indexes.types import Query

CONFIG = "config.json"  # the settings that the run was begun with
SETTINGS = "settings.json"  # those that the page was told, which leave the LLM to the environment
GIVEN = "given.json"  # digests of the files that a run was given and keeps a copy of
QUESTIONS, WRITTEN = "questions.jsonl", "written.jsonl"
SOURCES = "sources.json"  # passage ids by question: what a written question was written from
CANDIDATES, RANKINGS = "candidates.jsonl", "rankings.jsonl"
RETRIEVAL, SAMPLE = "retrieval.json", "sample.jsonl"  # how candidates are found, and the orders that say so
TEACHER = "teacher.json"  # what its orders are worth
KEPT_OUT = "kept-out.json"  # questions whose orders are to judge
ROUNDS = "rounds.json"  # of each round: what was asked, and how often it found a better passage
RANKER = "ranker"
SCORES, FIRST_SCORES = "scores.jsonl", "first-scores.jsonl"
EVIDENCE = "evidence.json"  # how often teacher and ranker turn out to be right
TARGETS = "targets.jsonl"
RETRIEVER, CONTROL = "retriever.json", "control.json"  # how the training went
MIX = "mix.json"  # encoder → its mix of words and meaning
SPEND = "spend.json"
METRICS, REPORT = "metrics.json", "report.md"
LOCK, JOB, PROGRESS, LOG = "lock", "job.json", "progress.json", "job.log"


State = Literal["running", "stopping", "paused", "interrupted", "failed", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that the page has begun, and the process that it became.

    `environment` has the settings of the LLM without its key; `born` tells the process from a later one of its number.
    """

    name: str
    corpus: str
    budget: str = ""
    environment: Mapping[str, str]
    pid: int = 0
    born: str = ""
    started_at: float = 0.0
    wish: Literal["", "pause"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """How far a stage is, in seconds since the epoch and steps; `first` of them were done at `counted_from`."""

    began: float = 0.0
    ended: float = 0.0
    done: int = 0
    total: int = 0
    label: str = ""
    first: int = 0
    counted_from: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a stage had to say, and when."""

    at: float
    stage: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run says of itself: `how` it ended ("" before that) and when, and in a `sentence` why if it failed."""

    pid: int = 0
    born: str = ""
    begun: float = 0.0
    beat: float = 0.0
    stage: str = ""
    stages: Mapping[str, StageProgress] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    note: str = ""
    spend: Spend = field(default_factory=Spend)
    how: Literal["", "done", "failed", "stopped"] = ""
    sentence: str = ""
    ended: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoss:
    """The loss of one step of a training of `steps`."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The loss of one training by step; `steps` is where it would end."""

    points: tuple[tuple[float, float], ...]
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One line of the list of runs; `answers_now` says that its encoder is the promoted one of its corpus."""

    name: str
    corpus: str
    teacher: str = ""
    state: State
    sentence: str
    answers_now: bool
    changed_at: float

    @property
    def is_going_on(self) -> bool:
        return self.state in ("running", "stopping")


def is_of_earlier_version(known: Mapping[str, Any]) -> bool:
    """Whether these settings of a run lack the newest one: what its files hold then means something else."""
    return "trains_ranker" not in known


def read_config(folder: Path) -> RunConfig:
    """The settings that the run in `folder` was begun with; raises `InputError` where they cannot be known."""
    known = read_json(folder / CONFIG)
    if known and is_of_earlier_version(known):
        raise InputError(f"The run in {folder} was begun by an earlier version and cannot go on. Begin another one.")
    try:
        return parsed(RunConfig, known, is_strict=True)
    except ValueError:
        raise InputError(f"{folder / CONFIG} does not say how the run was begun. Begin another one.") from None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run as its files tell it."""

    path: Path

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.path / name

    def _peek(self, name: str) -> Mapping[str, Any]:
        return _peek(*stamped(self.file(name)))

    @property
    def config(self) -> RunConfig | None:
        """The settings that the run was begun with, None where there is no run."""
        for name in (CONFIG, SETTINGS, JOB):
            values = self._peek(name)
            names = {"name": values.get("name", self.path.name), "corpus": values.get("corpus", "")}
            if values and all(isinstance(each, str) for each in names.values()):
                return parsed(RunConfig, {**values, **names})
        return None

    @property
    def job(self) -> Job | None:
        """The job of the run, None if it was not begun on the page."""
        try:
            return parsed(Job, self._peek(JOB))
        except ValueError:
            return None

    @property
    def progress(self) -> Progress:
        """What the process of the run said last."""
        return parsed(Progress, self._peek(PROGRESS))

    @property
    def process(self) -> psutil.Process | None:
        """The living process of the run, begun on the page or in a terminal."""
        job, progress = self.job, self.progress
        return (process_of(job.pid, job.born) if job else None) or process_of(progress.pid, progress.born)

    @property
    def state(self) -> State:
        """How the run stands."""
        job, progress = self.job, self.progress
        own = process_of(job.pid, job.born) if job else None
        if own or process_of(progress.pid, progress.born):
            return "stopping" if own and job and job.wish else "running"
        if self.file(METRICS).is_file():
            return "done"
        wish = job.wish if job else ""
        if job and not _has_spoken(job, progress):
            return "paused" if wish else "failed"
        if progress.how == "failed":
            return "failed"
        return "paused" if wish else "interrupted"

    @property
    def failure(self) -> str:
        """Why the run failed: its own sentence, or the last line of its log if it died before it could say one."""
        job, progress = self.job, self.progress
        if progress.sentence and (job is None or _has_spoken(job, progress)):
            return progress.sentence
        last = (self.log_tail.splitlines() or [""])[-1]
        return f"It ended before it began: {last}" if last else "It ended before it began, and said nothing."

    @property
    def metrics(self) -> Metrics | None:
        """What the run measured and decided, None before its end."""
        return _metrics(*stamped(self.file(METRICS)))

    @property
    def verdict(self) -> Verdict | None:
        """What the run decided, whatever was promoted by hand later; None before its end."""
        metrics = self.metrics
        return metrics.verdict if metrics else None

    @property
    def teacher(self) -> Teacher:
        """What is known of the teacher."""
        return parsed(Teacher, self._peek(TEACHER))

    @property
    def questions(self) -> list[Query]:
        """The questions, none as long as they are being written."""
        try:
            return read_queries(self.file(QUESTIONS)) if self.file(QUESTIONS).is_file() else []
        except UserError:
            return []

    @property
    def held_out(self) -> list[Query]:
        """The questions that did not train and of which it is known what answers them."""
        return [query for query in self.questions if query.split != "train" and query.grades]

    @property
    def report(self) -> str:
        """The report as Markdown, "" before the end."""
        return _end_of(*stamped(self.file(REPORT)))

    @property
    def orders(self) -> tuple[int, float | None] | None:
        """How many orders have come, and what share was not in the form that was asked for; None before the first.

        Where the orders were given in a file nobody was asked for a form, so the share is None too.
        """
        known = _orders(*stamped(self.file(RANKINGS)))
        config = self.config
        return (known[0], None) if known and config and config.rankings else known

    def losses(self, model: Literal["ranker", "retriever"]) -> Losses | None:
        """What the training of `model` has logged so far, None before it has anything."""
        return _losses(*stamped(self.path / f"{model}-checkpoints" / "losses.jsonl"))

    @property
    def log_tail(self) -> str:
        """The end of what the run, begun on the page, has written to its terminal."""
        return _end_of(*stamped(self.file(LOG)), 6000).strip()

    @property
    def encoders(self) -> list[str]:
        """What the run has made: its own encoder, the free control beside it, whose training left its word, and those
        of earlier rounds, whose indexes a run that was cut off has left.
        """
        config = self.config
        name = config.name if config else self.path.name
        rounds = [round_name(name, number) for number in range(1, config.rounds if config else 1)]
        return [name, *([f"{name}-free"] if self.file(CONTROL).is_file() else []), *rounds]

    @property
    def changed_at(self) -> float:
        """When the run last did something."""
        files = (self.file(name) for name in (METRICS, PROGRESS, JOB, CONFIG))
        return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def round_name(run: str, number: int) -> str:
    """The name of what a run of several rounds has taught after that one."""
    return f"{run} (round {number})"


def _has_spoken(job: Job, progress: Progress) -> bool:
    """Whether the last process of the run has said anything before it died."""
    return progress.pid == job.pid or progress.begun > job.started_at > 0


Stamp = tuple[int, ...]


def stamped(file: Path) -> tuple[Path, Stamp]:
    """`file` with a stamp of what is in it now, () if it is not there: what is read of it is kept under these."""
    try:
        known = file.stat()
    except OSError:
        return file, ()
    return file, (known.st_ino, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=512)
def _peek(file: Path, stamp: Stamp) -> Mapping[str, Any]:
    return peek_json(file) if stamp else {}


@lru_cache(maxsize=64)
def _metrics(file: Path, stamp: Stamp) -> Metrics | None:
    found = _peek(file, stamp)
    return parsed(Metrics, found) if found else None


@lru_cache(maxsize=16)
def _end_of(file: Path, stamp: Stamp, n_bytes: int = 10**7) -> str:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, 2) - n_bytes))
            return opened.read().decode("utf-8", "replace")
    except OSError:
        return ""


@lru_cache(maxsize=8)
def _orders(file: Path, stamp: Stamp) -> tuple[int, float] | None:
    statuses = [ranking.status for ranking in peek_records(file, Ranking)]
    return (len(statuses), sum(status != "ok" for status in statuses) / len(statuses)) if statuses else None


@lru_cache(maxsize=32)
def _losses(file: Path, stamp: Stamp) -> Losses | None:
    points: dict[int, float] = {}
    steps = 0
    for each in peek_records(file, StepLoss):  # earlier versions noted what was held out in lines of their own
        # a training that was resumed goes through some steps again, and the later ones count
        points = {known: loss for known, loss in points.items() if known < each.step} | {each.step: each.loss}
        steps = each.steps
    return Losses(points=tuple(points.items()), steps=steps) if points else None


def run_folders(paths: DataPaths, corpus: str = "") -> Iterator[tuple[RunFolder, RunConfig]]:
    """Every run with its settings, or those on `corpus`, by the names of their folders."""
    for path in sorted(paths.runs.iterdir()) if paths.runs.is_dir() else ():
        config = RunFolder(path).config if path.is_dir() else None
        is_whole = config and config.name.strip() and config.corpus.strip() and paths.run(config.name) == path
        if config and is_whole and corpus in ("", config.corpus):
            yield RunFolder(path), config


def list_runs(paths: DataPaths, corpus: str = "") -> list[RunInfo]:
    """Every run, or those on `corpus`: those that are going on first, then the newest."""
    found = list(run_folders(paths, corpus))
    standing = {name: in_use(paths, name) for name in {config.corpus for _, config in found}}
    runs = [_info(folder, config, standing[config.corpus]) for folder, config in found]
    return sorted(runs, key=lambda run: (not run.is_going_on, -run.changed_at, run.name))


def run_info(paths: DataPaths, name: str) -> RunInfo | None:
    """The line of the run called `name`, None if there is none."""
    folder = RunFolder(paths.run(name)) if name.strip() else None
    config = folder.config if folder else None
    return _info(folder, config, in_use(paths, config.corpus)) if folder and config else None


def _info(folder: RunFolder, config: RunConfig, standing: str) -> RunInfo:
    state, verdict = folder.state, folder.verdict
    sentence = verdict.sentence if verdict and state == "done" else folder.failure if state == "failed" else ""
    return RunInfo(
        name=config.name,
        corpus=config.corpus,
        teacher=config.rankings or config.teacher,
        state=state,
        sentence=sentence,
        answers_now=standing == config.name,
        changed_at=folder.changed_at,
    )


def in_use(paths: DataPaths, corpus: str) -> str:
    """What answers for `corpus`, "" for the baseline, or where that cannot be known."""
    if corpus.strip() and (paths.corpus(corpus) / MANIFEST).is_file():
        with suppress(UserError):
            return promoted(paths, corpus) or ""
    return ""


def delete_run(paths: DataPaths, name: str, *, ends: bool = False, demotes: bool = False) -> int:
    """The bytes that are free again now that the run's files, its encoders and the indexes by them are gone.

    What the LLM has replied stays in the cache of replies. Raises `NotFoundError` if there is no such run; `InputError`
    if it is going on, unless this `ends` it, or if its encoder answers for the corpus, unless this `demotes` it.
    """
    from indexes.corpus import Corpus
    from indexes.encoders.finding import remove_unused_graphs
    from indexes.passage_index import delete_index

    folder = RunFolder(paths.run(name))
    if not folder.path.is_dir():
        known = ", ".join(f"'{config.name}'" for _, config in run_folders(paths))
        raise NotFoundError(f"Run '{name}' is not there any more (there are: {known or 'none'}).")
    config, encoders, process = folder.config, folder.encoders, folder.process
    corpus = config.corpus if config else ""
    standing = in_use(paths, corpus)
    if standing in encoders and not demotes:
        raise InputError(f"'{standing}' answers for corpus '{corpus}' now. Roll it back first, then delete it.")
    if process and not ends:
        raise InputError(f"Run '{name}' is going on. Wait for its end, or end it first.")
    if process:
        end_within(process)
    if corpus.strip() and (paths.corpus(corpus) / MANIFEST).is_file():
        opened = Corpus.open(paths, corpus)
        for index in opened.indexes():
            if index.encoder in encoders:
                delete_index(paths, opened, index.encoder)
    gone = [*map(paths.encoder, encoders), folder.path]
    n_bytes = sum(file.stat().st_size for path in gone for file in path.rglob("*") if file.is_file())
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    remove_unused_graphs(paths)
    return n_bytes
