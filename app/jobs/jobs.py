"""Long work in a child process that outlives the page: what is known of it lies in the run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from distill.json_files import write_json
from indexes.errors import InputError, NotFoundError, StoreError
from indexes.paths import DataPaths

PATIENCE_S = 60.0  # a child that does not end by itself within this time is killed; its files bear it
_ROOT = Path(__file__).parent.parent.parent
_COURTESY = 10  # so that those who ask meanwhile come first
_SAME_START_S = 1.0  # the start of a process is given to hundredths, but a clock may have been set


def start_process(command: Sequence[str], environment: Mapping[str, str] | None, log_file: Path) -> tuple[int, float]:
    """The number and the time of birth of the process that `command` became; it writes to the end of `log_file`."""
    try:
        with log_file.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program; what people typed stands in single arguments
                command,
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives this process and its terminal
            )
    except OSError as error:
        raise StoreError(f"The teaching could not be started ({error.strerror or error}).") from error
    threading.Thread(target=process.wait, daemon=True, name=f"reaper of {process.pid}").start()
    born = 0.0
    with suppress(psutil.Error):
        child = psutil.Process(process.pid)
        born = child.create_time()
        child.nice(_COURTESY)
    return process.pid, born


def process_of(pid: int, born: float) -> psutil.Process | None:
    """The living process `pid`; None if it is dead, or if its number belongs to another process by now."""
    if not pid:
        return None
    try:
        process = psutil.Process(pid)
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return process if alive and abs(process.create_time() - born) < _SAME_START_S else None
    except psutil.Error:
        return None


def ask_to_end(process: psutil.Process) -> None:
    """Asks `process` to end, and does not wait for it."""
    threading.Thread(target=end_within, args=(process, PATIENCE_S), daemon=True, name="pausing").start()


def end_within(process: psutil.Process, patience_s: float) -> None:
    """Asks `process` to end, and kills it if it has not after that time."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(patience_s)
        except psutil.TimeoutExpired:
            process.kill()
            with suppress(psutil.TimeoutExpired):
                process.wait(10)


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, {} if there is none that can be read: a page has to open in any case."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_whole_records(file: Path) -> Sequence[dict[str, Any]]:
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


def stamped(file: Path) -> tuple[Path, int, float]:
    """`file` with its size and its time of change, zeros if it is not there: what is read of it is kept under these."""
    try:
        known = file.stat()
    except OSError:
        return file, 0, 0.0
    return file, known.st_size, known.st_mtime


PROGRESS_FILE, LOG_FILE = "progress.json", "job.log"
_JOB_FILE = "job.json"
_SLOT = "teaching.lock"

