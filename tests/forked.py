"""Processes that begin with the large libraries imported, which takes longer than what they are to do."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_OF_TRAINING = ("sentence_transformers", "datasets", "accelerate")
Job = tuple[Callable[..., None], tuple[object, ...]]  # a function of a module beside this one, and its arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended (-9: killed), and all that it said."""

    code: int | None
    said: str


def run_forked(*jobs: Job, limit_s: float = 300) -> list[Ended]:
    """How `jobs` ended, which run at the same time; who takes longer than `limit_s` is killed.

    They begin with the store's library imported, and with those of training where this process has them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chromadb", *(name for name in _OF_TRAINING if name in sys.modules)])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(jobs))]
        started = [context.Process(target=_do, args=(file, *job)) for file, job in zip(files, jobs, strict=True)]
        for process in started:
            process.start()
        for process in started:
            process.join(limit_s)
            process.kill()
            process.join()
        said = [file.read_text(encoding="utf-8") if file.exists() else "" for file in files]
    return [Ended(code=process.exitcode, said=text) for process, text in zip(started, said, strict=True)]


def _do(file: Path, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    with file.open("w") as said:
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
    target(*arguments)
