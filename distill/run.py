"""One run as it goes on: its folder, which it claims, what its stages share, and the file that says where it is."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from distill.json_files import parsed, peek_json, read_json, write_json
from distill.llm.calls import Asker
from distill.ranker.ranker import TokenVectors
from distill.records import Spend
from distill.run_config import FILES, RunConfig, Stage
from distill.run_folder import (
    CONFIG,
    GIVEN,
    LOCK,
    SPEND,
    TEACHER,
    Progress,
    Remark,
    StageProgress,
    is_of_earlier_version,
    round_name,
)
from distill.verdict.report import Teacher
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import RememberingEncoder, load_encoder
from indexes.encoders.torch import precision_of, unmarked
from indexes.errors import InputError, StoreError, UserError, outage
from indexes.ingest import index_corpus
from indexes.lexical import LexicalIndex
from indexes.locks import using
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.processes import birth_of
from indexes.types import Encoder

_MOST_REMARKS = 40
_DEFECT = "It ended by a defect of the program; the log shows where."
_WRITING_TEMPERATURE = 0.7

# What changed where no setting did.
_OTHER = {
    "content": "the corpus has other passages now",
    "fingerprint": "the base encoder has other weights now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a run is: `done` of `total` steps of a stage, or a remark."""

    stage: Stage
    done: int = 0
    total: int = 0
    remark: str = ""


Report = Callable[[Event], None]
Connect = Callable[[float], Asker]  # temperature → the LLM; all that one command connects share a meter


class ProgressFile:
    """A `Report` that keeps `file` up to date, once its folder is there: stages, remarks, spend, a heartbeat, its end.

    The file is replaced as a whole, at most every `every_s` seconds, and every `beat_s` even if nothing happens, so
    that a reader can tell slow work from dead. A run that goes on adds to what it had reported before. `spent` has what
    the run has asked the LLM so far; no key, prompt or reply ever stands in the file.
    """

    def __init__(
        self, file: Path, spent: Callable[[], Spend] = Spend, *, every_s: float = 0.5, beat_s: float = 5.0
    ) -> None:
        self._file = file
        self._spent = spent
        self._every_s = every_s
        self._beat_s = beat_s
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._written_at = 0.0
        self._state = Progress()

    def __enter__(self) -> ProgressFile:
        before = parsed(Progress, peek_json(self._file))
        self._state = Progress(
            pid=os.getpid(),
            born=birth_of(os.getpid()),
            begun=time.time(),
            stages=before.stages,
            remarks=before.remarks,
        )
        self._write()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        how, sentence = _end(error)
        with self._lock:
            if how == "done":
                self._close_stage()
            self._state = replace(self._state, note="", how=how, sentence=sentence, ended=time.time())
            self._write()

    def __call__(self, event: Event) -> None:
        """Takes an event; a stage that begins ends the one before it."""
        with self._lock:
            now = time.time()
            is_news = event.stage != self._state.stage or (event.remark and not event.total)
            if event.stage != self._state.stage:
                self._close_stage()
                self._state = replace(self._state, stage=event.stage, note="")
            stage = replace(self._state.stages.get(event.stage) or StageProgress(began=now), ended=0.0)
            if event.total:
                if (stage.total, stage.label) != (event.total, event.remark):
                    stage = replace(stage, counted_from=now, first=event.done)
                stage = replace(stage, done=event.done, total=event.total, label=event.remark)
            elif event.remark:
                self._remark(Remark(at=now, stage=event.stage, text=event.remark))
            self._state = replace(self._state, stages={**self._state.stages, event.stage: stage})
            if is_news or event.done == event.total or now - self._written_at >= self._every_s:
                self._write()

    @property
    def place(self) -> str:
        """Where the run is, such as " in stage rankings, at 20 of 300"; "" before its first stage."""
        stage = self._state.stage
        at = self._state.stages.get(stage, StageProgress())
        counted = f", at {at.done} of {at.total}" if at.total else ""
        return f" in stage {stage}{counted}" if stage else ""

    def say(self, text: str) -> None:
        """Takes a line on what is being waited for, such as weights that are fetched."""
        with self._lock:
            self._state = replace(self._state, note=text)
            if time.time() - self._written_at >= self._every_s:
                self._write()

    def _remark(self, remark: Remark) -> None:
        kept = [each for each in self._state.remarks if each.text != remark.text]
        self._state = replace(self._state, remarks=(*kept, remark)[-_MOST_REMARKS:])

    def _close_stage(self) -> None:
        name = self._state.stage
        if name and not self._state.stages[name].ended:
            closed = replace(self._state.stages[name], ended=time.time())
            self._state = replace(self._state, stages={**self._state.stages, name: closed})

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            with self._lock:
                self._write()

    def _write(self) -> None:
        self._written_at = time.time()
        self._state = replace(self._state, beat=self._written_at, spend=self._spent())
        if not self._file.parent.is_dir():
            return
        try:
            write_json(self._file, asdict(self._state))
        except StoreError:  # a full disk ends the run where it writes what it is for, and says so there
            if self._state.how:
                self._write_over()

    def _write_over(self) -> None:
        """Says how it ended where something was said before: that much room there is on a full disk too."""
        with suppress(OSError), self._file.open("r+b") as opened:
            opened.write(json.dumps(asdict(self._state)).encode())
            opened.truncate()


def _end(error: BaseException | None) -> tuple[Literal["done", "failed", "stopped"], str]:
    if error is None:
        return "done", ""
    if isinstance(error, UserError):
        return "failed", str(error)
    return ("failed", outage(error) or _DEFECT) if isinstance(error, Exception) else ("stopped", "")


