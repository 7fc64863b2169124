"""Who writes: one at a time for each corpus."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from indexes.errors import BusyError, StoreError
from indexes.paths import DataPaths, slug

_POLL_S = 0.2
PATIENCE_S = 3600.0


def writing(
    paths: DataPaths,
    corpus: str,
    doing: str,
    *,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] = lambda sentence: None,
) -> AbstractContextManager[None]:
    """Nobody else writes `corpus` inside; readers go on as they are.

    Waits `wait_s` seconds for whoever does (after a word to `on_wait`), then raises `BusyError` with a sentence that
    says who it is. A process that dies gives its locks back.
    """
    return _held(paths, slug(corpus), doing, f"Corpus '{corpus}' is being written", wait_s, on_wait)


def holding(paths: DataPaths, name: str, doing: str) -> AbstractContextManager[None]:
    """Nobody else holds the lock called `name` inside; waits for whoever does."""
    return _held(paths, name, doing, "The vector store is being written", PATIENCE_S, lambda sentence: None)


@contextmanager
def using(paths: DataPaths, corpus: str, doing: str, *, alone: bool = False) -> Iterator[None]:
    """Nobody deletes `corpus` inside, who wants to be `alone` with it; others may use and write it at the same time.

    `BusyError` says who uses it.
    """
    paths.locks.mkdir(parents=True, exist_ok=True)
    with (paths.locks / f"{slug(corpus)}.used").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except OSError:
            lock.seek(0)
            who = lock.read() or "another process"
            raise BusyError(
                f"Corpus '{corpus}' is in use: {who}. Pause that or wait until it has ended, and do this again."
            ) from None
        if not alone:
            lock.truncate(0)
            lock.write(f"{doing} (process {os.getpid()})")
            lock.flush()
        yield


def is_being_written(paths: DataPaths, corpus: str) -> bool:
    """Whether someone writes `corpus` now."""
    if not paths.locks.is_dir():
        return False
    try:
        with FileLock(paths.locks / f"{slug(corpus)}.lock", thread_local=False).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


@contextmanager
def _held(
    paths: DataPaths, name: str, doing: str, what: str, wait_s: float, on_wait: Callable[[str], None]
) -> Iterator[None]:
    lock, holder = FileLock(paths.locks / f"{name}.lock", thread_local=False), paths.locks / f"{name}.holder"
    try:
        paths.locks.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if wait_s <= 0:
                raise
            on_wait(f"{what} by {_read_holder(holder)}; waiting …")
            lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
    except Timeout:
        raise BusyError(f"{what} by {_read_holder(holder)}. Wait until that has ended and do this again.") from None
    except OSError as error:
        raise StoreError(f"The lock {lock.lock_file} cannot be taken: {error}. Check DATA_DIR's rights.") from error
    try:
        with suppress(OSError):  # it only names us to others
            now = datetime.now().astimezone().strftime("%H:%M")
            holder.write_text(json.dumps({"pid": os.getpid(), "doing": doing, "since": now}), encoding="utf-8")
        yield
    finally:
        lock.release()


def _read_holder(holder: Path) -> str:
    try:
        told = json.loads(holder.read_text(encoding="utf-8"))
        who = "another part of this program" if told["pid"] == os.getpid() else f"process {told['pid']}"
        return f"{who} ({told['doing']}, since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
