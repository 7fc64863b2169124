"""Commands as a person runs them, but in this process: importing a real encoder's libraries takes seconds each time.

`python -m PROGRAM` itself is run once for each program, by its smoke test.
"""

from __future__ import annotations

import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_here(program: str, *arguments: str | Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What `python -m PROGRAM ARGUMENTS` would print and end with, started from the repository under `environment`."""
    command = [program, *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with _process_of_its_own(command, environment), redirect_stdout(out), redirect_stderr(err):
        status = _status(program)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def run_apart(program: str, *arguments: str | Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What `python -m PROGRAM ARGUMENTS` prints and ends with, in a process of its own."""
    command = [sys.executable, "-m", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True)


def _status(program: str) -> int:
    try:
        runpy.run_module(program, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    except BaseException:  # noqa: BLE001 - an interpreter shows it and ends
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _process_of_its_own(command: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Arguments, environment, folder, signals and logging as a new process would have them, put back in the end."""
    before = dict(os.environ), sys.argv, Path.cwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    loggers, level, filters = list(root.handlers), root.level, list(root.filters)
    root.handlers = []
    _set_environment(environment)
    sys.argv = command
    os.chdir(ROOT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
            yield
    finally:
        _set_environment(before[0])
        sys.argv = before[1]
        os.chdir(before[2])
        for number, handler in handlers.items():
            signal.signal(number, handler)
        root.handlers, root.filters = loggers, filters
        root.setLevel(level)


def _set_environment(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