State = Literal["running", "stopping", "paused", "interrupted", "failed", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command as it was started for a run, and the process that it became.

    `environment` has the settings of the LLM without its key; `needs_key` says that the key came from a person, and
    has to be given again after a restart of the page. `born` tells the process from a later one with its number.
    """

    name: str
    corpus: str
    arguments: tuple[str, ...]
    budget: str = ""
    environment: Mapping[str, str]
    needs_key: bool = False
    pid: int = 0
    born: float = 0.0
    started_at: float = 0.0
    wish: Literal["", "pause"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the child says of itself; `sentence` is why it failed."""

    pid: int = 0
    begun: float = 0.0
    beat: float = 0.0
    stage: str = ""
    stages: Mapping[str, Mapping[str, Any]]
    remarks: tuple[str, ...] = ()
    note: str = ""
    spend: Mapping[str, float | None]
    how: str = ""
    sentence: str = ""


class Jobs:
    """The one teaching slot of a data folder, shared by every visitor and every page over that folder.

    `environment` is what each child begins with. `program` is what is run with a job's arguments; a test gives another.
    """

    def __init__(
        self,
        paths: DataPaths,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "distill", "run"),
    ) -> None:
        self._paths = paths
        self._environment = environment
        self._program = tuple(program)
        self._keys: dict[str, Mapping[str, str]] = {}

    def start(self, job: Job, secrets: Mapping[str, str], files: Mapping[str, bytes]) -> None:
        """Starts `job` with `files` in its folder; `InputError` if the slot or the name is taken."""
        with self._slot():
            folder = self._paths.run(job.name)
            if folder.exists() or self._paths.encoder(job.name).exists():
                raise InputError(f"There is a run or an encoder called '{job.name}' already. Choose another name.")
            folder.mkdir(parents=True)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            self._launch(job, secrets)

    def resume(self, name: str, *, budget: str, secrets: Mapping[str, str]) -> None:
        """Goes on where the job called `name` was; `budget` is what it may spend from now on."""
        with self._slot():
            job = self.find(name)
            if job is None:
                raise NotFoundError(f"Run '{name}' was not begun on this page, or it is not there any more.")
            known = secrets or self._keys.get(name, {})
            if job.needs_key and not known:
                raise InputError(
                    f"The key of the endpoint that teaches '{name}' is not kept on disk. Choose 'Another endpoint' as "
                    "teacher, type its key again, and press Resume once more."
                )
            self._launch(replace(job, budget=budget, wish=""), known)

    def adopt(self, job: Job, secrets: Mapping[str, str]) -> None:
        """Goes on with a run that a command began; `InputError` while that command is still at it."""
        with self._slot():
            try:
                with FileLock(self._paths.run(job.name) / "lock", timeout=0):
                    pass
            except Timeout:
                raise InputError(
                    f"Run '{job.name}' is going on in the terminal that it was begun in. End it there first."
                ) from None
            self._launch(job, secrets)

    def pause(self, name: str) -> None:
        """Asks the job to stop soon; all that it has done is kept."""
        job = self.find(name)
        process = process_of(job.pid, job.born) if job else None
        if job is None or process is None:
            raise InputError(f"Run '{name}' is not going on any more, so there is nothing to pause.")
        self._keep(replace(job, wish="pause"))
        ask_to_end(process)

    def end(self, name: str) -> None:
        """Ends the job and waits until it is dead; nothing if it is not running."""
        job = self.find(name)
        process = process_of(job.pid, job.born) if job else None
        if process:
            end_within(process, PATIENCE_S)

    def find(self, name: str) -> Job | None:
        """The job of the run called `name`, None if it was not begun on the page."""
        value = read_object(self._paths.run(name) / _JOB_FILE)
        known = {field.name for field in fields(Job)}
        try:
            job = Job(**{key: each for key, each in value.items() if key in known})
        except TypeError:
            return None
        return replace(job, arguments=tuple(job.arguments))

    def state(self, name: str) -> State:
        """How the run called `name` stands; one that was begun elsewhere is "done" or "interrupted"."""
        job = self.find(name)
        if job and process_of(job.pid, job.born):
            return "stopping" if job.wish else "running"
        if (self._paths.run(name) / "metrics.json").is_file():
            return "done"
        if job is None:
            return "interrupted"
        progress = self.progress(name)
        if progress.pid != job.pid:  # it died before it could say anything
            return "paused" if job.wish else "failed"
        if progress.how == "failed":
            return "failed"
        return "paused" if job.wish else "interrupted"

    def progress(self, name: str) -> Progress:
        """What the child of the run called `name` said last."""
        value = read_object(self._paths.run(name) / PROGRESS_FILE)
        end = value.get("end") or {}
        return Progress(
            pid=value.get("pid", 0),
            begun=value.get("begun", 0.0),
            beat=value.get("beat", 0.0),
            stage=value.get("stage", ""),
            stages=value.get("stages") or {},
            remarks=tuple(str(each.get("text", "")) for each in value.get("remarks") or ()),
            note=value.get("note", ""),
            spend=value.get("spend") or {},
            how=end.get("how", ""),
            sentence=end.get("sentence", ""),
        )

    def running(self) -> Job | None:
        """The job that has the slot, None if it is free."""
        for file in sorted(self._paths.runs.glob(f"*/{_JOB_FILE}")):
            name = read_object(file).get("name")
            job = self.find(name) if isinstance(name, str) and name.strip() else None
            if job and process_of(job.pid, job.born):
                return job
        return None

    def log_tail(self, name: str, n_characters: int = 6000) -> str:
        """The end of what the job has written to its terminal."""
        try:
            with (self._paths.run(name) / LOG_FILE).open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - n_characters))
                return log.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Held while a job is being started, so that of two people who press at once one gets the sentence."""
        self._paths.runs.mkdir(parents=True, exist_ok=True)
        with FileLock(self._paths.runs / _SLOT, timeout=30):
            if job := self.running():
                since = time.strftime("%H:%M", time.localtime(job.started_at))
                raise InputError(
                    f"'{job.name}' is being taught for corpus '{job.corpus}' since {since}, and one retriever is "
                    "taught at a time. Wait until it is done, or pause it first."
                )
            yield

    def _launch(self, job: Job, secrets: Mapping[str, str]) -> None:
        folder = self._paths.run(job.name)
        environment = None if self._environment is None else {**self._environment, **job.environment, **secrets}
        budget = [f"--budget={job.budget}"] if job.budget else []
        command = [*self._program, f"--progress={folder.resolve() / PROGRESS_FILE}", *budget, *job.arguments]
        pid, born = start_process(command, environment, folder / LOG_FILE)
        self._keys[job.name] = dict(secrets) if job.needs_key else {}
        self._keep(replace(job, pid=pid, born=born, started_at=time.time()))

    def _keep(self, job: Job) -> None:
        write_json(self._paths.run(job.name) / _JOB_FILE, asdict(job))
