"""A child process that outlives the page, and how it is found again and ended."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from indexes.errors import StoreError

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