class Distillation:
    """One run: its folder, its config, and what its stages share."""

    def __init__(
        self,
        paths: DataPaths,
        config: RunConfig,
        connect: Connect,
        report: Report,
        report_to: str = "none",
        token_vectors: TokenVectors | None = None,
    ) -> None:
        self.paths = paths
        self.config = config
        self.report_to = report_to
        self.token_vectors = token_vectors or TokenVectors()
        self.folder = paths.run(config.name)
        self.encoder_folder = paths.encoder(config.name)
        self._connect = connect
        self._report = report
        self._stage: Stage = "candidates"  # what is said of the index, whichever stage needs it first
        self.corpus = Corpus.open(paths, config.corpus)
        self.encoder = load_encoder(config.base, paths)
        claim_folder(self)

    def opened(self, name: str) -> Encoder:
        """The encoder called `name` in the base's number format: which is faster is measured, and no result may hang on
        what else the machine did then.
        """
        return load_encoder(name, self.paths, precision_of(self.encoder.fingerprint))

    @cached_property
    def asker(self) -> Asker:
        """The LLM as the teacher, connected when it is first needed."""
        return self._connect(0.0)

    @cached_property
    def writer(self) -> Asker:
        """The LLM as the writer of questions, which are to differ."""
        return self._connect(_WRITING_TEMPERATURE)

    @cached_property
    def index(self) -> PassageIndex:
        """The baseline's index, brought up to date first."""
        for done, total in index_corpus(self.paths, self.corpus, self.encoder):
            self.say(self._stage, done, total, "" if total == 0 else "indexing the corpus with the base encoder")
        return PassageIndex.open(self.paths, self.corpus.name, RememberingEncoder(self.encoder))

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The BM25 twin."""
        return LexicalIndex.open(self.paths, self.corpus.name)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The full text of each passage by id."""
        return {passage.id: passage.full_text for passage in self.corpus.passages()}

    def spent(self) -> Spend:
        """What the run has spent on the LLM."""
        return parsed(Spend, read_json(self.file(SPEND)))

    def say(self, stage: Stage, done: int = 0, total: int = 0, remark: str = "") -> None:
        """Reports where the run is."""
        self._stage = stage
        self._report(Event(stage=stage, done=done, total=total, remark=remark))

    @property
    def digest(self) -> str:
        """16 hex digits for what the run is: its settings, and what it began with."""
        return hashlib.blake2b(self.file(CONFIG).read_bytes(), digest_size=8).hexdigest()

    @property
    def teacher(self) -> Teacher:
        """What is known of the teacher."""
        return parsed(Teacher, read_json(self.file(TEACHER)))

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    def at_round(self, number: int) -> Distillation:
        """This run as if that round were its last, with a folder inside the run's, where its encoder is too."""
        earlier = copy(self)
        earlier.config = replace(self.config, name=round_name(self.config.name, number), rounds=number)
        earlier.folder = self.folder / f"round-{number}"
        earlier.encoder_folder = earlier.folder / "encoder"
        return earlier


@contextmanager
def only_process(run: Distillation) -> Iterator[None]:
    """Keeps a second process off the run's files, and all from deleting its corpus; the locks go with the process, so a
    killed one blocks nobody.
    """
    from filelock import FileLock, Timeout

    try:
        teaching = using(run.paths, run.config.corpus, f"teaching '{run.config.name}'")
        with FileLock(run.file(LOCK), timeout=0), teaching:
            yield
    except Timeout as error:
        raise InputError(
            f"Run '{run.config.name}' is going on in another process. Wait for it, or choose another --name."
        ) from error


def claim_folder(run: Distillation) -> None:
    """Notes the run's settings in its folder, or refuses to go on with others than it was begun with."""
    settings = asdict(run.config) | {"content": run.corpus.content_hash()}
    settings["fingerprint"] = unmarked(run.encoder.fingerprint)
    settings["styles"] = list(run.config.styles)  # as JSON gives them back
    file = run.file(CONFIG)
    if file.is_file():
        known = read_json(file)
        if is_of_earlier_version(known):
            raise InputError(
                f"Run '{run.config.name}' was begun by an earlier version, whose way to teach is gone. Choose another "
                "--name; what the LLM has replied is remembered."
            )
        defaults = {field.name: field.default for field in fields(RunConfig)}
        if is_copied(run.folder, settings["questions"]):
            settings["questions"] = known.get("questions")  # wherever it is now
        before: dict[str, Any] = {key: known.get(key, defaults.get(key)) for key in settings}
        changed = [
            _OTHER.get(key, f"{key}: {before[key]!r} → {value!r}")
            for key, value in settings.items()
            if before[key] != value and not (key in FILES and _is_moved(before[key], value, run.folder))
        ]
        if changed:
            raise InputError(
                f"Run '{run.config.name}' was begun with other settings ({'; '.join(changed)}). Give the same ones to "
                f"go on, choose another --name, or delete {run.folder} to begin anew."
            )
        return
    for name in filter(None, (run.config.name, run.config.free_name)):
        is_taken = name in (run.config.base, DEFAULT_ENCODER)  # it would stand in front of that one
        if is_taken or run.paths.encoder(name).exists():
            raise InputError(f"There is an encoder '{name}' already. Choose another --name.")
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)


def _is_moved(before: str, now: str, folder: Path) -> bool:
    """Whether these name one file of the run, whose folder has another place since."""
    return bool(before and now) and Path(now) == folder.resolve() / Path(before).name


def is_copied(folder: Path, questions: str) -> bool:
    """Whether the file `questions` holds what the run in `folder` has a copy of."""
    known = read_json(folder / GIVEN).get("questions")
    return bool(questions and known and digest(questions) == known)


def digest(file: str) -> str | None:
    """A digest of what `file` holds; None where it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None
