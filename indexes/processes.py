"""Other processes: children that answer lines of JSON and die with us, and how one that outlives us is known again.

What outlives us (a lesson, an upload) has no line to us, as nobody may be there to hear it: it tells of itself in the
files of its folder.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

# Where things are, how to speak and how to compute: no key is among it, no address, nothing of how a page is reached.
_PLAIN = (
    r"PATH|HOME|USER|LANG(UAGE)?|LC_\w+|TZ|TE?MP(DIR)?|VIRTUAL_ENV|LD_LIBRARY_PATH|PYTHON\w*|XDG_\w+|"
    r"(OMP|MKL|OPENBLAS|CUDA|NVIDIA|NCCL|HIP|ROCR|GGML|TORCH|PYTORCH|TRANSFORMERS|TOKENIZERS)_\w+"
)
NETWORK = r"(HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|(CURL|REQUESTS)_CA_BUNDLE"
PATIENCE_S = 60.0  # a process that does not end by itself within this time is killed; its files bear it
_CHILD_PATIENCE_S = 5.0  # the same of a child, which has nothing to lose
# Calls `main` of a module, in an interpreter that finds modules as this one does.
_START = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "importlib.import_module(sys.argv.pop(1)).main()"
)


def child_environment(*more: str) -> dict[str, str]:
    """What a child gets of our environment: what any program needs, and the variables that `more` (patterns) name."""
    needed = re.compile("|".join((_PLAIN, *more)), re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if needed.fullmatch(name)}


def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Child:
    """A process in which `main` of `module` answers, by `serve`. Ctrl-C is not for it; it ends when we do."""

    def __init__(self, module: str, errors: IO[bytes] | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-c", _START, json.dumps(sys.path), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=child_environment(),
            text=True,
            encoding="ascii",
            start_new_session=True,
        )
        self.end = weakref.finalize(self, _end, self._process)

    @property
    def status(self) -> int | None:
        """The exit status, None while it lives."""
        return self._process.poll()

    def ask(self, question: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """What it answers; raises `EOFError` if it dies, and `TimeoutError` after `limit_s`, when it is killed."""
        is_late, reply = threading.Event(), ""

        def give_up() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            reply = _exchange(self._process, json.dumps(question) + "\n")
        finally:  # also when someone presses Ctrl-C: the reply to this question must not be taken for the next one's
            timer.cancel()
            if not reply:
                self._process.kill()
                self.end()
        if reply:
            answer: dict[str, Any] = json.loads(reply)
            return answer
        raise TimeoutError if is_late.is_set() else EOFError


def _exchange(process: subprocess.Popen[str], line: str) -> str:
    """The line that the process answers, "" if it dies."""
    with suppress(OSError, ValueError):
        if process.stdin and process.stdout:
            process.stdin.write(line)
            process.stdin.flush()
            reply = process.stdout.readline()
            return reply if reply.endswith("\n") else ""
    return ""


def _end(process: subprocess.Popen[str]) -> None:
    """A closed pipe is its signal, a kill what follows if it does not listen."""
    with suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(_CHILD_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers what a `Child` is asked, until whoever asks is gone, however that was; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # a library that prints something would be taken for the reply
    for line in sys.stdin:
        replies.write(json.dumps(answer(json.loads(line))) + "\n")
        replies.flush()
    os._exit(0)


def _die_with(parent: int) -> None:
    """Ends this process with that one: work may be under way, or a sibling hold our standard input open."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def birth_of(pid: int) -> str:
    """What tells process `pid` from others of its number, "" if there is none: this boot of the machine and the ticks
    of its kernel until then, as a clock that is set would make a time another one.
    """
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()} {ticks}"
    except OSError:
        return ""


def process_of(pid: int, born: str) -> psutil.Process | None:
    """The living process `pid`; None if it is dead, or if its number belongs to another process by now."""
    if not (pid and born) or birth_of(pid) != born:
        return None
    try:
        process = psutil.Process(pid)
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def end_within(process: psutil.Process, patience_s: float = PATIENCE_S) -> None:
    """Asks `process` to end, and kills it if it has not after that time."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(patience_s)
        except psutil.TimeoutExpired:
            process.kill()
            with suppress(psutil.TimeoutExpired):
                process.wait(10)


def release_memory() -> None:
    """Gives freed memory back to the system: glibc's malloc keeps what a piece of work took (2 GB of a training on two
    cores), and the next one would take its own beside it.
    """
    gc.collect()
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def share_memory() -> None:
    """Has all threads allocate from two arenas. Of glibc's own, eight a core, each thread that adds files leaves holes
    in another: eight uploads took 496 MiB that way, and take 25 now.
    """
    if mallopt := _of_glibc("mallopt"):
        mallopt(_M_ARENA_MAX, 2)


_M_ARENA_MAX = -8  # malloc.h


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
