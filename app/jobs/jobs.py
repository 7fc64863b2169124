"""Long work in a process that outlives the page, with no line to it: what is known lies in the folder of the run."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import psutil
from filelock import FileLock

from distill.json_files import write_json
from distill.run_folder import CONFIG, JOB, LOG, SETTINGS, Job, RunFolder
from indexes.chroma import check_space
from indexes.errors import InputError, StoreError
from indexes.paths import DataPaths
from indexes.processes import NETWORK, birth_of, child_environment, end_within, process_of

_ROOT = Path(__file__).parent.parent.parent
_COURTESY = 10  # so that those who ask meanwhile come first
_SLOT = "teaching.lock"
_SERVICES = r"(HF|PIP|CHROMA|EMBEDDINGS|OTEL)_\w+"  # that a run uses beside its LLM, with their keys


def start_process(command: Sequence[str], environment: Mapping[str, str], log_file: Path) -> tuple[int, str]:
    """The number and the birth of the process that `command` became; it writes to the end of `log_file`."""
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
    born = birth_of(process.pid)
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(_COURTESY)
    return process.pid, born


def arguments_of(folder: Path, data_dir: Path) -> tuple[str, ...]:
    """What to give to `python -m distill run` for the run in `folder`."""
    is_noted = (folder / CONFIG).is_file() and not (folder / SETTINGS).is_file()
    file = folder / (CONFIG if is_noted else SETTINGS)
    return (f"--data-dir={data_dir.resolve()}", f"--config={file.resolve()}")


class Jobs:
    """The one teaching slot of a data folder, shared by every visitor and every page over that folder.

    `environment` is what each child gets beside what it needs of ours. `program` is run with a run's settings; a test
    gives another.
    """

    def __init__(
        self,
        paths: DataPaths,
        environment: Mapping[str, str] = MappingProxyType({}),
        program: Sequence[str] = (sys.executable, "-m", "distill", "run"),
    ) -> None:
        self._paths = paths
        self._environment = environment
        self._program = tuple(program)

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

    def resume(self, job: Job, secrets: Mapping[str, str]) -> None:
        """Goes on with a run where it was, whoever began it; `InputError` while a command is still at it."""
        with self._slot():
            if RunFolder(self._paths.run(job.name)).process:
                raise InputError(
                    f"Run '{job.name}' is going on in the terminal that it was begun in. End it there first."
                )
            self._launch(replace(job, wish=""), secrets)

    def pause(self, name: str) -> None:
        """Asks the run to stop soon; all that it has done is kept."""
        folder = RunFolder(self._paths.run(name)) if name.strip() else None
        process = folder.process if folder else None
        if folder is None or process is None:
            raise InputError(f"Run '{name}' is not going on any more, so there is nothing to pause.")
        if job := folder.job:
            self._keep(replace(job, wish="pause"))
        threading.Thread(target=end_within, args=(process,), daemon=True, name="pausing").start()

    def running(self) -> Job | None:
        """The job that has the slot, None if it is free."""
        for file in sorted(self._paths.runs.glob(f"*/{JOB}")):
            job = RunFolder(file.parent).job
            if job and process_of(job.pid, job.born):
                return job
        return None

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Held while a job is being started, so that of two people who press at once one gets the sentence."""
        self._paths.runs.mkdir(parents=True, exist_ok=True)
        check_space(self._paths)  # before there is half a run
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
        known = child_environment(_SERVICES, NETWORK)
        environment = {**known, **self._environment, **job.environment, **secrets}
        budget = [f"--budget={job.budget}"] if job.budget else []
        command = [*self._program, *arguments_of(folder, self._paths.root), *budget]
        pid, born = start_process(command, environment, folder / LOG)
        self._keep(replace(job, pid=pid, born=born, started_at=time.time()))

    def _keep(self, job: Job) -> None:
        write_json(self._paths.run(job.name) / JOB, asdict(job))
