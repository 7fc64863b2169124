"""What is read as a whole (pdf, html, Office, e-book, mail), in a process that may hang or crash on a hostile file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Any

from indexes.errors import UnreadableFileError
from indexes.files import stem_of, suffix_of
from indexes.locks import child_command
from indexes.readers.mail import read_mail
from indexes.readers.office import read_html, read_package, read_slides, read_workbook
from indexes.readers.pdf import read_pdf
from indexes.types import Document

ReadOne = Callable[[Path, str], Document]
_LIMIT_S = 300.0  # of one file; a PDF of 5,000 pages takes half a minute
_MAX_MEMORY = 2**33  # bytes of address space of the reading process
_GRACE_S = 10
_BROKE = "The reader failed on the file"


class ReaderProcess:
    """A process that reads files one after the other, and is started anew after one on which it hung or crashed."""

    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None

    def read(self, file: Path, source: str) -> Document:
        """The one document in `file`; raises `UnreadableFileError`, also if it takes longer than the limit."""
        with self._lock:
            reply, is_late = self._ask({"file": str(file.resolve()), "source": source, "limit_s": self._limit_s})
        if reply:
            return _document(json.loads(reply))
        if is_late:
            raise UnreadableFileError(
                f"Reading took more than {self._limit_s:g} seconds and was given up. The file is damaged, or made to "
                "be slow; save it again or split it."
            )
        raise UnreadableFileError(f"{_BROKE}: it is damaged, or too large. Open it and save it again, or split it.")

    def _ask(self, question: dict[str, Any]) -> tuple[str, bool]:
        """The line that the process answers, "" if it died, and whether that was because its time was over."""
        process, late, reply = self._running(), Event(), ""

        def give_up() -> None:
            late.set()
            process.kill()

        timer = Timer(self._limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            reply = _exchange(process, json.dumps(question) + "\n")
        finally:  # also when someone presses Ctrl-C: the reply to this question must not be taken for the next one's
            timer.cancel()
            if not reply:
                process.kill()
                process.wait()
        return reply, late.is_set()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(  # noqa: S603
                child_command(__name__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii"
            )
            weakref.finalize(self, _end, self._process)
        return self._process


@cache
def shared_reader(process_id: int) -> ReaderProcess:
    """The reader of the process with this id; a fork does not share its parent's."""
    return ReaderProcess()


def read_apart(file: Path, source: str) -> Document:
    """The one document in `file`, read by the reader of this process."""
    return shared_reader(os.getpid()).read(file, source)


def main() -> None:
    """Answers a line of JSON for each line on standard input, until it ends."""

    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints something would be taken for the reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    _limit_memory()
    for line in sys.stdin:
        asked = json.loads(line)
        _alarm(asked["limit_s"] + _GRACE_S)
        reply = _reply(read_one, Path(asked["file"]), asked["source"])
        _alarm(0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _reply(read: ReadOne, file: Path, source: str) -> dict[str, Any]:
    try:
        return asdict(read(file, source))
    except UnreadableFileError as error:
        return {"unreadable": str(error)}
    except Exception as error:  # noqa: BLE001  # one bad file never stops the rest
        return {"unreadable": f"{_BROKE} ({type(error).__name__}): it is damaged, or of a kind that is not known here."}


def _exchange(process: subprocess.Popen[str], line: str) -> str:
    """The line that the process answers, "" if it dies."""
    with suppress(OSError, ValueError):
        if process.stdin and process.stdout:
            process.stdin.write(line)
            process.stdin.flush()
            reply = process.stdout.readline()
            return reply if reply.endswith("\n") else ""
    return ""


def _document(told: dict[str, Any]) -> Document:
    if "unreadable" in told:
        raise UnreadableFileError(str(told["unreadable"]))
    return Document(**told | {"page_starts": tuple(told["page_starts"])})


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe:
                pipe.close()


def _alarm(after_s: float) -> None:
    """Ends this process then, not at all at 0, also when the one that asked has died and cannot."""
    if sys.platform != "win32":
        signal.alarm(int(after_s))


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))


NO_TEXT = "The file contains no text."


def read_one(file: Path, source: str) -> Document:
    """The one document in `file`; raises `UnreadableFileError` if there is no text to be had."""
    suffix = suffix_of(source)
    title = day = ""
    starts: tuple[int, ...] = ()
    if suffix == ".pdf":
        text, starts = read_pdf(file)
    elif suffix == ".pptx":
        text, starts = read_slides(file)
    elif suffix == ".xlsx":
        text = read_workbook(file)
    elif suffix == ".eml":
        text, title, day = read_mail(file)
    elif suffix in (".html", ".htm"):
        text, title = read_html(file)
    else:
        text, title = read_package(file, suffix)
    if not text.strip():
        raise UnreadableFileError(NO_TEXT)
    title, note = title or stem_of(source), _blank_pages(text, starts) if suffix == ".pdf" else ""
    return Document(id=source, source=source, title=title, text=text, page_starts=starts, date=day, note=note)


def _blank_pages(text: str, starts: tuple[int, ...]) -> str:
    """How many pages have no text, as a sentence; a document half of which was scanned must not look complete."""
    n_blank = sum(not text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True))
    return f"{n_blank} of {len(starts)} pages have no text: they are blank or scanned." if n_blank else ""
